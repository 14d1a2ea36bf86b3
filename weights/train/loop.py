"""The training loop that the models share: EMA, stratified timesteps, dropped labels, checkpoints, a log."""

import argparse
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

# draw(at, generator): pictures (N, C, H, W) in [-1, 1] and labels (N,), of the training pictures with these numbers
Draw = Callable[[torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]
# loss(output, x_0, x_t, noise, t): for each term of the loss one number for each picture (N,)
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def add_options(ap: argparse.ArgumentParser, *, images: int, batch: int, out: Path | None) -> None:
    ap.add_argument("--images", type=int, default=images, help="images to see in all")
    ap.add_argument("--minutes", type=float, default=math.inf, help="or until so long after the start, what comes first")
    ap.add_argument("--batch", type=int, default=batch)
    ap.add_argument("--part", type=int, help="images that a thread takes at once (default: the batch over the threads)")
    ap.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="on a CPU")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--decay-from", type=float, default=0.75, help="share of the run (of --minutes) at constant rate")
    ap.add_argument("--ema", type=float, default=0.999)
    ap.add_argument("--drop", type=float, default=0.1, help="share of labels replaced by the null class")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--out", type=Path, default=out)
    ap.add_argument("--start", type=Path, help="an exported folder to go on from when there is no checkpoint")
    ap.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    ap.add_argument("--bf16", action="store_true", help="autocast: only where the machine has bfloat16 arithmetic")
    ap.add_argument("--compile", action="store_true", help="torch.compile: on a GPU")


