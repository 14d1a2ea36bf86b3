"""Measures weights/digits as it is bundled, with PyTorch diffusers, and writes weights/digits/metrics.json.

    python weights/train/digits/evaluate.py

Draws `--samples` digits, each class alike, with 50 DDIM steps: guided and unguided. Measures
- accuracy: share that the independent classifier (classifier.py) reads as the class asked for;
- Frechet distance of the classifier's 64 features against all 10,000 test digits; its floor is the distance of as
  many real training digits against the same;
- distance to the nearest of the 60,000 training digits (root mean square over the pixels, in [-1, 1]), beside that
  of real test digits: copies of training digits would lie nearer.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, JUDGE, MNIST, MODEL, mnist
from diffusers import UNet2DModel
from judge import load, read
from measure import draw, frechet, grid, nearest, quantiles


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--samples", type=int, default=1000)
    ap.add_argument("--steps", type=int, default=50)
    ap.add_argument("--guidance", type=float, default=2.0)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    args = ap.parse_args()
    net = UNet2DModel.from_pretrained(MODEL, subfolder="unet").eval()
    reader = load(JUDGE)
    (train, _), (test, test_labels) = mnist("train", args.mnist), mnist("t10k", args.mnist)

    @torch.no_grad()
    def features(x: torch.Tensor) -> np.ndarray:
        return torch.cat([reader.features(part) for part in x.split(1000)]).double().numpy()

    def right(x: torch.Tensor, y: torch.Tensor) -> float:
        return (read(reader, x).argmax(1) == y).float().mean().item()

    real = features(test)
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: args.samples]
    result = {
        "samples": args.samples,
        "sampler": f"DDIM, {args.steps} steps, leading, eta 0, epsilon from the clipped x0",
        "classifier accuracy on real test digits": right(test, test_labels),
        "Frechet distance floor (real training digits)": round(frechet(features(train[some]), real), 3),
        "nearest training digit, real test digits": quantiles(nearest(test[: args.samples], train)[0]),
    }
    labels = torch.arange(args.samples) % CLASSES
    for name, guidance, seed in [("guided", args.guidance, 1), ("unguided", 1.0, 2)]:
        once = lambda i, part: draw(MODEL, net, part, steps=args.steps, guidance=guidance, seed=seed * 1000 + i)
        x = torch.cat([once(i, part) for i, part in enumerate(labels.split(100))])
        result[name] = {
            "guidance": guidance,
            "accuracy": round(right(x, labels), 4),
            "Frechet distance": round(frechet(features(x), real), 3),
            "nearest training digit": quantiles(nearest(x, train)[0]),
        }
        print(name, result[name], flush=True)
        grid(x[:100], 10, MODEL / f"{name}.png")
    (MODEL / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
