"""Holds L_vlb of losses.py to another derivation: the posterior by Bayes' rule for Gaussians, torch.distributions, f64.

    python weights/train/check.py
"""

import math

import torch
from diffusers import DDPMScheduler
from losses import Hybrid
from torch.distributions import Normal, kl_divergence


def main() -> None:
    g = torch.Generator().manual_seed(0)
    schedule = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    beta = schedule.betas.double()
    alpha_bar = (1 - beta).cumprod(0)
    t = torch.tensor([0, 0, 1, 5, 500, 999])
    x_0 = torch.randint(0, 256, (6, 3, 4, 4), generator=g) / 127.5 - 1
    x_0[0, 0, 0], x_0[0, 1, 0] = 1, -1  # the open ends of the first step's likelihood
    x_0_hat = x_0 + 0.05 * torch.randn(x_0.shape, generator=g)
    variance = torch.rand(x_0.shape, generator=g) * 2 - 1
    at = alpha_bar[t].view(-1, 1, 1, 1)
    x_t = (at.sqrt() * x_0 + (1 - at).sqrt() * torch.randn(x_0.shape, generator=g)).float()

    def posterior(i: int, x_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of q(x_{t-1} | x_t, x_0): q(x_{t-1} | x_0) times the likelihood of x_t, precisions added."""
        k = int(t[i])
        before, b = (alpha_bar[k - 1] if k else torch.ones(()).double()), beta[k]
        if k == 0:
            return x_0.double(), 1 / (1 / (1 - alpha_bar[0]) + (1 - beta[1]) / beta[1])
        precision = 1 / (1 - before) + (1 - b) / b
        mean = before.sqrt() * x_0.double() / (1 - before) + (1 - b).sqrt() * x_t[i].double() / b
        return mean / precision, 1 / precision

    ours = Hybrid(schedule).vlb(x_0_hat, variance, x_0, x_t, t)
    for i, k in enumerate(t.tolist()):
        mean, small = posterior(i, x_0[i])
        share = (variance[i].double() + 1) / 2
        log_variance = share * beta[k].log() + (1 - share) * small.log()  # Improved DDPM, eq. 15
        p = Normal(posterior(i, x_0_hat[i])[0], (log_variance / 2).exp())
        if k:
            nats = kl_divergence(Normal(mean, small.sqrt()), p)
        else:
            x = x_0[i].double()
            above = torch.where(x == 1, 1.0, p.cdf(x + 1 / 255))
            below = torch.where(x == -1, 0.0, p.cdf(x - 1 / 255))
            nats = -(above - below).clamp(min=1e-12).log()
        theirs = nats.mean().item() / math.log(2)
        print(f"t {k:3d}: {ours[i].item():.7g} bits here, {theirs:.7g} there")
        assert abs(ours[i].item() - theirs) < 1e-3 * abs(theirs) + 1e-6, "L_vlb differs"


if __name__ == "__main__":
    main()
