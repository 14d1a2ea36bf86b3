"""From a checkpoint of train.py to weights/digits in diffusers layout: EMA weights, rounded to 16 bits.

    python weights/train/digits/export.py

`UNet2DModel.from_pretrained("weights/digits", subfolder="unet")` and
`DDPMScheduler.from_pretrained("weights/digits", subfolder="scheduler")` load the result.
"""

import argparse
import json
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from common import MODEL, RUN, make_schedule, make_unet
from safetensors.torch import load_file, save_file


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--run", type=Path, default=RUN)
    args = ap.parse_args()
    saved = torch.load(args.run / "last.pt", weights_only=True, map_location="cpu")
    net = make_unet()
    net.load_state_dict(saved["ema"])
    net.save_pretrained(MODEL / "unet")
    weights = MODEL / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v.half() for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    make_schedule().save_pretrained(MODEL / "scheduler")
    (MODEL / "labels.json").write_text(json.dumps([str(k) for k in range(10)] + ["any"]) + "\n")

    log = args.run / "log.jsonl"
    shutil.copy(log, MODEL / "loss.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    plt.figure(figsize=(6, 3))
    plt.plot([r["images"] / 1000 for r in rows], [r["loss"] for r in rows], lw=1)
    plt.yscale("log")
    plt.xlabel("thousand images seen")
    plt.ylabel("L_simple, mean of 50 steps")
    plt.tight_layout()
    plt.savefig(MODEL / "loss.png", dpi=100)
    print(f"step {saved['step']}, {weights.stat().st_size} bytes")


if __name__ == "__main__":
    main()
