"""From a checkpoint of train.py to weights/digits in diffusers layout: EMA weights, rounded to 16 bits.

    python weights/train/digits/export.py
"""

import argparse
from pathlib import Path

from common import CLASSES, MODEL, RUN, make_schedule, make_unet
from layout import export


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--run", type=Path, default=RUN)
    args = ap.parse_args()
    export(args.run, MODEL, make_unet(), make_schedule(), [str(k) for k in range(CLASSES)] + ["any"])


if __name__ == "__main__":
    main()
