"""From a checkpoint of train.py to weights/avatars in diffusers layout: EMA weights, rounded to 16 bits.

    python weights/train/avatars/export.py
    python weights/train/avatars/export.py --to weights/train/runs/avatars/look    # to look at, not to bundle
"""

import argparse
from pathlib import Path

from common import LABELS, MODEL, make_schedule, make_unet, run_of
from layout import export


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--run", type=Path)
    ap.add_argument("--to", type=Path, default=MODEL)
    ap.add_argument("--size", type=int, default=32, choices=[32, 64])
    args = ap.parse_args()
    export(args.run or run_of(args.size), args.to, make_unet(args.size), make_schedule(), LABELS + ["any"])


if __name__ == "__main__":
    main()
