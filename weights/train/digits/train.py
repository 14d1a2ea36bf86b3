"""Trains `digits`: the class-conditional DDPM of MNIST with the label dropped 10 % of the time.

    python weights/train/digits/train.py --images 440000

Resumes from the last checkpoint in weights/train/runs/digits; without one, `--start weights/digits` goes on
from the exported weights and log of an earlier run, with a new optimiser. The learning rate is constant and falls
linearly to zero over the last quarter of `--images`, so a finished run is continued by a larger number.
"""

import argparse
from pathlib import Path

from common import MNIST, NULL, RUN, make_schedule, make_unet, mnist
from loop import add_options, train
from losses import l_simple


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    add_options(ap, images=440_000, batch=64, out=RUN)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    args = ap.parse_args()
    x, y = mnist("train", args.mnist)
    train(args, make_unet, make_schedule(), lambda: len(x), lambda at, g: (x[at], y[at]), NULL, l_simple)


if __name__ == "__main__":
    main()
