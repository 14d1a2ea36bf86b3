"""Measures weights/avatars as it is bundled, with PyTorch diffusers: metrics.json and the pictures of the model card.

    python weights/train/avatars/evaluate.py                                  # everything: minutes on a GPU, hours on a CPU
    python weights/train/avatars/evaluate.py --per-class 20 --runs ddim20-guided ddim50-guided ddim50

Draws `--per-class` avatars of each style for each run (ddim or ddpm, steps, guided or not) and measures

- accuracy: share that the independent judge (classifier.py) reads as the style asked for, and the worst style's;
- Frechet distance of the judge's 64 features to held-out avatars. It falls with the number of pictures, so each run has
  its own floor: the distance of as many other held-out avatars to the same ones;
- diversity: mean distance between the features of two avatars of a style, over that of real ones;

and of the run `--show` (guided) the nearest avatars of the training draw, the failures, and 10 avatars of each style; the same
run with the weights before they were rounded to F16, where exported.safetensors of the run has them. Runs are added to
metrics.json, which forgets them when the weights have changed.
"""

import argparse
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, JUDGE, LABELS, MODEL, RUN, Pictures, run_of
from diffusers import UNet2DModel
from judge import Judge, load, read
from measure import draw, frechet, grid, nearest, quantiles, spread
from safetensors.torch import load_file

RUNS = [f"{name}{guided}" for name in ("ddim10", "ddim20", "ddim50", "ddim100", "ddpm250") for guided in ("-guided", "")]


@torch.no_grad()
def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", type=Path, default=MODEL)
    ap.add_argument("--per-class", type=int, default=100)
    ap.add_argument("--runs", nargs="*", default=RUNS, choices=RUNS)
    ap.add_argument("--show", default="ddim50-guided", choices=RUNS, help="the run that the pictures are of")
    ap.add_argument("--guidance", type=float, default=2.0)
    ap.add_argument("--batch", type=int, default=140)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--pictures", type=Path, default=RUN, help="folder of the files of data.mjs")
    args = ap.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(args.threads if device == "cpu" else 1, initializer=lambda: torch.set_num_threads(1))
    file = args.model / "unet" / "diffusion_pytorch_model.safetensors"
    net = UNet2DModel.from_pretrained(args.model, subfolder="unet").to(device, memory_format=torch.channels_last).eval()
    size = net.config.sample_size
    reader = load(JUDGE)
    features = lambda x: torch.cat([reader.features(part) for part in x.split(1000)]).double().numpy()
    train, test = Pictures("train", size, args.pictures), Pictures("test", size, args.pictures)
    real_x, real_y = test.take(torch.arange(len(test)))
    real = features(real_x)
    half = len(real) // (2 * CLASSES) * CLASSES
    reference, others = real[:half], real[half:]

    stamp = hashlib.sha256(file.read_bytes()).hexdigest()
    result = {
        "weights": stamp,
        "judge, accuracy on held-out avatars": round((read(reader, real_x).argmax(1) == real_y).float().mean().item(), 4),
        "held-out avatars": len(test),
        "Frechet distance of their two halves": round(frechet(reference, others[:half]), 3),
        "Frechet distance of held-out avatars, disturbed": disturbed(others[: 100 * CLASSES], real_x[half:][: 100 * CLASSES], reference, features),
        "diversity of held-out avatars": round(spread(real[: 100 * CLASSES], real_y[: 100 * CLASSES].numpy()), 3),
        "runs": {},
    }
    path = args.model / "metrics.json"
    if path.exists() and (before := json.loads(path.read_text()))["weights"] == stamp:
        result = {**before, **result, "runs": before["runs"]}

    def pictures(name: str, labels: torch.Tensor, net: UNet2DModel) -> torch.Tensor:
        kind, steps = name[:4], int(name[4:].removesuffix("-guided"))
        options = dict(kind=kind, steps=steps, guidance=args.guidance if name.endswith("-guided") else 1.0)
        parts = labels.split(args.batch)
        of = lambda i: draw(args.model, net, parts[i], **options, seed=1000 + i)
        # A batch a thread, rather than all threads in every operation: a fifth faster on two cores.
        return torch.cat(list(pool.map(of, range(len(parts)))))

    labels = torch.arange(args.per_class * CLASSES) % CLASSES
    for name in args.runs:
        x = pictures(name, labels, net)
        f = features(x)
        right = read(reader, x).argmax(1) == labels
        of_class = [right[labels == k].float().mean().item() for k in range(CLASSES)]
        worst = int(np.argmin(of_class))
        result["runs"][name] = {
            "avatars": len(labels),
            "guidance": args.guidance if name.endswith("-guided") else 1.0,
            "accuracy": round(right.float().mean().item(), 4),
            "worst style": [LABELS[worst], round(of_class[worst], 4)],
            "Frechet distance": round(frechet(f, reference), 3),
            "its floor": round(frechet(others[: len(labels)], reference), 3),
            "diversity": round(spread(f, labels.numpy()) / result["diversity of held-out avatars"], 3),
        }
        print(name, json.dumps(result["runs"][name]), flush=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        if name == args.show:
            show(args, result, x, labels, train, test, reader)
            exported = run_of(size) / "exported.safetensors"
            stored = {k: v for k, v in load_file(file).items()}
            full = load_file(exported) if exported.exists() else {}
            if full and all(torch.equal(full[k].half(), v) for k, v in stored.items()):
                some = labels[: 10 * CLASSES]
                net.load_state_dict(full)
                y = pictures(name, some, net)
                net.load_state_dict({k: v.float() for k, v in stored.items()})
                d = (pictures(name, some, net) - y).abs()
                result["F16 against F32 weights"] = {
                    "avatars": len(some),
                    "accuracy with F32": round((read(reader, y).argmax(1) == some).float().mean().item(), 4),
                    "accuracy with F16": round(right[: len(some)].float().mean().item(), 4),
                    "mean difference of 8-bit values": round(d.mean().item() * 127.5, 3),
                    "99.9 % of them below": round(float(np.quantile(d.numpy(), 0.999)) * 127.5, 1),
                }
            else:
                print("F16 against F32: the weights before rounding are not there (export.py leaves them)")
        path.write_text(json.dumps(result, indent=2) + "\n")


def disturbed(plain: np.ndarray, x: torch.Tensor, reference: np.ndarray, features) -> dict[str, float]:
    """What the distance sees: of real avatars as they are, and with a little of what is wrong with drawn ones."""
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    def blurred(share: float) -> torch.Tensor:
        kernel = torch.tensor([[0, share, 0], [share, 1 - 4 * share, share], [0, share, 0]]).expand(3, 1, 3, 3)
        return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)

    versions = {f"noise of {s} of 255": (x + s / 127.5 * z).clamp(-1, 1) for s in (2, 4, 8)}
    versions |= {f"{share:.0%} of each neighbour mixed in": blurred(share) for share in (0.02, 0.05)}
    result = {"as they are": frechet(plain, reference)}
    result |= {name: frechet(features(y), reference) for name, y in versions.items()}
    return {name: round(d, 2) for name, d in result.items()}


