"""The judge: a small classifier that shares nothing with the diffusion model whose pictures it reads."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file


class Judge(torch.nn.Module):
    """(N, channels, 32, 32) in [-1, 1], larger ones averaged down to that -> logits; `features` are the 64 before them."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = torch.nn.Conv2d(32, 32, 3, padding=1)
        self.fc1 = torch.nn.Linear(512, 64)
        self.fc2 = torch.nn.Linear(64, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(x, x.shape[-1] // 32)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        return F.relu(self.fc1(x.flatten(1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.features(x))


def load(file: Path) -> Judge:
    weights = {k: v.float() for k, v in load_file(file).items()}
    net = Judge(weights["conv1.weight"].shape[1], weights["fc2.weight"].shape[0]).eval()
    net.load_state_dict(weights)
    return net


@torch.no_grad()
def read(net: Judge, x: torch.Tensor) -> torch.Tensor:
    """Logits (N, classes), a thousand pictures at a time."""
    return torch.cat([net(part) for part in x.split(1000)])


def fit(
    file: Path,
    train: tuple[torch.Tensor, torch.Tensor],
    test: tuple[torch.Tensor, torch.Tensor],
    classes: int,
    epochs: int,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda x, y: x,
) -> None:
    """Trains one and stores it in F16; refuses one that is less than 99 % right on `test`, as stored.

    `change(x, y)`: what is done to a batch besides shifts of up to two pixels.
    """
    torch.manual_seed(1)
    (x, y), (x_test, y_test) = train, test
    accuracy = lambda net: (read(net.eval(), x_test).argmax(1) == y_test).float().mean().item()
    net = Judge(x.shape[1], classes)
    steps = epochs * (len(x) // 128)
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        net.train()
        for at in torch.randperm(len(x))[: len(x) // 128 * 128].split(128):
            dy, dx = torch.randint(-2, 3, (2,)).tolist()
            loss = F.cross_entropy(net(change(x[at], y[at]).roll((dy, dx), (2, 3))), y[at])
            opt.zero_grad()
            loss.backward()
            opt.step()
            rate.step()
        print(f"epoch {epoch}: test accuracy {accuracy(net):.4f}", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half() for k, v in net.state_dict().items()}, file)
    stored = accuracy(load(file))
    print(f"as stored: {stored:.4f}, {file.stat().st_size} bytes")
    if stored < 0.99:
        raise SystemExit("the classifier is not good enough to judge")
