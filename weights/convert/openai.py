"""From a checkpoint of openai/improved-diffusion or openai/guided-diffusion to a folder that this project loads.

    python weights/convert/openai.py 64x64_diffusion.pt OUT --attention_resolutions 32,16,8 --class_cond True \\
        --diffusion_steps 1000 --image_size 64 --learn_sigma True --noise_schedule cosine --num_channels 192 \\
        --num_head_channels 64 --num_res_blocks 3 --resblock_updown True --use_new_attention_order True \\
        --use_scale_shift_norm True

The flags are those of the repositories' own scripts, with the defaults of guided-diffusion (`--family improved` for those
of improved-diffusion: its order of q, k and v is the old one always, and its timesteps are rescaled unless told not to).
The checkpoint is read as plain tensors (`weights_only`): a pickle with anything else in it is refused.

The folder's config.json has `_class_name: ExtendedUNet2DModel`, our extension: the options of diffusers' UNet2DModel, and

    num_attention_heads   so many heads at every level (`--num_heads`); attention_head_dim is null then
    time_proj_dim         length of the sinusoidal embedding where it is not block_out_channels[0]
    timestep_scale        what a timestep is multiplied by before it is embedded (`--rescale_timesteps`: 1000 / T)
    frequency_table       whether the frequencies of that embedding are in the weights, as time_proj.weight
    attention_adds_normed whether attention is added to its normalised input (Keras's example) or to the input itself
    null_class            whether the last class is the null class of classifier-free guidance; false: all are real
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

NUM_CLASSES = 1000
MULTIPLIERS = {512: "0.5,1,1,2,2,4,4", 256: "1,1,2,2,4,4", 128: "1,1,2,3,4", 64: "1,2,3,4", 32: "1,2,2,2"}


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("True or False")
    return text.lower() == "true"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint", type=Path)
    ap.add_argument("output", type=Path)
    ap.add_argument("--family", choices=["guided", "improved"], default="guided")
    ap.add_argument("--image_size", type=int, default=64)
    ap.add_argument("--num_channels", type=int, default=128)
    ap.add_argument("--num_res_blocks", type=int, default=2)
    ap.add_argument("--channel_mult", default="")
    ap.add_argument("--num_heads", type=int, default=4)
    ap.add_argument("--num_heads_upsample", type=int, default=-1)
    ap.add_argument("--num_head_channels", type=int, default=-1)
    ap.add_argument("--attention_resolutions", default="16,8")
    ap.add_argument("--class_cond", type=boolean, default=False)
    ap.add_argument("--learn_sigma", type=boolean, default=False)
    ap.add_argument("--sigma_small", type=boolean, default=False)
    ap.add_argument("--predict_xstart", type=boolean, default=False)
    ap.add_argument("--use_scale_shift_norm", type=boolean, default=True)
    ap.add_argument("--resblock_updown", type=boolean, default=False)
    ap.add_argument("--use_new_attention_order", type=boolean, default=False)
    ap.add_argument("--diffusion_steps", type=int, default=1000)
    ap.add_argument("--noise_schedule", choices=["linear", "cosine"], default="linear")
    ap.add_argument("--rescale_timesteps", type=boolean, default=None)
    ap.add_argument("--use_fp16", type=boolean, default=False, help="accepted, changes nothing")
    ap.add_argument("--dropout", type=float, default=0.0, help="accepted, changes nothing")
    ap.add_argument("--dtype", choices=["f32", "f16"], default="f32", help="of the written weights")
    return ap.parse_args(argv)


def levels(args: argparse.Namespace) -> tuple[list[int], list[bool]]:
    """Channels, and whether there is attention, of every level."""
    text = args.channel_mult or MULTIPLIERS.get(args.image_size)
    if not text:
        raise SystemExit(f"--channel_mult is needed: there is no usual one for --image_size {args.image_size}")
    channels = [int(float(m) * args.num_channels) for m in text.split(",")]
    at = {args.image_size // int(size) for size in args.attention_resolutions.split(",")}
    return channels, [2**i in at for i in range(len(channels))]


def config(args: argparse.Namespace, in_channels: int = 3) -> dict:
    """config.json"""
    channels, attention = levels(args)
    if args.num_heads_upsample not in (-1, args.num_heads):
        raise SystemExit("--num_heads_upsample other than --num_heads is not supported")
    resnet = args.resblock_updown
    rescale = args.family == "improved" if args.rescale_timesteps is None else args.rescale_timesteps
    kind = lambda attended, way: f"Attn{way}Block2D" if attended else f"Resnet{way}sampleBlock2D" if resnet else f"{way}Block2D"
    return dict(
        _class_name="ExtendedUNet2DModel",
        sample_size=args.image_size,
        in_channels=in_channels,
        out_channels=2 * in_channels if args.learn_sigma else in_channels,
        block_out_channels=channels,
        layers_per_block=args.num_res_blocks,
        down_block_types=[kind(a, "Down") for a in attention],
        up_block_types=[kind(a, "Up") for a in reversed(attention)],
        downsample_type="resnet" if resnet else "conv",
        upsample_type="resnet" if resnet else "conv",
        attention_head_dim=None if args.num_head_channels == -1 else args.num_head_channels,
        num_attention_heads=args.num_heads if args.num_head_channels == -1 else None,
        norm_num_groups=32,
        attn_norm_num_groups=32,
        resnet_time_scale_shift="scale_shift" if args.use_scale_shift_norm else "default",
        time_proj_dim=args.num_channels,
        time_embedding_dim=4 * args.num_channels,
        timestep_scale=1000 / args.diffusion_steps if rescale else 1,
        num_class_embeds=NUM_CLASSES if args.class_cond else None,
        null_class=False,
    )


def scheduler(args: argparse.Namespace) -> dict:
    """scheduler_config.json; linear betas are scaled with the number of steps, as OpenAI's are."""
    T = args.diffusion_steps
    fixed = "fixed_small" if args.sigma_small else "fixed_large"
    return dict(
        _class_name="DDPMScheduler",
        num_train_timesteps=T,
        beta_schedule="linear" if args.noise_schedule == "linear" else "squaredcos_cap_v2",
        beta_start=1e-4 * 1000 / T,
        beta_end=0.02 * 1000 / T,
        prediction_type="sample" if args.predict_xstart else "epsilon",
        variance_type="learned_range" if args.learn_sigma else fixed,
        clip_sample=True,
    )


