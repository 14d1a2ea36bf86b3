"""From a checkpoint to a folder in diffusers layout, as it is bundled."""

import json
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file


def export(run: Path, model: Path, net: UNet2DModel, schedule: DDPMScheduler, labels: list[str]) -> None:
    """EMA weights of `run`/last.pt, rounded to 16 bits, into `model`; as they were, to `run`/exported.safetensors.

    `UNet2DModel.from_pretrained(model, subfolder="unet")` and `DDPMScheduler.from_pretrained(model, subfolder="scheduler")`
    load the result. The log goes along: `train.py --start` counts on from it.
    """
    saved = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    net.load_state_dict(saved["ema"])
    net.save_pretrained(model / "unet")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, run / "exported.safetensors")
    save_file({k: v.half() for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    schedule.save_pretrained(model / "scheduler")
    (model / "labels.json").write_text(json.dumps(labels) + "\n")

    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["images"] <= saved["images"]]
    (model / "loss.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plt.figure(figsize=(6, 3))
    plt.plot([row["images"] / 1000 for row in rows], [row["simple"] for row in rows], lw=1)
    plt.yscale("log")
    plt.xlabel("thousand images seen")
    plt.ylabel("L_simple, mean of 50 steps")
    plt.tight_layout()
    plt.savefig(model / "loss.png", dpi=100)
    print(f"{saved['images']} images, {weights.stat().st_size} bytes")
