"""What the networks are trained to: from their output, one number for each picture and term; the terms are summed."""

import math

import torch
from diffusers import DDPMScheduler


def l_simple(output, x_0, x_t, noise, t):
    """Epsilon prediction: DDPM (Ho et al. 2020), eq. 14."""
    return dict(simple=(output - noise).pow(2).mean((1, 2, 3)))


class Hybrid:
    """L_simple + 0.001 L_vlb of Improved DDPM (Nichol & Dhariwal 2021, eq. 16) for v prediction and a learned range.

    The network gives v (Salimans & Ho 2022, appendix D), and as many channels that place log sigma^2 between that of the
    posterior (-1) and log beta (1), eq. 15. The mean of L_vlb is detached: it teaches the variance alone. L_vlb sums over
    T timesteps of which one is drawn, so its weight is 0.001 T; it is in bits for each number of the picture.
    """

    def __init__(self, schedule: DDPMScheduler, device: str = "cpu") -> None:
        beta = schedule.betas.double()
        alpha_bar = (1 - beta).cumprod(0)
        before = torch.cat([torch.ones(1).double(), alpha_bar[:-1]])
        posterior = beta * (1 - before) / (1 - alpha_bar)  # DDPM, eq. 7
        posterior[0] = posterior[1]  # it is 0, whose log is not of use
        table = dict(
            a=alpha_bar.sqrt(),
            s=(1 - alpha_bar).sqrt(),
            of_x_0=before.sqrt() * beta / (1 - alpha_bar),
            of_x_t=(alpha_bar / before).sqrt() * (1 - before) / (1 - alpha_bar),
            small=posterior.log(),
            large=beta.log(),
        )
        self.table = {name: values.float().to(device) for name, values in table.items()}
        self.weight = 0.001 * len(alpha_bar)

    def vlb(self, mean_of, variance_of, x_0, x_t, t):
        """L_t of eq. 4 to 6 in bits: mean_of is the predicted x_0, variance_of the output's second half. (N,)"""
        at = {name: values[t].view(-1, 1, 1, 1) for name, values in self.table.items()}
        true = at["of_x_0"] * x_0 + at["of_x_t"] * x_t
        mean = at["of_x_0"] * mean_of + at["of_x_t"] * x_t
        share = (variance_of + 1) / 2
        log_variance = share * at["large"] + (1 - share) * at["small"]
        difference = at["small"] - log_variance
        kl = 0.5 * (difference.exp() + (true - mean).pow(2) * (-log_variance).exp() - 1 - difference)
        first = t == 0
        if first.any():  # the likelihood of 8-bit values, DDPM eq. 13
            inverse = (-0.5 * log_variance[first].double()).exp()
            x, m = x_0[first].double(), mean[first].double()
            cdf = lambda z: 0.5 * (1 + torch.erf(z / math.sqrt(2)))
            above = torch.where(x > 0.999, 1.0, cdf((x + 1 / 255 - m) * inverse))
            below = torch.where(x < -0.999, 0.0, cdf((x - 1 / 255 - m) * inverse))
            kl = kl.clone()
            kl[first] = -(above - below).clamp(min=1e-12).log().float()
        return kl.mean((1, 2, 3)) / math.log(2)

    def __call__(self, output, x_0, x_t, noise, t):
        v, variance = output.chunk(2, 1)
        a, s = (self.table[name][t].view(-1, 1, 1, 1) for name in "as")
        simple = (v - (a * noise - s * x_0)).pow(2).mean((1, 2, 3))
        vlb = self.weight * self.vlb((a * x_t - s * v).detach(), variance, x_0, x_t, t)
        return dict(simple=simple, vlb=vlb)