def show(args, result, x, labels, train: Pictures, test: Pictures, reader: Judge) -> None:
    """grid.png, failures.png, nearest.png, and the distances to the training draw."""
    rows = min(10, args.per_class)
    grid(x[: rows * CLASSES], CLASSES, args.model / "grid.png")
    sure = read(reader, x).softmax(1).gather(1, labels[:, None])[:, 0]
    worst = sure.argsort()[:CLASSES]
    grid(x[worst], CLASSES, args.model / "failures.png")
    result["failures.png"] = [f"{LABELS[labels[i]]}, judged so with {sure[i]:.2f}" for i in worst.tolist()]

    compared, shown = {"drawn": x, "held-out": test.take(torch.arange(min(len(x), len(test))))[0]}, []
    distances = {name: [] for name in compared}
    for k in range(CLASSES):  # of the same style: the draw is large
        of_style = train.take(torch.arange(k, len(train), CLASSES))[0]
        for name, pictures in compared.items():
            d, which = nearest(pictures[k::CLASSES], of_style)
            distances[name].append(d)
            if name == "drawn":
                closest = int(d.argmin())
                shown.append((pictures[k::CLASSES][closest], of_style[which[closest]]))
    result["nearest of the training draw"] = {
        "training draw": len(train),
        **{name: quantiles(np.concatenate(d)) for name, d in distances.items()},
    }
    pairs = torch.cat([torch.stack([a for a, _ in shown]), torch.stack([b for _, b in shown])])
    grid(pairs, CLASSES, args.model / "nearest.png")


if __name__ == "__main__":
    main()
