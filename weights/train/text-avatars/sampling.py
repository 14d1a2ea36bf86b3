"""Draws with diffusers' own schedulers: the teacher with DDIM, the few-step model with LCM's sampler."""

import torch
from common import CHANNELS, DEVICE, LATENT, SCALE, schedule, tokens


def noise(count: int, seed: int) -> torch.Tensor:
    """x_T (N, 8, 16, 16): the same on every machine."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn((count, CHANNELS, LATENT, LATENT), generator=g)
    return x.to(DEVICE).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def latents(net, states, none, x, *, few: bool, steps: int, guidance: float, seed: int = 0) -> torch.Tensor:
    """states: of the prompts (N, 48, 160); none: of the empty one (1, 48, 160); guidance 1 is none."""
    scheduler = schedule("LCM" if few else "DDIM")
    scheduler.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    for t in scheduler.timesteps:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            v = net(x, t, encoder_hidden_states=states).sample.float()
            if guidance != 1:
                of_none = net(x, t, encoder_hidden_states=none.expand_as(states)).sample.float()
                v = of_none + guidance * (v - of_none)
        x = scheduler.step(v, t, x, generator=g).prev_sample if few else scheduler.step(v, t, x).prev_sample
    return x


@torch.no_grad()
def draw(net, encoder, tokenizer, vae, prompts, x, *, batch: int = 0, **options) -> torch.Tensor:
    """Pictures (N, 3, 128, 128) in [-1, 1] on the CPU."""
    batch = batch or (14 if DEVICE == "cpu" else 350)
    encode = lambda texts: encoder(tokens(tokenizer, texts).long().to(DEVICE)).last_hidden_state
    none, parts = encode([""]), []
    for i in range(0, len(prompts), batch):
        z = latents(net, encode(prompts[i : i + batch]), none, x[i : i + batch], **{**options, "seed": options.get("seed", 0) + i})
        parts.append(vae.decoder(z / SCALE).clamp(-1, 1).float().cpu())
    return torch.cat(parts)
