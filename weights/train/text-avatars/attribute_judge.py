"""The judge: which attributes does a picture have? A small convolutional network with a head for each attribute.

    python weights/train/text-avatars/attribute_judge.py train --minutes 20     # judge.safetensors, F16, committed
    python weights/train/text-avatars/attribute_judge.py measure

Its pictures (`npm run data -- --name judge`) are its own: no other network has seen them, and no network is trained on its weights
or features. evaluate.py reads drawn pictures with it, beside its accuracy on real ones; its 128 features give the Frechet distance.
"""

import argparse
import json
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from common import DEVICE, HERE, RUNS, Pictures, threads, to_signed
from safetensors import safe_open
from safetensors.torch import save_file
from words import PRESENCE, seen, vocabulary

FILE = HERE / "judge.safetensors"
WIDTHS = (24, 48, 96, 160)


class Judge(nn.Module):
    """(N, 3, 128, 128) in [-1, 1] -> for each attribute logits; 0 is "none" for those of PRESENCE."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        layers, c = [nn.Conv2d(3, WIDTHS[0], 5, 2, 2), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()], WIDTHS[0]
        for n in WIDTHS[1:]:
            layers += [nn.Conv2d(c, n, 3, 2, 1), nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, n, 3, 1, 1), nn.BatchNorm2d(n), nn.ReLU()]
            c = n
        self.body = nn.Sequential(*layers)
        self.mix = nn.Linear(c * 16, 128)
        self.heads = nn.ModuleDict({k: nn.Linear(128, n) for k, n in sizes.items()})

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.mix(F.adaptive_avg_pool2d(self.body(x), 4).flatten(1)))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        f = self.features(x)
        return {k: head(f) for k, head in self.heads.items()}


def sizes(words: dict[str, list[str]]) -> dict[str, int]:
    return {a: len(w) + (a in PRESENCE) for a, w in words.items()}


def load() -> tuple[Judge, dict[str, list[str]]]:
    with safe_open(FILE, "pt") as f:
        words = json.loads(f.metadata()["words"])
        state = {k: f.get_tensor(k).float() if f.get_tensor(k).is_floating_point() else f.get_tensor(k) for k in f.keys()}
    net = Judge(sizes(words))
    net.load_state_dict(state)
    return net.to(DEVICE, memory_format=torch.channels_last).eval(), words


@torch.no_grad()
def right(net: Judge, words: dict[str, list[str]], x: torch.Tensor, rows: list[dict]) -> dict[str, torch.Tensor]:
    """attribute -> (N,): 1 read as the row says, 0 not, -1 the row does not say. "style" too."""
    want = seen(rows, words).to(DEVICE)
    read = [{k: o.argmax(1) for k, o in net(part.to(DEVICE)).items()} for part in x.split(250)]
    out = {}
    for k, a in enumerate(words):
        found = torch.cat([r[a] for r in read])
        out[a] = torch.where(want[:, k] < 0, -1, (found == want[:, k]).int()).cpu()
    return out


@torch.no_grad()
def features(net: Judge, x: torch.Tensor) -> np.ndarray:
    return torch.cat([net.features(part.to(DEVICE)) for part in x.split(250)]).double().cpu().numpy()


def summary(hits: dict[str, torch.Tensor]) -> dict[str, list]:
    """attribute -> [accuracy, how many]."""
    known = {a: h[h >= 0].float() for a, h in hits.items()}
    return {a: [round(h.mean().item(), 4), len(h)] for a, h in known.items() if len(h)}


def train(args) -> None:
    pictures = Pictures("judge")
    words = vocabulary(pictures.rows)
    targets = seen(pictures.rows, words).to(DEVICE)
    torch.manual_seed(1)
    net = Judge(sizes(words)).to(DEVICE, memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), args.lr, weight_decay=1e-2)
    resident = torch.from_numpy(np.array(pictures.bytes)).to(DEVICE) if DEVICE == "cuda" else None
    start, step, run = time.time(), 0, []
    while (done := max((time.time() - start) / 60 / args.minutes, step / args.steps)) < 1:
        for group in opt.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * min(1, (1 - done) / 0.6 + 0.01)
        at = torch.randint(len(pictures), (args.batch,), device=DEVICE)
        x = to_signed(resident[at]) if resident is not None else pictures.take(at.numpy())
        # A drawn picture is a little off a real one: shifts, noise and softness keep the judge from minding.
        dy, dx = torch.randint(-3, 4, (2,)).tolist()
        x = F.pad(x, (3, 3, 3, 3), mode="replicate")[..., 3 + dy : 131 + dy, 3 + dx : 131 + dx]
        if step % 2:
            x = x + 0.05 * torch.randn_like(x)
        if step % 3 == 0:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.bf16):
            out = net(x)
        y = targets[at]
        loss = sum(F.cross_entropy(out[a].float(), y[:, k], ignore_index=-1, reduction="sum") for k, a in enumerate(words)) / args.batch
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        step += 1
        run.append(loss.detach())
        if step % 50 == 0:
            print(json.dumps(dict(step=step, loss=round(torch.stack(run[-50:]).mean().item(), 3), seconds=round(time.time() - start))), flush=True)
        if step % 500 == 0:
            save(net, words)
    save(net, words)
    measure(args)


def save(net: Judge, words: dict[str, list[str]]) -> None:
    state = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in net.state_dict().items()}
    save_file(state, FILE, metadata=dict(words=json.dumps(words)))


def measure(args) -> None:
    """On held-out pictures of its own draw, as stored."""
    net, words = load()
    test = Pictures("judge-test")
    n = min(len(test), args.images)
    hits = summary(right(net, words, test.take(slice(0, n)).cpu(), test.rows[:n]))
    (RUNS / "judge.json").write_text(json.dumps(dict(pictures=n, of=hits)) + "\n")
    print(n, hits, flush=True)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["train", "measure"])
    ap.add_argument("--minutes", type=float, default=20)
    ap.add_argument("--steps", type=int, default=3000)
    ap.add_argument("--batch", type=int, default=64 if DEVICE == "cpu" else 256)
    ap.add_argument("--images", type=int, default=2800, help="that are measured")
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--bf16", action="store_true")
    args = ap.parse_args()
    threads(args.threads)
    {"train": train, "measure": measure}[args.what](args)


if __name__ == "__main__":
    main()