def names(args: argparse.Namespace) -> Iterator[tuple[str, str, list[int] | None]]:
    """Every tensor: our name, theirs, and which of its rows (None: all)."""
    channels, attention = levels(args)
    last = len(channels) - 1
    both = ("weight", "bias")
    improved = args.family == "improved"

    def whole(ours: str, theirs: str):
        for part in both:
            yield f"{ours}.{part}", f"{theirs}.{part}", None

    def resnet(ours: str, theirs: str, shortcut: bool = False):
        for mine, own in [
            ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
            ("norm2", "out_layers.0"), ("conv2", "out_layers.3"),
        ]:  # fmt: skip
            yield from whole(f"{ours}.{mine}", f"{theirs}.{own}")
        if shortcut:
            yield from whole(f"{ours}.conv_shortcut", f"{theirs}.skip_connection")

    def attend(ours: str, theirs: str, c: int):
        heads = args.num_heads if args.num_head_channels == -1 else c // args.num_head_channels
        d = c // heads
        yield from whole(f"{ours}.group_norm", f"{theirs}.norm")
        for k, part in enumerate(("to_q", "to_k", "to_v")):
            if args.use_new_attention_order and not improved:  # q of all heads, then k, then v
                rows = [k * c + i for i in range(c)]
            else:  # head by head: its q, its k, its v
                rows = [(h * 3 + k) * d + i for h in range(heads) for i in range(d)]
            for suffix in both:
                yield f"{ours}.{part}.{suffix}", f"{theirs}.qkv.{suffix}", rows
        yield from whole(f"{ours}.to_out.0", f"{theirs}.proj_out")

    def change(ours: str, theirs: str, own: str):
        if args.resblock_updown:
            yield from resnet(ours, theirs)
        else:
            yield from whole(f"{ours}.conv", f"{theirs}.{own}")

    yield from whole("time_embedding.linear_1", "time_embed.0")
    yield from whole("time_embedding.linear_2", "time_embed.2")
    if args.class_cond:
        yield "class_embedding.weight", "label_emb.weight", None
    yield from whole("conv_in", "input_blocks.0.0")
    block, c = 1, channels[0]
    skips = [c]
    for i, own in enumerate(channels):
        for j in range(args.num_res_blocks):
            yield from resnet(f"down_blocks.{i}.resnets.{j}", f"input_blocks.{block}.0", c != own)
            if attention[i]:
                yield from attend(f"down_blocks.{i}.attentions.{j}", f"input_blocks.{block}.1", own)
            c = own
            skips.append(c)
            block += 1
        if i < last:
            yield from change(f"down_blocks.{i}.downsamplers.0", f"input_blocks.{block}.0", "op")
            skips.append(c)
            block += 1
    yield from resnet("mid_block.resnets.0", "middle_block.0")
    yield from attend("mid_block.attentions.0", "middle_block.1", c)
    yield from resnet("mid_block.resnets.1", "middle_block.2")
    block = 0
    for i in range(last + 1):
        own = channels[last - i]
        for j in range(args.num_res_blocks + 1):
            yield from resnet(f"up_blocks.{i}.resnets.{j}", f"output_blocks.{block}.0", c + skips.pop() != own)
            if attention[last - i]:
                yield from attend(f"up_blocks.{i}.attentions.{j}", f"output_blocks.{block}.1", own)
            c = own
            if i < last and j == args.num_res_blocks:
                at = 1 + attention[last - i]
                yield from change(f"up_blocks.{i}.upsamplers.0", f"output_blocks.{block}.{at}", "conv")
            block += 1
    yield from whole("conv_norm_out", "out.0")
    yield from whole("conv_out", "out.2")


def convert(args: argparse.Namespace, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their tensors by our names. Every one of them must be used."""
    out, used = {}, set()
    for ours, theirs, rows in names(args):
        if theirs not in state:
            raise SystemExit(f"the checkpoint has no {theirs}: check the flags")
        used.add(theirs)
        tensor = state[theirs] if rows is None else state[theirs][rows]
        if tensor.ndim == 3:  # attention is a convolution in one dimension there, a linear layer here
            tensor = tensor[:, :, 0]
        out[ours] = tensor.float().contiguous()
    if left := sorted(state.keys() - used):
        raise SystemExit(f"the checkpoint has {len(left)} tensors more, {left[0]} among them: check the flags")
    return out


def main() -> None:
    args = arguments()
    state = torch.load(args.checkpoint, weights_only=True, map_location="cpu")
    tensors = convert(args, state)
    if args.dtype == "f16":
        tensors = {name: t.half() for name, t in tensors.items()}
    (args.output / "unet").mkdir(parents=True, exist_ok=True)
    (args.output / "scheduler").mkdir(exist_ok=True)
    channels = state["input_blocks.0.0.weight"].shape[1]
    (args.output / "unet" / "config.json").write_text(json.dumps(config(args, channels), indent=2) + "\n")
    (args.output / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler(args), indent=2) + "\n")
    save_file(tensors, args.output / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    print(f"{len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} parameters -> {args.output}")


if __name__ == "__main__":
    main()
