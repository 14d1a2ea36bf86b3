"""Draws with PyTorch diffusers from a bundled folder, and measures what was drawn."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image


@torch.no_grad()
def draw(
    model: Path,
    net: UNet2DModel,
    labels: torch.Tensor,
    *,
    kind: str = "ddim",
    steps: int = 50,
    guidance: float = 1.0,
    seed: int = 0,
) -> torch.Tensor:
    """Pictures (N, C, H, W) in [-1, 1] on the CPU. kind: ddim (eta 0, epsilon from the clipped x0) or ddpm; leading."""
    scheduler = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[kind].from_pretrained(model, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    channels, size, null = net.config.in_channels, net.config.sample_size, net.config.num_class_embeds - 1
    device = next(net.parameters()).device
    x = torch.randn((len(labels), channels, size, size), generator=g).to(device)
    labels = labels.to(device)
    for t in scheduler.timesteps:
        output = net(x, t, class_labels=labels).sample
        m, variance = output[:, :channels], output[:, channels:]
        if guidance != 1:
            of_null = net(x, t, class_labels=torch.full_like(labels, null)).sample[:, :channels]
            m = of_null + guidance * (m - of_null)
        if kind == "ddim":  # takes no variance
            x = scheduler.step(m, t, x, use_clipped_model_output=True).prev_sample  # as our sampler does
        else:
            x = scheduler.step(torch.cat([m, variance], 1), t, x, generator=g).prev_sample
    return x.clamp(-1, 1).cpu()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)), with the root's trace from the eigenvalues of A^(1/2) B A^(1/2)."""
    ca, cb = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(ca)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cb @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross)


def nearest(x: torch.Tensor, train: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of each picture of x: root mean square distance to the nearest of `train` over the numbers, and which that is."""
    flat, squares = train.flatten(1), train.flatten(1).pow(2).sum(1)
    best, which = [], []
    for part in x.flatten(1).split(250):
        d = part.pow(2).sum(1, keepdim=True) + squares - 2 * part @ flat.T
        found = d.min(1)
        best.append(found.values.clamp(min=0))
        which.append(found.indices)
    return (torch.cat(best) / flat.shape[1]).sqrt().numpy(), torch.cat(which).numpy()


def spread(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance between the features of two pictures of the same class: diversity."""
    means = []
    for k in np.unique(labels):
        f = features[labels == k]
        d = np.sqrt(np.maximum(((f[:, None] - f[None]) ** 2).sum(-1), 0))
        means.append(d.sum() / (len(f) * (len(f) - 1)))
    return float(np.mean(means))


def quantiles(d: np.ndarray) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(d, q)), 4) for q in (0, 1, 10, 50, 90)}


def grid(x: torch.Tensor, columns: int, path: Path, scale: int = 1) -> None:
    """Pictures (N, C, H, W), row by row; N divides by columns."""
    tiles = torch.nn.functional.pad(x / 2 + 0.5, (1, 1, 1, 1), value=0.5).permute(0, 2, 3, 1)
    n, h, w, c = tiles.shape
    rows = tiles.reshape(n // columns, columns, h, w, c).permute(0, 2, 1, 3, 4).reshape(n // columns * h, columns * w, c)
    pixels = (rows * 255).round().byte().numpy().repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(pixels[..., 0] if c == 1 else pixels).save(path)
