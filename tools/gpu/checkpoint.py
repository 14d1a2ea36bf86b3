"""A training checkpoint (last.pt of weights/train/loop.py) in pieces that a small channel takes, and back.

    python tools/gpu/checkpoint.py split RUN/last.pt FOLDER NAME [--mib 15] [--pieces 5]
    python tools/gpu/checkpoint.py join FOLDER NAME RUN

Pieces are safetensors files NAME-00.safetensors, ...: the EMA's weights and, if they fit, the network's, in 16 bits. The
optimiser stays behind: its memory is 100 steps long (beta_2 0.99), and loop.py begins slowly without it.
"""

import argparse
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def split(last: Path, folder: Path, name: str, piece_bytes: int, most: int) -> list[Path]:
    """Writes the pieces, each whole or not at all; returns their paths."""
    saved = torch.load(last, weights_only=True, map_location="cpu")
    meta = dict(images=str(saved["images"]), seconds=str(saved["seconds"]))
    for parts in (("ema", "net"), ("ema",)):
        pieces: list[dict[str, torch.Tensor]] = [{}]
        room = piece_bytes
        for part in parts:
            for key, tensor in saved[part].items():
                half = tensor.half().contiguous()
                if half.nbytes > piece_bytes:
                    raise SystemExit(f"{key} does not fit into a piece")
                if half.nbytes > room:
                    pieces.append({})
                    room = piece_bytes
                pieces[-1][f"{part}.{key}"] = half
                room -= half.nbytes
        if len(pieces) <= most:
            break
    else:
        raise SystemExit(f"the EMA alone takes {len(pieces)} pieces, and {most} are allowed")
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for i, piece in enumerate(pieces):
        path = folder / f"{name}-{i:02}.safetensors"
        save_file(piece, path.with_suffix(".part"), {**meta, "pieces": str(len(pieces)), "piece": str(i)})
        os.replace(path.with_suffix(".part"), path)
        out.append(path)
    return out


def join(folder: Path, name: str, run: Path) -> int:
    """Makes run/last.pt of the pieces; returns the images seen."""
    paths = sorted(folder.glob(f"{name}-[0-9][0-9].safetensors"))
    if not paths:
        raise SystemExit(f"no pieces of {name} in {folder}")
    state: dict[str, dict[str, torch.Tensor]] = {"ema": {}, "net": {}}
    metas = []
    for path in paths:
        with safe_open(path, "pt") as file:
            metas.append(file.metadata())
            for key in file.keys():
                part, rest = key.split(".", 1)
                state[part][rest] = file.get_tensor(key).float()
    if len({(m["images"], m["pieces"]) for m in metas}) != 1 or len(paths) != int(metas[0]["pieces"]):
        raise SystemExit(f"the pieces of {name} in {folder} are not of one checkpoint: {[(p.name, m) for p, m in zip(paths, metas)]}")
    net = state["net"] or state["ema"]
    run.mkdir(parents=True, exist_ok=True)
    images = int(metas[0]["images"])
    torch.save(dict(net=net, ema=state["ema"], images=images, seconds=float(metas[0]["seconds"])), run / "last.pt")
    return images


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    cut = sub.add_parser("split")
    cut.add_argument("last", type=Path)
    cut.add_argument("folder", type=Path)
    cut.add_argument("name")
    cut.add_argument("--mib", type=float, default=15)
    cut.add_argument("--pieces", type=int, default=5)
    whole = sub.add_parser("join")
    whole.add_argument("folder", type=Path)
    whole.add_argument("name")
    whole.add_argument("run", type=Path)
    args = ap.parse_args()
    if args.what == "split":
        for path in split(args.last, args.folder, args.name, int(args.mib * 2**20), args.pieces):
            print(path.name, path.stat().st_size)
    else:
        print(join(args.folder, args.name, args.run), "images")


if __name__ == "__main__":
    main()
