"""Trains the judge of `avatars`: a small classifier of the styles that shares nothing with the diffusion model.

    python weights/train/avatars/classifier.py

Needs train-32.bin and test-32.bin of data.mjs. Writes judge.safetensors (F16), which evaluate.py uses for pictures of 32
and of 64, and prints its accuracy on the held-out avatars as stored (the file is refused below 99 %).
"""

import argparse

import torch
from common import CLASSES, JUDGE, MIRROR, Pictures
from judge import fit


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--images", type=int, default=42_000, help="of the training draw")
    ap.add_argument("--epochs", type=int, default=3)
    args = ap.parse_args()
    torch.set_num_threads(1)
    train, test = Pictures("train", 32), Pictures("test", 32)
    flip = lambda x, y: torch.where(MIRROR[y].view(-1, 1, 1, 1) & (torch.rand(len(x), 1, 1, 1) < 0.5), x.flip(3), x)
    draws = [pictures.take(torch.arange(n)) for pictures, n in [(train, min(args.images, len(train))), (test, len(test))]]
    fit(JUDGE, *draws, CLASSES, args.epochs, flip)


if __name__ == "__main__":
    main()
