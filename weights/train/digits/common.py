"""What the scripts of `digits` share: the data, the network, the noise schedule, the folders."""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "weights" / "train"))  # loop.py, losses.py, judge.py, measure.py, layout.py
RUN = ROOT / "weights" / "train" / "runs" / "digits"  # ignored by git: checkpoints, logs
MODEL = ROOT / "weights" / "digits"  # what is bundled
JUDGE = ROOT / "tests" / "fixtures" / "digits" / "classifier.safetensors"
MNIST = ROOT.parent / "shared" / "data" / "mnist"  # default place of the four IDX files

T = 1000
CLASSES = 10
NULL = 10  # the label of "no label": the last of num_class_embeds


def read_idx(path: Path) -> np.ndarray:
    """One gzipped IDX file (yann.lecun.com/exdb/mnist) as a uint8 array."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def mnist(split: str, folder: Path = MNIST) -> tuple[torch.Tensor, torch.Tensor]:
    """`train` (60,000) or `t10k` (10,000): images (N, 1, 32, 32) in [-1, 1], labels (N,)."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    x = torch.from_numpy(padded.astype(np.float32) / 127.5 - 1)[:, None]
    return x, torch.from_numpy(labels.astype(np.int64))


def make_unet() -> UNet2DModel:
    """0.69 M parameters, 0.19 GFLOP an image and step."""
    return UNet2DModel(
        sample_size=32,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=32,
        norm_num_groups=4,
        num_class_embeds=CLASSES + 1,
    )


def make_schedule() -> DDPMScheduler:
    """The cosine schedule of Improved DDPM (Nichol & Dhariwal 2021, eq. 17), epsilon prediction."""
    return DDPMScheduler(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2", clip_sample=True)
