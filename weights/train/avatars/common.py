"""What the scripts of `avatars` share: the pictures, the networks, the noise schedule, the folders."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # loop.py, losses.py, judge.py, measure.py, layout.py
ROOT = HERE.parents[2]
RUN = ROOT / "weights" / "train" / "runs" / "avatars"  # ignored by git: pictures, checkpoints, logs
MODEL = ROOT / "weights" / "avatars"  # what is bundled
JUDGE = HERE / "judge.safetensors"

STYLES = json.loads((HERE / "styles.json").read_text())
LABELS = [style["label"] for style in STYLES]
CLASSES = len(STYLES)
NULL = CLASSES  # the label of "any": the last of num_class_embeds
MIRROR = torch.tensor([style["mirror"] for style in STYLES])  # styles that look at the viewer


def run_of(size: int) -> Path:
    """Where checkpoints and logs of a network go."""
    return RUN if size == 32 else RUN.with_name(f"avatars-{size}")


class Pictures:
    """A file of data.mjs, which may grow while it is read: picture i is of class i % CLASSES."""

    def __init__(self, split: str, size: int, folder: Path = RUN) -> None:
        self.size, self.path = size, folder / f"{split}-{size}.bin"
        if not self.path.exists():
            raise SystemExit(f"{self.path} is not there: node weights/train/avatars/data.mjs --split {split} --size {size}")
        self.bytes = np.zeros((0, size, size, 3), np.uint8)
        self.look()

    def look(self) -> None:
        """Maps what has been written since."""
        count = self.path.stat().st_size // (self.size * self.size * 3)
        if count > len(self.bytes):
            self.bytes = np.memmap(self.path, np.uint8, "r", shape=(count, self.size, self.size, 3))

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (N, 3, size, size) in [-1, 1], labels (N,)."""
        x = torch.from_numpy(self.bytes[at.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x, at % CLASSES


def make_unet(size: int = 32) -> UNet2DModel:
    """32: 1.8 M parameters, 0.27 GFLOP an image and step. 64: 11.1 M parameters, 11.9 GFLOP."""
    if size == 32:
        shape = dict(
            block_out_channels=(24, 32, 64, 96),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=32,
            norm_num_groups=8,
        )
    elif size == 64:
        shape = dict(
            block_out_channels=(64, 128, 128, 160),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            attention_head_dim=32,
            norm_num_groups=32,
        )
    else:
        raise ValueError(f"there is no network for {size} x {size}: 32 or 64")
    return UNet2DModel(sample_size=size, in_channels=3, out_channels=6, num_class_embeds=CLASSES + 1, **shape)


def make_schedule() -> DDPMScheduler:
    """The cosine schedule of Improved DDPM (Nichol & Dhariwal 2021, eq. 17), v prediction, learned variance (eq. 15)."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        variance_type="learned_range",
        clip_sample=True,
    )
