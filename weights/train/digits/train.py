"""Trains `digits`: the class-conditional DDPM of MNIST with the label dropped 10 % of the time.

    python weights/train/digits/train.py --images 440000

Resumes from the last checkpoint in weights/train/runs/digits; without one, `--start weights/digits` goes on
from the exported weights and log of an earlier run, with a new optimiser. The learning rate is constant and falls
linearly to zero over the last quarter of `--images`, so a finished run is continued by a larger number.
"""

import argparse
import json
import math
import os
import time

import torch
from common import CLASSES, MNIST, NULL, RUN, T, make_schedule, make_unet, mnist
from pathlib import Path
from safetensors.torch import load_file


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--images", type=int, default=440_000, help="images to see in all")
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--decay-from", type=float, default=0.75, help="share of the run at constant rate")
    ap.add_argument("--ema", type=float, default=0.999)
    ap.add_argument("--drop", type=float, default=0.1, help="share of labels replaced by the null class")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    ap.add_argument("--out", type=Path, default=RUN)
    ap.add_argument("--start", type=Path, help="an exported folder to go on from when there is no checkpoint")
    ap.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    ap.add_argument("--bf16", action="store_true", help="autocast: only where the machine has bfloat16 arithmetic")
    args = ap.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = mnist("train", args.mnist)
    x, y = x.to(device), y.to(device)
    torch.manual_seed(args.seed)
    net = make_unet().to(device, memory_format=torch.channels_last)
    ema = make_unet().to(device)
    ema.load_state_dict(net.state_dict())
    opt = torch.optim.AdamW(net.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=1e-3)
    alpha_bar = make_schedule().alphas_cumprod.to(device)
    step, seconds = 0, 0.0

    last = args.out / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True, map_location=device)
        net.load_state_dict(saved["net"])
        ema.load_state_dict(saved["ema"])
        opt.load_state_dict(saved["opt"])
        step, seconds = saved["step"], saved["seconds"]
        print(f"resumed at step {step}", flush=True)

    elif args.start:
        weights = load_file(args.start / "unet" / "diffusion_pytorch_model.safetensors")
        net.load_state_dict({k: v.float() for k, v in weights.items()})
        ema.load_state_dict(net.state_dict())
        log = (args.start / "loss.jsonl").read_text()
        (args.out / "log.jsonl").write_text(log)
        row = json.loads(log.splitlines()[-1])
        step, seconds = row["step"], row["seconds"]
        print(f"started from {args.start} at step {step}", flush=True)

    def save() -> None:
        state = dict(net=net.state_dict(), ema=ema.state_dict(), opt=opt.state_dict(), step=step, seconds=seconds)
        torch.save(state, args.out / "next.pt")
        os.replace(args.out / "next.pt", last)

    first = step if args.start else 0
    total = math.ceil(args.images / args.batch)
    losses: list[float] = []
    began = time.time()
    while step < total:
        # One generator a step: a resumed run sees the batches that it would have seen.
        g = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        at = torch.randint(0, len(x), (args.batch,), generator=g).to(device)
        # Stratified timesteps: one uniform draw in each of `batch` equal slices of [0, T).
        t = ((torch.arange(args.batch) + torch.rand(args.batch, generator=g)) * T / args.batch).long().to(device)
        noise = torch.randn((args.batch, 1, 32, 32), generator=g).to(device)
        label = torch.where(torch.rand(args.batch, generator=g).to(device) < args.drop, NULL, y[at])
        ab = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = ab.sqrt() * x[at] + (1 - ab).sqrt() * noise  # q(x_t | x_0), DDPM eq. 4

        warm = min(1.0, (step - first + 1) / 200)
        fall = min(1.0, (1 - step / total) / (1 - args.decay_from))
        for group in opt.param_groups:
            group["lr"] = args.lr * warm * fall
        with torch.autocast(device, torch.bfloat16, enabled=args.bf16):
            eps = net(x_t, t, class_labels=label).sample
        loss = (eps.float() - noise).pow(2).mean()  # L_simple, DDPM eq. 14
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        step += 1
        decay = min(args.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for e, p in zip(ema.parameters(), net.parameters()):
                e.lerp_(p, 1 - decay)
        losses.append(loss.item())
        if step % 50 == 0:
            now = time.time()
            seconds += now - began
            began = now
            row = dict(step=step, images=step * args.batch, loss=round(sum(losses) / len(losses), 5), seconds=round(seconds))
            losses.clear()
            with open(args.out / "log.jsonl", "a") as f:
                f.write(json.dumps(row) + "\n")
            print(row, flush=True)
        if step % args.every == 0 or step == total:
            save()
    save()


if __name__ == "__main__":
    main()
