"""Error against evaluations of the network on a Gaussian, where the ODE has a closed form: docs/orders.svg.

    npm test -- tests/schedule/analytic && python tests/plots/orders.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
MARKS = {"euler": "o", "heun": "s", "dpmpp-2m": "^", "dpmpp-2s": "v", "dpmpp-3m": "D", "unipc": "P", "ode": "X"}


def main() -> None:
    plt.rcParams.update({"svg.hashsalt": "orders", "svg.fonttype": "path", "font.size": 10})
    curves = json.loads((ROOT / "tests" / "output" / "orders.json").read_text())
    fig, ax = plt.subplots(figsize=(7, 4.6))
    for curve in curves:
        points = [p for p in curve["points"] if p["error"] > 1e-13]
        ax.loglog([p["evaluations"] for p in points], [p["error"] for p in points], marker=MARKS[curve["name"]], ms=4, lw=1.3, label=curve["name"])
    for order, at in [(1, 0.9), (2, 0.25), (4, 2.0)]:
        x = [12, 240]
        ax.loglog(x, [at * (v / 12) ** -order * (1 if order < 4 else 0.02) for v in x], color="gray", lw=0.8, ls=":")
        ax.text(x[1], at * (x[1] / 12) ** -order * (1 if order < 4 else 0.02), f" order {order}", color="gray", va="center")
    ax.set_xlim(2.5, 700)
    ax.set_xlabel("evaluations of the network")
    ax.set_ylabel("relative error at the last level before the clean image")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, loc="lower left")
    fig.tight_layout()
    fig.savefig(ROOT / "docs" / "orders.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
