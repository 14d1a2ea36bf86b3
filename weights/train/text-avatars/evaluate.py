"""Does the model draw what the words say? Measures an exported folder with an independent judge: metrics.json and pictures.

    python weights/train/text-avatars/evaluate.py --model FOLDER [--images 1400] [--steps 10 25 50] [--guidance 2.5]
    python weights/train/text-avatars/evaluate.py --model FOLDER --gate      # the gate after 150,000 images: style and background

Prompts are captions of held-out pictures (`test`), those of each picture that say most; `pairs` are pictures of a style and a colour
that training never saw together. Beside every accuracy stands the judge's on the real pictures of the same prompts, and on those
pictures encoded and decoded, which is the ceiling. The Frechet distance is of the judge's 128 features; its floor is that of as many
other real pictures. A folder with LCM's scheduler is drawn with it, without guidance; add --guidance for some.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from attribute_judge import features, load, right, summary
from common import DEVICE, HERE, RUNS, STYLES, Pictures, captions, grid, threads
from measure import frechet, nearest, quantiles
from sampling import draw, noise


def prompts(name: str, count: int) -> tuple[list[str], list[dict]]:
    """Of each picture the caption that says most, and what it says."""
    best = [max(each, key=lambda c: len(c["said"])) for each in captions(name)[:count]]
    return [c["text"] for c in best], [c["said"] for c in best]


def hits(judge, x: torch.Tensor, rows: list[dict], said: list[dict]) -> dict[str, torch.Tensor]:
    """Of right(), only what the prompts say."""
    net, words = judge
    read = right(net, words, x, rows)
    return {a: torch.where(torch.tensor([a in s for s in said]), h, -1) for a, h in read.items()}


def of_style(found: dict[str, torch.Tensor], said: list[dict], rows: list[dict]) -> dict[str, float]:
    """For each style the share of all that is said that is read so."""
    table = torch.stack(list(found.values()), 1)
    out = {}
    for style in STYLES:
        part = table[torch.tensor([r["style"] == style for r in rows])]
        if (part >= 0).any():
            out[style] = round((part == 1).sum().item() / (part >= 0).sum().item(), 4)
    return out


class Model:
    """A folder in Stable Diffusion's layout, on the device, in f32."""

    def __init__(self, folder: Path) -> None:
        from diffusers import AutoencoderTiny, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        self.few = "LCM" in json.loads((folder / "model_index.json").read_text())["scheduler"][1]
        place = lambda net: net.float().to(DEVICE).eval().requires_grad_(False)
        self.unet = place(UNet2DConditionModel.from_pretrained(folder, subfolder="unet"))
        self.vae = place(AutoencoderTiny.from_pretrained(folder, subfolder="vae"))
        self.encoder = place(CLIPTextModel.from_pretrained(folder, subfolder="text_encoder"))
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")

    def draw(self, texts: list[str], x: torch.Tensor, steps: int, guidance: float) -> torch.Tensor:
        options = dict(few=self.few, steps=steps, guidance=guidance, seed=7)
        return draw(self.unet, self.encoder, self.tokenizer, self.vae, texts, x, **options)

    @torch.no_grad()
    def decoded(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.vae.decoder(self.vae.encoder(p)).clamp(-1, 1).float().cpu() for p in x.split(28)])


def show(model: Model, to: Path, steps: int, guidance: float) -> None:
    """grid.png: eight seeds of each prompt of prompts.txt, not selected. words.png: the same noise under changed words."""
    texts = (HERE / "prompts.txt").read_text().splitlines()
    each = [t for t in texts for _ in range(8)]
    grid(model.draw(each, noise(8, 1).repeat(len(texts), 1, 1, 1), steps, guidance), 8, to / "grid.png")
    words = [
        f"a {style} avatar with {hair} hair, smiling, on a {back} background"
        for style in ("micah", "lorelei", "personas", "pixel art")
        for hair, back in (("black", "yellow"), ("blue", "yellow"), ("ginger", "yellow"), ("pink", "yellow"), ("pink", "teal"), ("pink", "white"))
    ]
    grid(model.draw(words, noise(1, 3).repeat(len(words), 1, 1, 1), steps, guidance), 6, to / "words.png")