def train(
    args: argparse.Namespace,
    make_unet: Callable[[], UNet2DModel],
    schedule: DDPMScheduler,
    count: Callable[[], int],
    draw: Draw,
    null: int,
    loss_of: Loss,
) -> None:
    """Sees `args.images` pictures, or as many as there is time for; resumes from `args.out`/last.pt, else from `args.start`.

    On a CPU each thread takes whole parts of the batch through the network, rather than all of them sharing every
    operation: they wait for each other once a step, which is what a machine with other work to do can afford.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()  # SIGTERM: the last step ends, and is saved
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = args.threads if DEVICE == "cpu" else 1
    size = args.part or -(-args.batch // threads)
    torch.manual_seed(args.seed)
    net = make_unet().to(DEVICE, memory_format=torch.channels_last)
    ema = make_unet().to(DEVICE)
    ema.load_state_dict(net.state_dict())
    weights = list(net.parameters())
    opt = torch.optim.AdamW(weights, args.lr, betas=(0.9, 0.99), weight_decay=1e-3)
    alpha_bar = schedule.alphas_cumprod.to(DEVICE)
    T = len(alpha_bar)
    images, seconds = 0, 0.0

    last = args.out / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True, map_location=DEVICE)
        net.load_state_dict(saved["net"])
        ema.load_state_dict(saved["ema"])
        images, seconds = saved["images"], saved["seconds"]
        if "opt" in saved:
            opt.load_state_dict(saved["opt"])
        print(f"resumed at {images} images{'' if 'opt' in saved else ', with a new optimiser'}", flush=True)
    elif args.start:
        stored = load_file(args.start / "unet" / "diffusion_pytorch_model.safetensors")
        net.load_state_dict({k: v.float() for k, v in stored.items()})
        ema.load_state_dict(net.state_dict())
        log = (args.start / "loss.jsonl").read_text()
        (args.out / "log.jsonl").write_text(log)
        row = json.loads(log.splitlines()[-1])
        images, seconds = row["images"], row["seconds"]
        print(f"started from {args.start} at {images} images", flush=True)
    began_at = images if not opt.state else 0  # a new optimiser begins slowly

    def save() -> None:
        state = dict(net=net.state_dict(), ema=ema.state_dict(), opt=opt.state_dict(), images=images, seconds=seconds)
        torch.save(state, args.out / "next.pt")
        os.replace(args.out / "next.pt", last)

    if DEVICE == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    if args.compile:
        torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is
    forward = torch.compile(net) if args.compile else net

    def gradients(x_0, x_t, noise, t, label):
        """Of this part's share of the batch's mean loss: the loss, and its gradient of every weight."""
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.bf16):
            output = forward(x_t, t, class_labels=label).sample
        terms = {name: each.sum() / args.batch for name, each in loss_of(output.float(), x_0, x_t, noise, t).items()}
        loss = sum(terms.values())
        return {name: term.detach() for name, term in terms.items()}, torch.autograd.grad(loss, weights)

    if DEVICE == "cpu":
        torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1) if DEVICE == "cpu" else None)
    losses: list[dict[str, torch.Tensor]] = []
    start = began = time.time()
    step, seen = 0, images

    def rate() -> None:
        took = time.time() - start
        print(f"after {took:.0f} s: {step} steps, {(images - seen) / took:.1f} images a second", flush=True)

    early = threading.Timer(20, rate)  # a wrong setting is seen at once
    early.daemon = True
    early.start()
    while not stop.is_set() and (done := max(images / args.images, (time.time() - start) / 60 / args.minutes)) < 1:
        # One generator a step: a resumed run sees the batches that it would have seen.
        g = torch.Generator().manual_seed(args.seed * 1_000_000_007 + images)
        at = torch.randint(0, count(), (args.batch,), generator=g)
        # Stratified timesteps: one uniform draw in each of `batch` equal slices of [0, T), dealt out to the parts in turn.
        # In f32 the last may round up to T.
        t = ((torch.arange(args.batch) + torch.rand(args.batch, generator=g)) * T / args.batch).long().clamp(max=T - 1).to(DEVICE)
        x_0, label = draw(at, g)
        if DEVICE == "cuda":  # copied while the step before computes; noise of the GPU's own, so other than on a CPU
            x_0 = x_0.pin_memory().to(DEVICE, non_blocking=True).contiguous(memory_format=torch.channels_last)
            noise = torch.randn(x_0.shape, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(g.initial_seed())).to(x_0)
        else:
            x_0 = x_0.to(DEVICE, memory_format=torch.channels_last)
            noise = torch.randn(x_0.shape, generator=g).to(x_0)
        label = torch.where(torch.rand(args.batch, generator=g) < args.drop, null, label).to(DEVICE)
        ab = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = ab.sqrt() * x_0 + (1 - ab).sqrt() * noise  # q(x_t | x_0), DDPM eq. 4

        parts = -(-args.batch // size)
        cut = lambda a: [a[k::parts] for k in range(parts)]
        work = list(zip(*map(cut, (x_0, x_t, noise, t, label))))
        results = list(pool.map(lambda part: gradients(*part), work) if DEVICE == "cpu" else [gradients(*w) for w in work])
        for p, *parts_of_it in zip(weights, *(grads for _, grads in results)):
            p.grad = sum(parts_of_it[1:], parts_of_it[0])
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        warm = min(1.0, ((images - began_at) / args.batch + 1) / 200)
        fall = min(1.0, (1 - done) / (1 - args.decay_from))
        for group in opt.param_groups:
            group["lr"] = args.lr * warm * fall
        opt.step()
        images += args.batch
        step += 1
        decay = min(args.ema, (1 + images / args.batch) / (10 + images / args.batch))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), weights, 1 - decay)
        losses.append({name: sum(terms[name] for terms, _ in results) for name in results[0][0]})
        if step % 50 == 0:
            now = time.time()
            seconds += now - began
            began = now
            mean = {name: round(torch.stack([row[name] for row in losses]).mean().item(), 5) for name in losses[0]}
            row = dict(images=images, **mean, seconds=round(seconds))
            losses.clear()
            with open(args.out / "log.jsonl", "a") as f:
                f.write(json.dumps(row) + "\n")
            print(row, flush=True)
        if step % args.every == 0:
            save()
    save()
    rate()
