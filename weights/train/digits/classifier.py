"""Trains the judge of `digits`: a small MNIST classifier that shares nothing with the diffusion model.

    python weights/train/digits/classifier.py

Writes tests/fixtures/digits/classifier.safetensors (F16), which evaluate.py and the browser tests use, and prints
its accuracy on the 10,000 test digits as stored (the file is refused below 99 %).
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from common import MNIST, ROOT, mnist
from safetensors.torch import load_file, save_file

FILE = ROOT / "tests" / "fixtures" / "digits" / "classifier.safetensors"


class Classifier(torch.nn.Module):
    """(N, 1, 32, 32) in [-1, 1] -> logits (N, 10); `features` are the 64 numbers before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = torch.nn.Conv2d(32, 32, 3, padding=1)
        self.fc1 = torch.nn.Linear(512, 64)
        self.fc2 = torch.nn.Linear(64, 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        return F.relu(self.fc1(x.flatten(1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.features(x))


def load() -> Classifier:
    net = Classifier().eval()
    net.load_state_dict({k: v.float() for k, v in load_file(FILE).items()})
    return net


@torch.no_grad()
def accuracy(net: Classifier, x: torch.Tensor, y: torch.Tensor) -> float:
    net.eval()
    right = sum((net(a).argmax(1) == b).sum().item() for a, b in zip(x.split(1000), y.split(1000)))
    return right / len(y)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--mnist", type=Path, default=MNIST)
    ap.add_argument("--epochs", type=int, default=6)
    args = ap.parse_args()
    torch.manual_seed(1)
    (x, y), (x_test, y_test) = mnist("train", args.mnist), mnist("t10k", args.mnist)
    net = Classifier()
    steps = args.epochs * (len(x) // 128)
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=steps)
    for epoch in range(args.epochs):
        net.train()
        for at in torch.randperm(len(x))[: len(x) // 128 * 128].split(128):
            dy, dx = torch.randint(-2, 3, (2,)).tolist()  # shifts of up to two pixels
            loss = F.cross_entropy(net(x[at].roll((dy, dx), (2, 3))), y[at])
            opt.zero_grad()
            loss.backward()
            opt.step()
            rate.step()
        print(f"epoch {epoch}: test accuracy {accuracy(net, x_test, y_test):.4f}", flush=True)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half() for k, v in net.state_dict().items()}, FILE)
    stored = accuracy(load(), x_test, y_test)
    print(f"as stored: {stored:.4f}, {FILE.stat().st_size} bytes")
    if stored < 0.99:
        raise SystemExit("the classifier is not good enough to judge")


if __name__ == "__main__":
    main()
