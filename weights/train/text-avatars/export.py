"""From checkpoints to folders in Stable Diffusion's layout, F16: StableDiffusionPipeline.from_pretrained loads them as they are.

    python weights/train/text-avatars/export.py teacher --to FOLDER
    python weights/train/text-avatars/export.py few --to FOLDER
    python weights/train/text-avatars/export.py start          # start/: what a run on another machine resumes from
    python weights/train/text-avatars/export.py check --to FOLDER

The few-step folder is weights/avatars, the teacher's weights/avatars-teacher.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from common import CHANNELS, HERE, LATENT, LENGTH, RUNS, START, make_tokenizer, make_unet, schedule, tokens
from distil import FEW
from safetensors.torch import load_file, save_file
from train import CHECKPOINT

LIMIT = 20_000_000  # bytes of a folder


def averages(kind: str) -> dict[str, torch.Tensor]:
    """EMA weights of the teacher or the few-step model, of the run, else committed."""
    checkpoint = CHECKPOINT if kind == "teacher" else FEW
    if checkpoint.exists():
        return torch.load(checkpoint, weights_only=True, map_location="cpu")["ema"]
    return load_file(START / ("unet.safetensors" if kind == "teacher" else "few.safetensors"))


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def save_half(net, folder: Path) -> None:
    net.save_pretrained(folder, safe_serialization=True)
    for path in folder.glob("*.safetensors"):
        save_file(half(load_file(path)), path, metadata={"format": "pt"})


def folder(kind: str, to: Path) -> None:
    from autoencoder import load as load_vae
    from text import load_encoder, named

    shutil.rmtree(to, ignore_errors=True) if (to / "model_index.json").exists() else None
    unet = make_unet()
    unet.load_state_dict({k: v.float() for k, v in averages(kind).items()})
    save_half(unet, to / "unet")
    save_half(load_vae().cpu(), to / "vae")
    save_half(load_encoder().cpu(), to / "text_encoder")
    path = to / "text_encoder" / "model.safetensors"
    save_file(named(load_file(path)), path, metadata={"format": "pt"})
    scheduler = schedule("LCM" if kind == "few" else "DDIM")
    scheduler.save_pretrained(to / "scheduler")
    (to / "tokenizer").mkdir(exist_ok=True)
    for path in (HERE / "tokenizer").iterdir():
        shutil.copy(path, to / "tokenizer")
    import diffusers

    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (to / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    sizes = {p.relative_to(to).as_posix(): p.stat().st_size for p in to.rglob("*") if p.is_file()}
    print(json.dumps(sizes, indent=1), sum(sizes.values()), "bytes")
    if sum(sizes.values()) > LIMIT:
        raise SystemExit(f"the folder is larger than {LIMIT} bytes")


def start() -> None:
    """The text encoder with its heads, the autoencoder and the denoisers that there are, F16."""
    from safetensors import safe_open

    START.mkdir(exist_ok=True)
    for name in ("vae", "text"):
        path = RUNS / f"{name}.safetensors"
        if path.exists():
            with safe_open(path, "pt") as f:
                metadata = f.metadata()
            save_file(half(load_file(path)), START / path.name, metadata=metadata)
    for kind, name, checkpoint in (("teacher", "unet", CHECKPOINT), ("few", "few", FEW)):
        if checkpoint.exists():
            save_file(half(averages(kind)), START / f"{name}.safetensors")
    print({p.name: p.stat().st_size for p in START.iterdir()})


@torch.no_grad()
def check(to: Path) -> None:
    """The pipeline loads, draws a picture of the right shape, and does what sampling.py does from the same x_T, with the text
    encoder that was trained."""
    from diffusers import StableDiffusionPipeline
    from sampling import draw, noise
    from text import load_encoder

    pipe = StableDiffusionPipeline.from_pretrained(to, torch_dtype=torch.float32)
    few = type(pipe.scheduler).__name__ == "LCMScheduler"
    prompt, x = "a micah avatar with long blue hair on a yellow background", noise(1, 1)
    assert x.shape[1:] == (CHANNELS, LATENT, LATENT)
    options = dict(guidance_scale=1.0 if few else 2.5, num_inference_steps=4, height=128, width=128, output_type="pt")
    drawn = pipe(prompt, latents=x.cpu(), generator=torch.Generator().manual_seed(0), **options).images
    ours = draw(pipe.unet, pipe.text_encoder, make_tokenizer(), pipe.vae, [prompt], x.cpu(), few=few, steps=4, guidance=options["guidance_scale"])
    assert pipe.tokenizer.model_max_length == LENGTH, pipe.tokenizer.model_max_length
    trained, ids = load_encoder().cpu(), tokens(pipe.tokenizer, [prompt, ""]).long()
    off = (trained(ids).last_hidden_state - pipe.text_encoder(ids).last_hidden_state).abs().max().item()
    assert off < 0.05, f"the text encoder's states are {off} off"  # F16 weights
    error = (drawn.cpu() - (ours / 2 + 0.5)).abs().max().item()
    print(f"{type(pipe).__name__} of {type(pipe.scheduler).__name__}: {tuple(drawn.shape)}, at most {error:.1e} off sampling.py")
    assert error < 2e-3, error


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["teacher", "few", "start", "check"])
    ap.add_argument("--to", type=Path)
    args = ap.parse_args()
    if args.what == "start":
        return start()
    to = args.to or RUNS / ("avatars" if args.what == "few" else "avatars-teacher")
    if args.what != "check":
        folder(args.what, to)
    check(to)


if __name__ == "__main__":
    main()
