"""Encodes drawn pictures: NAME.latents, 16-bit floats (N, 8, 16, 16), times SCALE. Appends, so it may be stopped and started.

    python weights/train/text-avatars/latents.py [--name train] [--images 100000]

train.py reads the file while it grows. After a change of the encoder, delete it.
"""

import argparse
import json
import time

import numpy as np
import torch
from autoencoder import load
from common import CHANNELS, DEVICE, LATENT, RUNS, SCALE, Pictures, threads

BYTES = CHANNELS * LATENT * LATENT * 2


def read(name: str) -> np.ndarray:
    """(N, 8, 16, 16), of those that are there."""
    path = RUNS / f"{name}.latents"
    if not path.exists():
        raise SystemExit(f"{path} is not there: latents.py --name {name}")
    return np.memmap(path, np.float16, "r", shape=(path.stat().st_size // BYTES, CHANNELS, LATENT, LATENT))


@torch.no_grad()
def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--name", default="train")
    ap.add_argument("--images", type=int, default=10**9)
    ap.add_argument("--batch", type=int, default=14 if DEVICE == "cpu" else 512, help="a CPU is faster with few")
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    threads(args.threads)
    vae, pictures = load().eval(), Pictures(args.name)
    path = RUNS / f"{args.name}.latents"
    at = path.stat().st_size // BYTES if path.exists() else 0
    n, start, first = min(args.images, len(pictures)), time.time(), at
    with open(path, "r+b" if path.exists() else "w+b") as f:
        f.seek(at * BYTES)
        f.truncate()
        while at < n:
            to = min(n, at + args.batch)
            # bf16 on a GPU alone: its error (0.4 % of a latent) is far below the noise that the decoder was trained with.
            with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
                z = vae.encoder(pictures.take(slice(at, to)))
            f.write((z.float() * SCALE).half().contiguous().cpu().numpy().tobytes())
            f.flush()
            at = to
            if at // args.batch % 100 == 0 or at == n:
                rate = (at - first) / (time.time() - start)
                print(json.dumps(dict(name=args.name, latents=at, of=n, a_second=round(rate, 1), std=round(z.float().std().item() * SCALE, 3))), flush=True)


if __name__ == "__main__":
    main()