def neighbours(x: torch.Tensor, test: torch.Tensor, to: Path) -> dict:
    """Root mean square distance at 32 x 32 to the nearest training picture, beside that of held-out pictures."""
    train = Pictures("train")
    count = min(len(train), 42_000)
    small = lambda p: torch.nn.functional.avg_pool2d(p, 4).cpu()
    real = torch.cat([small(train.take(slice(i, min(count, i + 700)))) for i in range(0, count, 700)])
    distance, which = nearest(small(x), real)
    closest = distance.argsort()[:14]
    grid(torch.cat([x[closest], train.take(np.sort(which[closest])).cpu()[torch.from_numpy(which[closest].argsort().argsort())]]), 14, to / "nearest.png")
    return {"training pictures": count, "drawn": quantiles(distance), "held-out": quantiles(nearest(small(test), real)[0])}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", type=Path, required=True)
    ap.add_argument("--images", type=int, default=1400)
    ap.add_argument("--steps", type=int, nargs="*")
    ap.add_argument("--show", type=int, help="steps of the pictures (default: the middle one of --steps)")
    ap.add_argument("--guidance", type=float)
    ap.add_argument("--gate", action="store_true")
    ap.add_argument("--to", type=Path, help="folder of metrics.json and the pictures (default: the model's)")
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    threads(args.threads)
    model, judge, test = Model(args.model), load(), Pictures("test")
    to = args.to or args.model
    to.mkdir(parents=True, exist_ok=True)
    guidance = args.guidance or (1.0 if model.few else 2.5)
    steps = args.steps or ([25] if args.gate else [1, 2, 4] if model.few else [10, 25, 50])
    n = min(args.images, len(test) // 2)
    rows = test.rows[:n]
    texts, said = prompts("test", n)
    real = test.take(slice(0, n)).cpu()
    ceiling = hits(judge, real, rows, said)
    other = features(judge[0], test.take(slice(len(test) // 2, len(test))).cpu())
    result = {
        "model": args.model.name,
        "prompts": n,
        "guidance": guidance,
        "real": dict(attributes=summary(ceiling), styles=of_style(ceiling, said, rows)),
        "Frechet distance of real pictures (floor)": round(frechet(features(judge[0], real), other), 3),
        "runs": {},
    }
    if not args.gate:
        decoded = model.decoded(test.take(slice(0, n)))
        result["real, encoded and decoded"] = dict(attributes=summary(hits(judge, decoded, rows, said)), **{"Frechet distance": round(frechet(features(judge[0], decoded), other), 3)})
    for count in steps:
        x = model.draw(texts, noise(n, 11), count, guidance)
        found = hits(judge, x, rows, said)
        attributes, whole = summary(found), result["real"]["attributes"]
        run = dict(
            attributes=attributes,
            share_of_real={a: round(v[0] / max(whole[a][0], 1e-9), 3) for a, v in attributes.items()},
            styles=of_style(found, said, rows),
            **{"Frechet distance": round(frechet(features(judge[0], x), other), 3)},
        )
        result["runs"][f"{count} steps"] = run
        print(count, json.dumps(run["share_of_real"]), flush=True)
        if count == (args.show or steps[len(steps) // 2]):
            show(model, to, count, guidance)
            if not args.gate:
                result["nearest training picture"] = neighbours(x, real, to)
    if not args.gate:
        pair_texts, pair_said = prompts("pairs", min(n, 1200))
        pair_rows = Pictures("pairs").rows[: len(pair_texts)]
        pair_real = Pictures("pairs").take(slice(0, len(pair_texts))).cpu()
        x = model.draw(pair_texts, noise(len(pair_texts), 12), args.show or steps[len(steps) // 2], guidance)
        result["held-out pairs"] = {k: summary(hits(judge, p, pair_rows, pair_said)) for k, p in (("drawn", x), ("real", pair_real))}
    (to / ("gate.json" if args.gate else "metrics.json")).write_text(json.dumps(result, indent=1) + "\n")
    if args.gate:
        share = result["runs"][f"{steps[0]} steps"]["share_of_real"]
        passed = share["style"] >= 0.85 and share["back"] >= 0.8
        print(f"gate: style {share['style']:.0%}, background {share['back']:.0%} of real: {'passed' if passed else 'FAILED'}")


if __name__ == "__main__":
    main()
