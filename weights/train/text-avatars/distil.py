"""Distils the teacher to a few steps: latent consistency (Luo et al. 2023, algorithm 1), guidance built in.

    python weights/train/text-avatars/distil.py --images 150000
    python weights/train/text-avatars/distil.py --minutes 1.5 --batch 512 --bf16 --compile     # a GPU

The student starts from the teacher's EMA weights (RUNS/unet.pt, else start/unet.safetensors). It learns to give the same clean
picture at t and, after a guided DDIM step of the teacher, at t - 20: from there its own average says what the picture is. At t = -1
the picture itself does. Resumes from RUNS/few.pt, without it from start/few.safetensors, if that is there.
"""

import argparse

import torch
from batches import Batches
from common import DEVICE, RUNS, START, make_unet
from safetensors.torch import load_file
from train import CHECKPOINT, Run, options, start_unet

FEW = RUNS / "few.pt"
SKIP = 20  # timesteps of a step of the teacher: LCM's sampler starts from the same 50
SOFT = 0.01  # below it the loss is a squared error, above it the error itself


def teacher_net():
    net = start_unet()
    if CHECKPOINT.exists():
        net.load_state_dict(torch.load(CHECKPOINT, weights_only=True, map_location="cpu")["ema"])
    return net.to(DEVICE, memory_format=torch.channels_last).eval().requires_grad_(False)


def student_net(teacher):
    net = make_unet()
    path = START / "few.safetensors"
    net.load_state_dict({k: v.float() for k, v in (load_file(path) if path.exists() else teacher.state_dict()).items()})
    return net


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(ap, lr=3e-4, images=150_000)
    ap.set_defaults(ema=0.98)
    ap.add_argument("--guidance", type=float, default=2.5)
    args = ap.parse_args()
    teacher = teacher_net()
    run = Run(args, FEW, student_net(teacher))
    batches = Batches(drop=0.1, seed=args.seed + 1)
    def tensors(batch: int, images: int):
        b = batches.draw(batch, images)
        t = (b.t // SKIP + 1) * SKIP - 1  # 19, 39 ... 999
        return batches.noised(b, t), t, b.states, b.none.expand_as(b.states)

    def clean(net, x, t, states):
        """x_0 that a network's v says; its boundary scales differ from 0 and 1 by less than 1e-5 from t = 19 on."""
        a, s = batches.at(t)
        return a * x - s * net(x, t, encoder_hidden_states=states).sample.float()

    @torch.no_grad()
    def target(x, t, states, none):
        (a, s), (a2, s2), before = batches.at(t), batches.at(t - SKIP), t - SKIP
        v, of_none = (teacher(x, t, encoder_hidden_states=h).sample.float() for h in (states, none))
        v = of_none + args.guidance * (v - of_none)
        x_before = a2 * (a * x - s * v) + s2 * (s * x + a * v)  # DDIM
        said = clean(run.ema, x_before, before.clamp(min=0), states)
        return torch.where((before < 0).view(-1, 1, 1, 1), x_before, said)

    def loss(net, x, t, states, none):
        d = clean(net, x, t, states) - target(x, t, states, none)
        return (d.square().mean((1, 2, 3)) + SOFT**2).sqrt() - SOFT

    run.go(loss, tensors, RUNS / "distil.log.jsonl")


if __name__ == "__main__":
    main()
