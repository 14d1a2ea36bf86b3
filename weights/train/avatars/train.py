"""Trains `avatars`: a class-conditional diffusion model of DiceBear's styles, the label dropped 10 % of the time.

    python weights/train/avatars/train.py --minutes 90
    python weights/train/avatars/train.py --size 64 --batch 256 --bf16 --compile --images 12000000   # on a GPU

Resumes from the last checkpoint in weights/train/runs/avatars (avatars-64); without one, `--start weights/avatars` goes on from the
exported weights and log of an earlier run, with a new optimiser. The learning rate is constant and falls linearly to zero
over the last quarter of `--images` or `--minutes`, what ends first; a finished run is continued by more of it. data.mjs may
still be drawing. On two AVX2 cores `--batch 64` is a fifth faster than 32; torch.compile was 12 %
faster on one such machine and 15 % slower on another, and takes minutes.
"""

import argparse

import torch
from common import MIRROR, NULL, Pictures, make_schedule, make_unet, run_of
from loop import DEVICE, add_options, train
from losses import Hybrid


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    add_options(ap, images=1_500_000, batch=32, out=None)
    ap.add_argument("--size", type=int, default=32, choices=[32, 64])
    args = ap.parse_args()
    args.out = args.out or run_of(args.size)
    pictures = Pictures("train", args.size)
    schedule = make_schedule()

    def count() -> int:
        pictures.look()
        return len(pictures)

    def draw(at: torch.Tensor, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x, label = pictures.take(at)
        mirrored = (torch.rand(len(at), generator=g) < 0.5) & MIRROR[label]
        return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x), label

    train(args, lambda: make_unet(args.size), schedule, count, draw, NULL, Hybrid(schedule, DEVICE))


if __name__ == "__main__":
    main()
