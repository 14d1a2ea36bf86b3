"""Trains the judge of `digits`: a small MNIST classifier that shares nothing with the diffusion model.

    python weights/train/digits/classifier.py

Writes tests/fixtures/digits/classifier.safetensors (F16), which evaluate.py and the browser tests use, and prints
its accuracy on the 10,000 test digits as stored (the file is refused below 99 %).
"""

import argparse
from pathlib import Path

from common import CLASSES, JUDGE, MNIST, mnist
from judge import fit


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    ap.add_argument("--epochs", type=int, default=6)
    args = ap.parse_args()
    fit(JUDGE, mnist("train", args.mnist), mnist("t10k", args.mnist), CLASSES, args.epochs)


if __name__ == "__main__":
    main()
