"""The autoencoder: trains and measures it.

    python weights/train/text-avatars/autoencoder.py train --minutes 60        # resumes from RUNS/vae.safetensors, else from start/
    python weights/train/text-avatars/autoencoder.py train --decoder --minutes 20   # the encoder frozen: latents stay valid
    python weights/train/text-avatars/autoencoder.py measure                   # PSNR on held-out pictures: the gate is 30

Loss: L1 + L1 of finite differences at three scales + 4 x squared error of 8 x 8 averages in opponent colours. Without the last
term the latents learn shapes first and hues last. Training adds noise of 0.1 to the latents and 1e-3 x z^2 to the loss, which
keeps them smooth and near N(0, 1).
"""

import argparse
import json
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from common import DEVICE, RUNS, START, Pictures, count, grid, make_vae, threads, to_signed
from safetensors.torch import load_file, save_file

CHECKPOINT = RUNS / "vae.safetensors"


def load():
    """The newest autoencoder: of the run, else the committed one."""
    vae = make_vae()
    path = CHECKPOINT if CHECKPOINT.exists() else START / "vae.safetensors"
    vae.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return vae.to(DEVICE, memory_format=torch.channels_last)


def save(vae) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, RUNS / "vae.next")
    os.replace(RUNS / "vae.next", CHECKPOINT)


def edges(d: torch.Tensor) -> torch.Tensor:
    """L1 of the differences between neighbours of an error picture, at three scales."""
    total = 0
    for _ in range(3):
        total = total + (d[..., 1:, :] - d[..., :-1, :]).abs().mean() + (d[..., 1:] - d[..., :-1]).abs().mean()
        d = F.avg_pool2d(d, 2)
    return total


def colour(d: torch.Tensor) -> torch.Tensor:
    """Squared error of brightness and of two opponent colours over 8 x 8 pixels."""
    r, g, b = F.avg_pool2d(d, 8).unbind(1)
    return ((r + g + b) / 3).square().mean() + (r - g).square().mean() + ((r + g) / 2 - b).square().mean()


def crops(pictures: Pictures, g: np.random.Generator, batch: int, side: int) -> torch.Tensor:
    """Many small steps beat few large ones."""
    at, (ys, xs) = g.integers(0, len(pictures), batch), g.integers(0, (128 - side) // 4 + 1, (2, batch)) * 4
    parts = [pictures.bytes[i, y : y + side, x : x + side] for i, y, x in zip(at, ys, xs)]
    return to_signed(torch.from_numpy(np.stack(parts)))


def train(args) -> None:
    vae, pictures = load(), Pictures(args.name)
    before, old = score(vae, args.images)[0], {k: v.clone() for k, v in vae.state_dict().items()}
    if args.decoder:
        vae.encoder.requires_grad_(False)
    weights = [p for p in vae.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(weights, args.lr, betas=(0.9, 0.99), weight_decay=1e-3)
    g = np.random.default_rng(int(time.time()))
    start, step, losses = time.time(), 0, []
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in opt.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * min(1, (1 - done) / 0.4 + 0.01)
        x = crops(pictures, g, args.batch, args.side)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.bf16):
            z = vae.encoder(x)
            y = vae.decoder(z + args.noise * torch.randn_like(z))
        d = y.float() - x
        loss = d.abs().mean() + edges(d) + 4 * colour(d) + 1e-3 * z.float().square().mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        opt.step()
        losses.append(d.abs().mean().item() * 127.5)
        step += 1
        if step % 200 == 0:
            print(json.dumps(dict(step=step, l1_of_255=round(float(np.mean(losses[-200:])), 3), seconds=round(time.time() - start))), flush=True)
        if step % 1000 == 0:
            save(vae)
            pictures.look()
    if (after := score(vae, args.images)[0]) < before:
        print(f"PSNR fell from {before:.2f} to {after:.2f}: the weights of before are kept")
        vae.load_state_dict(old)
    save(vae)
    measure(args)


@torch.no_grad()
def score(vae, images: int) -> tuple[float, float, torch.Tensor, torch.Tensor]:
    """PSNR and L1 (of 255) on so many held-out pictures; of the first 28 the pictures, real and decoded in turn by rows of 14, and z."""
    test = Pictures("test")
    l1 = psnr = 0
    n = min(len(test), images)
    for i in range(0, n, 28):
        x = test.take(slice(i, min(i + 28, n)))
        code = vae.encoder(x)
        y = vae.decoder(code).clamp(-1, 1)
        if i == 0:
            z, first = code, torch.cat([x[:14], y[:14], x[14:], y[14:]])
        l1 += (y - x).abs().mean((1, 2, 3)).sum().item() * 127.5
        psnr += (-10 * torch.log10(((y - x) / 2).square().mean((1, 2, 3)))).sum().item()
    return psnr / n, l1 / n, first, z


@torch.no_grad()
def measure(args) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    vae = load().eval()
    psnr, l1, first, z = score(vae, args.images)
    with FlopCounterMode(display=False) as flop:
        vae.decoder(z[:1])
    grid(first, 14, RUNS / "vae.png")
    row = dict(pictures=args.images, psnr=round(psnr, 2), l1_of_255=round(l1, 2), latent_std=round(z.std().item(), 3), decode_gflop=round(flop.get_total_flops() / 1e9, 2), parameters=count(vae))
    (RUNS / "vae.json").write_text(json.dumps(row) + "\n")
    print(row, flush=True)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["train", "measure"])
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--decoder", action="store_true", help="the decoder alone")
    ap.add_argument("--name", default="train")
    ap.add_argument("--images", type=int, default=560)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--side", type=int, default=64)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--noise", type=float, default=0.1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--bf16", action="store_true")
    args = ap.parse_args()
    threads(args.threads)
    {"train": train, "measure": measure}[args.what](args)


if __name__ == "__main__":
    main()
