"""What the denoiser is trained on: latents with a caption each, and their noise. train.py and distil.py draw from it."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from common import DEVICE, RUNS, captions, make_tokenizer, schedule, tokens
from latents import read
from text import load_encoder


@dataclass
class Batch:
    """x_0, noise (N, 8, 16, 16); t (N,); states: of the captions, some of them empty (N, 48, 160); none: those of the empty one."""

    x_0: torch.Tensor
    noise: torch.Tensor
    t: torch.Tensor
    states: torch.Tensor
    none: torch.Tensor


class Batches:
    """On a GPU all latents and tokens stay in its memory; on a CPU the file of latents may grow while it is read."""

    def __init__(self, name: str = "train", drop: float = 0.1, seed: int = 0) -> None:
        self.name, self.drop, self.seed = name, drop, seed
        self.encoder = load_encoder()
        tokenizer = make_tokenizer()
        each = captions(name)
        self.ids = self.tokens(tokenizer, each).to(DEVICE)
        self.empty = tokens(tokenizer, [""])[0].long().to(DEVICE)
        self.alpha_bar = schedule().alphas_cumprod.to(DEVICE)
        self.look()

    def tokens(self, tokenizer, each) -> torch.Tensor:
        """(N, captions, 48), kept in a file: it takes half a minute for 100,000 pictures."""
        flat = [c["text"] for e in each for c in e]
        stamp = hashlib.sha256("\n".join(flat).encode()).hexdigest()
        path = RUNS / f"{self.name}.tokens.npz"
        if path.exists() and (saved := np.load(path))["stamp"] == stamp:
            return torch.from_numpy(saved["ids"])
        ids = tokens(tokenizer, flat).view(len(each), len(each[0]), -1)
        np.savez(path, ids=ids.numpy(), stamp=stamp)
        return ids

    def look(self) -> None:
        """Reads what latents.py has written since."""
        self.latents = read(self.name)
        if DEVICE == "cuda":
            self.latents = torch.from_numpy(np.array(self.latents)).to(DEVICE)
        self.count = min(len(self.latents), len(self.ids))

    @torch.no_grad()
    def encode(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            return self.encoder(ids.long()).last_hidden_state.float()

    def draw(self, batch: int, images: int) -> Batch:
        """The batch after `images`: a resumed run goes on with what it would have drawn."""
        g = torch.Generator(DEVICE).manual_seed(self.seed * 1_000_000_007 + images)
        options = dict(generator=g, device=DEVICE)
        at = torch.randint(self.count, (batch,), **options)
        x_0 = self.latents[at] if DEVICE == "cuda" else torch.from_numpy(self.latents[at.numpy()])
        x_0 = x_0.float().contiguous(memory_format=torch.channels_last)
        # Stratified timesteps: one uniform draw in each of `batch` equal slices of [0, T). In f32 the last may round up to T.
        T = len(self.alpha_bar)
        t = ((torch.arange(batch, device=DEVICE) + torch.rand(batch, **options)) * T / batch).long().clamp(max=T - 1)
        ids = self.ids[at, torch.randint(self.ids.shape[1], (batch,), **options)]
        empty = torch.rand(batch, **options) < self.drop
        ids = torch.where(empty[:, None], self.empty, ids.long())
        return Batch(x_0, torch.randn(x_0.shape, **options).to(x_0), t, self.encode(ids), self.encode(self.empty[None]))

    def noised(self, b: Batch, t: torch.Tensor) -> torch.Tensor:
        """q(x_t | x_0): DDPM, eq. 4."""
        a, s = self.at(t)
        return a * b.x_0 + s * b.noise

    def at(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """sqrt(alpha_bar), sqrt(1 - alpha_bar) at t, (N, 1, 1, 1); t = -1 is the clean picture."""
        ab = torch.where(t < 0, 1.0, self.alpha_bar[t.clamp(min=0)]).view(-1, 1, 1, 1)
        return ab.sqrt(), (1 - ab).sqrt()


if __name__ == "__main__":  # makes the file of tokens, beside other work
    Batches.tokens(type("Named", (), {"name": "train"}), make_tokenizer(), captions("train"))
