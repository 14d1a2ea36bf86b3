"""Trains the denoiser, the teacher: v prediction on the autoencoder's latents, the text encoder frozen.

    python weights/train/text-avatars/train.py --images 3000000                                  # two CPU cores
    python weights/train/text-avatars/train.py --minutes 6 --batch 512 --lr 2e-3 --bf16 --compile     # a GPU

Resumes from RUNS/unet.pt (weights, EMA, optimiser); without it from start/unet.safetensors (EMA weights, a new optimiser). The rate is
constant and falls linearly to zero over the last quarter of --images or --minutes, what ends first. A finished run is
continued by more of either. The loss is the plain one of v: min-SNR would give no weight to the noisiest step, which decides
colours.
"""

import argparse
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from batches import Batches
from common import DEVICE, RUNS, START, make_unet
from safetensors.torch import load_file

CHECKPOINT = RUNS / "unet.pt"


def options(ap: argparse.ArgumentParser, *, lr: float, images: int) -> None:
    ap.add_argument("--images", type=int, default=images, help="images to see in all")
    ap.add_argument("--minutes", type=float, default=math.inf, help="or until so long after the start")
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--threads", type=int, default=2, help="on a CPU: each takes its part of the batch through the whole network")
    ap.add_argument("--lr", type=float, default=lr)
    ap.add_argument("--decay-from", type=float, default=0.75, help="share of the run at constant rate")
    ap.add_argument("--ema", type=float, default=0.999)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    ap.add_argument("--bf16", action="store_true", help="autocast: if the machine has bfloat16 arithmetic")
    ap.add_argument("--compile", nargs="?", const="default", help="torch.compile, with a mode of its own")


def start_unet():
    """The weights that a run without a checkpoint starts from."""
    torch.manual_seed(0)
    net = make_unet()
    path = START / "unet.safetensors"
    if path.exists():
        net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
        print(f"started from {path.name} of start/", flush=True)
    return net


class Run:
    """Network, EMA and optimiser with their checkpoint; `step` takes a step with the gradients of `loss_of`."""

    def __init__(self, args, path, net) -> None:
        self.args, self.path = args, path
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        self.net = net.to(DEVICE, memory_format=torch.channels_last)
        self.ema = make_unet().to(DEVICE, memory_format=torch.channels_last).requires_grad_(False)
        self.ema.load_state_dict(self.net.state_dict())
        self.weights, self.averages = list(self.net.parameters()), list(self.ema.parameters())
        self.opt = torch.optim.AdamW(self.weights, args.lr, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        self.images, self.seconds, self.steps = 0, 0.0, 0
        if path.exists():
            saved = torch.load(path, weights_only=True, map_location=DEVICE)
            self.net.load_state_dict(saved["net"])
            self.ema.load_state_dict(saved["ema"])
            self.opt.load_state_dict(saved["opt"])
            self.images, self.seconds = saved["images"], saved["seconds"]
            print(f"resumed at {self.images} images", flush=True)
        self.first, self.began = self.images, time.time()
        self.forward = torch.compile(self.net, mode=args.compile) if args.compile else self.net
        parts = args.threads if DEVICE == "cpu" else 1
        one = lambda: torch.set_num_threads(1) if DEVICE == "cpu" else None
        one()
        self.parts, self.pool = parts, ThreadPoolExecutor(parts, initializer=one)

    def save(self) -> None:
        state = dict(net=self.net.state_dict(), ema=self.ema.state_dict(), opt=self.opt.state_dict(), images=self.images, seconds=self.seconds)
        torch.save(state, self.path.with_suffix(".next"))
        os.replace(self.path.with_suffix(".next"), self.path)

    def done(self) -> float:
        """The share of the run that is over."""
        return max(self.images / self.args.images, (time.time() - self.began) / 60 / self.args.minutes)

    def loss(self, loss_of, part) -> torch.Tensor:
        """This part's share of the batch's mean."""
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.args.bf16):
            return loss_of(self.forward, *part).sum() / self.args.batch

    def backward(self, loss_of, tensors) -> torch.Tensor:
        """Leaves the gradients at the weights, in the weights' own layout, as the fused optimiser needs them on a GPU."""
        self.opt.zero_grad(set_to_none=True)
        if self.parts == 1:
            loss = self.loss(loss_of, tensors)
            loss.backward()
            return loss.detach()

        def part(tensors):
            loss = self.loss(loss_of, tensors)
            return loss.detach(), torch.autograd.grad(loss, self.weights)

        work = zip(*[[x[k :: self.parts] for k in range(self.parts)] for x in tensors])
        results = list(self.pool.map(part, work))
        for p, *grads in zip(self.weights, *(grads for _, grads in results)):
            p.grad = sum(grads[1:], grads[0])
        return sum(loss for loss, _ in results)

    def step(self, loss_of, tensors) -> torch.Tensor:
        """loss_of(network, *tensors): one number for each picture (N,). Returns the batch's mean."""
        args = self.args
        loss = self.backward(loss_of, tensors)
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        warm = min(1.0, ((self.images - self.first) / args.batch + 1) / 200)
        fall = min(1.0, max(0.0, 1 - self.done()) / (1 - args.decay_from))
        for group in self.opt.param_groups:
            group["lr"] = args.lr * warm * fall
        self.opt.step()
        self.images += args.batch
        self.steps += 1
        count = self.images / args.batch
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - min(args.ema, (1 + count) / (10 + count)))
        return loss

    def go(self, loss_of, tensors_of, log) -> None:
        losses, saved, mark = [], time.time(), time.time()
        while self.done() < 1:
            losses.append(self.step(loss_of, tensors_of(self.args.batch, self.images)))
            if self.steps % 50 == 0:
                now = time.time()
                self.seconds, rate, mark = self.seconds + now - mark, 50 * self.args.batch / (now - mark), now
                loss = torch.stack(losses).mean().item()
                losses.clear()
                if not math.isfinite(loss):
                    raise SystemExit("the loss is not finite: resume from the last checkpoint with a lower --lr")
                row = dict(images=self.images, loss=round(loss, 5), seconds=round(self.seconds), a_second=round(rate, 1))
                with open(log, "a") as f:
                    f.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
            if time.time() - saved > self.args.every * 60:
                self.save()
                saved = time.time()
        self.save()


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(ap, lr=1e-3, images=3_000_000)
    ap.add_argument("--drop", type=float, default=0.1, help="share of captions replaced by the empty one")
    args = ap.parse_args()
    run = Run(args, CHECKPOINT, start_unet())
    batches = Batches(drop=args.drop, seed=args.seed)
    looked = time.time()

    def tensors(batch: int, images: int):
        nonlocal looked
        if DEVICE == "cpu" and time.time() - looked > 300:
            batches.look()
            looked = time.time()
        b = batches.draw(batch, images)
        a, s = batches.at(b.t)
        return batches.noised(b, b.t), b.t, b.states, a * b.noise - s * b.x_0  # v: Salimans & Ho 2022, appendix D

    def loss(net, x_t, t, states, v):
        return (net(x_t, t, encoder_hidden_states=states).sample.float() - v).square().mean((1, 2, 3))

    run.go(loss, tensors, RUNS / "train.log.jsonl")


if __name__ == "__main__":
    main()
