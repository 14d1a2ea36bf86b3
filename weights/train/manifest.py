"""Writes weights/models.json: what is bundled, with sizes and hashes. Run it after every change of a model.

    python weights/train/manifest.py
"""

import hashlib
import json
from pathlib import Path

WEIGHTS = Path(__file__).resolve().parents[1]
RUNTIME = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json", "labels.json"]
MODELS = {
    "digits": dict(title="Digits: MNIST, 32 x 32, ten classes", licence="MIT; trained on MNIST (CC BY-SA 3.0)"),
    "avatars": dict(
        title="Avatars: 32 x 32, in colour, fourteen drawing styles",
        licence="MIT; trained on DiceBear's styles (CC0 1.0, CC BY 4.0)",
    ),
}


def main() -> None:
    models = []
    for name, about in MODELS.items():
        files = []
        for path in RUNTIME:
            data = (WEIGHTS / name / path).read_bytes()
            files.append(dict(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
        config = json.loads((WEIGHTS / name / "unet/config.json").read_text())
        shape = [config["in_channels"], config["sample_size"], config["sample_size"]]
        models.append(dict(name=name, **about, shape=shape, bytes=sum(f["bytes"] for f in files), files=files))
    (WEIGHTS / "models.json").write_text(json.dumps(models, indent=2) + "\n")


if __name__ == "__main__":
    main()
