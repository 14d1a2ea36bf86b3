"""Measures weights/digits as it is bundled, with PyTorch diffusers, and writes weights/digits/metrics.json.

    python weights/train/digits/evaluate.py

Draws `--samples` digits, each class alike, with 50 DDIM steps: guided and unguided. Measures
- accuracy: share that the independent classifier (classifier.py) reads as the class asked for;
- Frechet distance of the classifier's 64 features against all 10,000 test digits; its floor is the distance of as
  many real training digits against the same;
- distance to the nearest of the 60,000 training digits (root mean square over the pixels, in [-1, 1]), beside that
  of real test digits: copies of training digits would lie nearer.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from classifier import load as load_classifier
from common import CLASSES, MNIST, MODEL, NULL, mnist
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image


@torch.no_grad()
def draw(net: UNet2DModel, labels: torch.Tensor, guidance: float, steps: int, seed: int) -> torch.Tensor:
    scheduler = DDIMScheduler.from_pretrained(MODEL, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn((len(labels), 1, 32, 32), generator=g)
    for t in scheduler.timesteps:
        eps = net(x, t, class_labels=labels).sample
        if guidance != 1:
            null = net(x, t, class_labels=torch.full_like(labels, NULL)).sample
            eps = null + guidance * (eps - null)
        x = scheduler.step(eps, t, x, use_clipped_model_output=True).prev_sample  # as our sampler does
    return x.clamp(-1, 1)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)), with the root's trace from the eigenvalues of A^(1/2) B A^(1/2)."""
    ca, cb = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(ca)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cb @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross)


def nearest(x: torch.Tensor, train: torch.Tensor) -> np.ndarray:
    flat, squares = train.flatten(1), train.flatten(1).pow(2).sum(1)
    best = []
    for part in x.flatten(1).split(250):
        d = part.pow(2).sum(1, keepdim=True) + squares - 2 * part @ flat.T
        best.append(d.min(1).values.clamp(min=0))
    return (torch.cat(best) / flat.shape[1]).sqrt().numpy()


def grid(x: torch.Tensor, path: Path) -> None:
    """Ten by ten pictures: a column for each digit."""
    tiles = torch.nn.functional.pad((x / 2 + 0.5), (1, 1, 1, 1), value=0.5).reshape(10, 10, 34, 34)
    Image.fromarray((tiles.permute(0, 2, 1, 3).reshape(340, 340) * 255).round().byte().numpy()).save(path)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--samples", type=int, default=1000)
    ap.add_argument("--steps", type=int, default=50)
    ap.add_argument("--guidance", type=float, default=2.0)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    args = ap.parse_args()
    net = UNet2DModel.from_pretrained(MODEL, subfolder="unet").eval()
    judge = load_classifier()
    (train, _), (test, test_labels) = mnist("train", args.mnist), mnist("t10k", args.mnist)

    @torch.no_grad()
    def features(x: torch.Tensor) -> np.ndarray:
        return torch.cat([judge.features(part) for part in x.split(1000)]).double().numpy()

    @torch.no_grad()
    def right(x: torch.Tensor, y: torch.Tensor) -> float:
        return (torch.cat([judge(part).argmax(1) for part in x.split(1000)]) == y).float().mean().item()

    real = features(test)
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: args.samples]
    quantiles = lambda d: {f"p{q}": round(float(np.percentile(d, q)), 4) for q in (0, 1, 10, 50, 90)}
    result = {
        "samples": args.samples,
        "sampler": f"DDIM, {args.steps} steps, leading, eta 0, epsilon from the clipped x0",
        "classifier accuracy on real test digits": right(test, test_labels),
        "Frechet distance floor (real training digits)": round(frechet(features(train[some]), real), 3),
        "nearest training digit, real test digits": quantiles(nearest(test[: args.samples], train)),
    }
    labels = torch.arange(args.samples) % CLASSES
    for name, guidance, seed in [("guided", args.guidance, 1), ("unguided", 1.0, 2)]:
        x = torch.cat([draw(net, part, guidance, args.steps, seed * 1000 + i) for i, part in enumerate(labels.split(100))])
        result[name] = {
            "guidance": guidance,
            "accuracy": round(right(x, labels), 4),
            "Frechet distance": round(frechet(features(x), real), 3),
            "nearest training digit": quantiles(nearest(x, train)),
        }
        print(name, result[name], flush=True)
        grid(x[:100], MODEL / f"{name}.png")
    (MODEL / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
