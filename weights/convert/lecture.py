"""From a checkpoint of dome272/Diffusion-Models-pytorch (the lecture's own code) to a folder that this project loads.

    python weights/convert/lecture.py ema_ckpt.pt OUT [--image_size 64] [--dtype f16]

Conditional or not, the checkpoint says. It is read as plain tensors (`weights_only`): a pickle with anything else in it is
refused. The folder's config.json has `_class_name: LectureUNet2DModel`. Where the lecture's network takes no label it adds
no embedding: the table gets one more row, of zeros, as the null class. Convolutions have no bias there; zeros are written.

`--scheduler ddpm --compat lecture` is the lecture's own sampling loop.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file


def names(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, str, slice]]:
    """Every tensor: our name, theirs, and which of its rows."""
    everything = slice(None)

    def affine(ours: str, theirs: str, bias: bool = True):
        yield f"{ours}.weight", f"{theirs}.weight", everything
        if bias:
            yield f"{ours}.bias", f"{theirs}.bias", everything

    def double(ours: str, theirs: str):
        for k, part in [(0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2")]:
            yield from affine(f"{ours}.{part}", f"{theirs}.double_conv.{k}", bias=part.startswith("norm"))

    yield from double("inc", "inc")
    for i in (1, 2, 3):
        for ours, theirs, first in [(f"down{i}", f"down{i}.maxpool_conv", 1), (f"up{i}", f"up{i}.conv", 0)]:
            yield from double(f"{ours}.conv.0", f"{theirs}.{first}")
            yield from double(f"{ours}.conv.1", f"{theirs}.{first + 1}")
            yield from affine(f"{ours}.emb", f"{ours}.emb_layer.1")
        yield from double(f"bot{i}", f"bot{i}")
    for i in range(1, 7):
        sa = f"sa{i}"
        yield from affine(f"{sa}.norm", f"{sa}.ln")
        c = len(state.get(f"{sa}.ln.weight", ()))
        for k, part in enumerate(("to_q", "to_k", "to_v")):
            for suffix in ("weight", "bias"):
                yield f"{sa}.{part}.{suffix}", f"{sa}.mha.in_proj_{suffix}", slice(k * c, (k + 1) * c)
        yield from affine(f"{sa}.to_out", f"{sa}.mha.out_proj")
        yield from affine(f"{sa}.ff_norm", f"{sa}.ff_self.0")
        yield from affine(f"{sa}.ff1", f"{sa}.ff_self.1")
        yield from affine(f"{sa}.ff2", f"{sa}.ff_self.3")
    yield from affine("outc", "outc")
    if "label_emb.weight" in state:
        yield "class_embedding.weight", "label_emb.weight", everything


def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their tensors by our names. Every one of them must be used."""
    out, used = {}, set()
    for ours, theirs, rows in names(state):
        if theirs not in state:
            raise SystemExit(f"the checkpoint has no {theirs}: it is not of this network")
        used.add(theirs)
        out[ours] = state[theirs][rows].float().contiguous()
    if left := sorted(state.keys() - used):
        raise SystemExit(f"the checkpoint has {len(left)} tensors more, {left[0]} among them: it is not of this network")
    for name in [n for n in out if n.endswith((".conv1.weight", ".conv2.weight"))]:
        out[name.replace("weight", "bias")] = torch.zeros(len(out[name]))
    if (table := out.get("class_embedding.weight")) is not None:
        out["class_embedding.weight"] = torch.cat([table, torch.zeros(1, table.shape[1])])
    return out


def config(tensors: dict[str, torch.Tensor], image_size: int) -> dict:
    """config.json"""
    table = tensors.get("class_embedding.weight")
    return dict(
        _class_name="LectureUNet2DModel",
        sample_size=image_size,
        in_channels=tensors["inc.conv1.weight"].shape[1],
        out_channels=tensors["outc.weight"].shape[0],
        base_channels=tensors["inc.conv1.weight"].shape[0],
        time_embedding_dim=tensors["down1.emb.weight"].shape[1],
        num_attention_heads=4,
        num_class_embeds=None if table is None else table.shape[0],
    )


SCHEDULER = dict(
    _class_name="DDPMScheduler",
    num_train_timesteps=1000,
    beta_schedule="linear",
    beta_start=1e-4,
    beta_end=0.02,
    prediction_type="epsilon",
    variance_type="fixed_large",
    clip_sample=False,
)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint", type=Path)
    ap.add_argument("output", type=Path)
    ap.add_argument("--image_size", type=int, default=64)
    ap.add_argument("--dtype", choices=["f32", "f16"], default="f32", help="of the written weights")
    args = ap.parse_args()
    tensors = convert(torch.load(args.checkpoint, weights_only=True, map_location="cpu"))
    about = config(tensors, args.image_size)
    if args.dtype == "f16":
        tensors = {name: t.half() for name, t in tensors.items()}
    (args.output / "unet").mkdir(parents=True, exist_ok=True)
    (args.output / "scheduler").mkdir(exist_ok=True)
    (args.output / "unet" / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    (args.output / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2) + "\n")
    save_file(tensors, args.output / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    print(f"{len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} parameters -> {args.output}")


if __name__ == "__main__":
    main()
