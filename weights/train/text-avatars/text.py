"""The text encoder (CLIPTextModel), trained alone to say which attributes a caption says.

    python weights/train/text-avatars/text.py train --minutes 2      # resumes from RUNS/text.safetensors, else from start/
    python weights/train/text-avatars/text.py measure                # on captions of held-out pictures: the gate is 99 %

Each attribute has a query that attends over the encoder's states, as the denoiser's cross-attention will, and a linear layer. So
the states learn to carry "blue hair" apart from "blue shirt" before the denoiser has to. The heads are not exported.
"""

import argparse
import json
import os
import time

import torch
import torch.nn.functional as F
from common import DEVICE, LENGTH, RUNS, START, WIDTH, captions, make_text_encoder, make_tokenizer, threads, tokens
from safetensors import safe_open
from safetensors.torch import save_file
from words import said, vocabulary

CHECKPOINT = RUNS / "text.safetensors"


def named(state: dict[str, torch.Tensor], like: list[str] | None = None, at: str = "") -> dict[str, torch.Tensor]:
    """A text encoder's weights below `at`, called text_model.* as in every published checkpoint, or as in `like`: what
    transformers calls them in memory has changed between its versions."""
    prefix = "" if like and not any(k.startswith(f"{at}text_model.") for k in like) else "text_model."
    inside = {k: k[len(at) :].removeprefix("text_model.") for k in state if k.startswith(at)}
    return {at + prefix + inside[k] if k in inside else k: v for k, v in state.items()}


class Reader(torch.nn.Module):
    """tokens (N, L) -> for each attribute logits (N, 1 + words), 0 for "not said"."""

    def __init__(self, entries: int, sizes: dict[str, int]) -> None:
        super().__init__()
        self.encoder = make_text_encoder(entries)
        self.query = torch.nn.Parameter(torch.randn(len(sizes), WIDTH) / WIDTH**0.5)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(WIDTH, n + 1) for n in sizes.values())

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        h = self.encoder(ids).last_hidden_state
        weights = (self.query @ h.transpose(1, 2)).softmax(-1)  # (N, attributes, L)
        read = weights @ h
        return [head(read[:, k]) for k, head in enumerate(self.heads)]


def load_reader() -> tuple[Reader, dict[str, list[str]]] | None:
    for path in (CHECKPOINT, START / "text.safetensors"):
        if path.exists():
            with safe_open(path, "pt") as f:
                words = json.loads(f.metadata()["words"])
                state = {k: f.get_tensor(k).float() for k in f.keys()}
            net = Reader(len(make_tokenizer()), {a: len(w) for a, w in words.items()})
            net.load_state_dict(named(state, list(net.state_dict()), "encoder."))
            return net.to(DEVICE), words
    return None


def load_encoder():
    found = load_reader()
    if not found:
        raise SystemExit("there is no text encoder yet: text.py train")
    return found[0].encoder.eval().requires_grad_(False)


def data(name: str, tokenizer, words: dict[str, list[str]], pictures: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (N x captions, 48) and what is said (N x captions, attributes), on the device."""
    flat = [c for each in captions(name)[:pictures] for c in each]
    return tokens(tokenizer, [c["text"] for c in flat]).to(DEVICE), said([c["said"] for c in flat], words).to(DEVICE)


def save(net: Reader, words: dict[str, list[str]]) -> None:
    state = {k: v.contiguous().cpu() for k, v in named(net.state_dict(), at="encoder.").items()}
    save_file(state, RUNS / "text.next", metadata=dict(words=json.dumps(words)))
    os.replace(RUNS / "text.next", CHECKPOINT)


def train(args) -> None:
    tokenizer = make_tokenizer()
    found = load_reader()
    if found:
        net, words = found
    else:
        words = vocabulary([c["said"] for each in captions(args.name) for c in each])
        torch.manual_seed(0)
        net = Reader(len(tokenizer), {a: len(w) for a, w in words.items()}).to(DEVICE)
    ids, targets = data(args.name, tokenizer, words)
    opt = torch.optim.AdamW(net.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=1e-2)
    start, step, run, saved = time.time(), 0, [], time.time()
    while (done := max((time.time() - start) / 60 / args.minutes, step / args.steps)) < 1:
        for group in opt.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * min(1, (1 - done) / 0.5 + 0.01)
        at = torch.randint(len(ids), (args.batch,), device=DEVICE)
        x, y = ids[at].long(), targets[at].long()
        if DEVICE == "cpu" and step % 4:  # three times as fast; the last positions learn in every fourth step
            x = x[:, : max(16, int((x != x[0, -1]).sum(1).max()) + 1)]
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.bf16):
            out = net(x)
        loss = sum(F.cross_entropy(o.float(), y[:, k]) for k, o in enumerate(out))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        step += 1
        run.append(loss.detach())
        if step % 100 == 0:
            row = dict(step=step, loss=round(torch.stack(run[-100:]).mean().item(), 4), seconds=round(time.time() - start))
            print(json.dumps(row), flush=True)
        if time.time() - saved > 120:
            save(net, words)
            saved = time.time()
    save(net, words)
    print(dict(steps=step, captions=step * args.batch, seconds=round(time.time() - start)))
    measure(args)


@torch.no_grad()
def measure(args) -> None:
    net, words = load_reader()
    ids, targets = data("test", make_tokenizer(), words)
    ids, targets = ids[: args.captions], targets[: args.captions].long()
    right = torch.cat([torch.stack([o.argmax(1) for o in net.eval()(part.long())], 1) for part in ids.split(500)]) == targets
    of = {a: round(right[targets[:, k] > 0, k].float().mean().item(), 4) for k, a in enumerate(words) if (targets[:, k] > 0).any()}
    spoken = targets > 0
    row = dict(captions=len(ids), said=round(right[spoken].float().mean().item(), 4), not_said=round(right[~spoken].float().mean().item(), 4), of=of)
    (RUNS / "text.json").write_text(json.dumps(row) + "\n")
    print(row, flush=True)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["train", "measure"])
    ap.add_argument("--name", default="train")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--steps", type=int, default=4000)
    ap.add_argument("--batch", type=int, default=64 if DEVICE == "cpu" else 512)
    ap.add_argument("--captions", type=int, default=4000, help="that are measured")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--bf16", action="store_true")
    args = ap.parse_args()
    threads(args.threads)
    {"train": train, "measure": measure}[args.what](args)


if __name__ == "__main__":
    main()
