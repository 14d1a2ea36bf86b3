"""What the scripts of the text-to-avatar model share: folders, pictures, words, networks, the noise schedule."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # measure.py
ROOT = HERE.parents[2]
# Pictures, checkpoints and logs: ignored by git.
RUNS = Path(os.environ.get("TEXT_AVATARS_RUNS") or HERE.parent / "runs" / "text-avatars")
START = HERE / "start"  # committed weights that every stage starts from
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

SIZE = 128  # pixels
LATENT, CHANNELS = 16, 8  # numbers along a side of the latents, and for each of them
SCALE = 0.8  # of the latents: their variance over all channels is 1.4 without it
WIDTH, LENGTH = 160, 48  # of the text encoder's states, in numbers and in tokens
STYLES = ["adventurer", "big ears", "big smile", "croodles", "dylan", "fun emoji", "lorelei", "micah", "miniavs", "notionists",
          "open peeps", "personas", "pixel art", "thumbs"]


def threads(count: int) -> None:
    """A process of the lowest priority on a shared machine takes no more than this."""
    if DEVICE == "cpu":
        torch.set_num_threads(count)


class Pictures:
    """NAME.bin and NAME.jsonl of data.mjs, which may grow while they are read."""

    def __init__(self, name: str, runs: Path = RUNS) -> None:
        self.name, self.path, self.rows = name, runs / f"{name}.bin", []
        if not self.path.exists():
            raise SystemExit(f"{self.path} is not there: npm run data -- --name {name}")
        self.look()

    def look(self) -> None:
        lines = self.path.with_suffix(".jsonl").read_text().split("\n")[:-1]
        count = min(self.path.stat().st_size // (SIZE * SIZE * 3), len(lines))
        self.rows += [json.loads(line) for line in lines[len(self.rows) : count]]
        self.bytes = np.memmap(self.path, np.uint8, "r", shape=(count, SIZE, SIZE, 3))

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, at) -> torch.Tensor:
        """(N, 3, 128, 128) in [-1, 1] on the device; at: numbers of pictures, or a slice."""
        return to_signed(torch.from_numpy(np.array(self.bytes[at])))


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes (N, H, W, 3) -> (N, 3, H, W) in [-1, 1], on the device, channels last."""
    x = pixels.to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def captions(name: str, runs: Path = RUNS) -> list[list[dict]]:
    """For each picture a list of dicts: text, and said, those of its words that the text says."""
    path = runs / f"{name}.captions"
    if not path.exists():
        raise SystemExit(f"{path} is not there: npm run captions -- --name {name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def make_vae():
    """AutoencoderTiny, 1.07 M parameters, f = 8, 8 channels; at 128 x 128 3.6 GFLOP to encode, 4.3 to decode."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        latent_channels=CHANNELS,
        encoder_block_out_channels=(48,) * 4,
        decoder_block_out_channels=(48,) * 4,
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(3, 2, 2, 1),
        scaling_factor=SCALE,
    )


def make_tokenizer():
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(HERE / "tokenizer")


def tokens(tokenizer, texts: list[str]) -> torch.Tensor:
    """(N, 48), 16-bit: many captions are alike, and each is only read once."""
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    unique, parts = list(number), []
    for i in range(0, len(unique), 20_000):
        ids = tokenizer(unique[i : i + 20_000], padding="max_length", truncation=True, return_attention_mask=False)["input_ids"]
        parts.append(torch.tensor(ids, dtype=torch.int16))
    return torch.cat(parts)[torch.tensor([number[text] for text in texts])]


def make_text_encoder(vocabulary: int):
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=WIDTH // 32,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def make_unet():
    """UNet2DConditionModel, 7.6 M parameters, 0.9 GFLOP: 16 - 8 - 4 wide, cross-attention at 8 and 4."""
    from diffusers import UNet2DConditionModel

    widths = (96, 128, 128)
    net = UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=tuple(w // 32 for w in widths),  # diffusers means the number of heads
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
    )
    if DEVICE == "cpu":
        # Two products and a softmax: far faster to train on a CPU than PyTorch's own attention.
        from diffusers.models.attention_processor import AttnProcessor

        net.set_attn_processor(AttnProcessor())
    return net


def schedule(kind: str = "DDIM"):
    """Cosine schedule (Nichol & Dhariwal 2021, eq. 17), v prediction, zero terminal SNR (Lin et al. 2023); kind: DDIM or LCM."""
    import diffusers

    options = dict(clip_sample=False, set_alpha_to_one=True, steps_offset=1)  # the offset only matters to other spacings
    return getattr(diffusers, f"{kind}Scheduler")(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        **options,
    )


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def grid(x: torch.Tensor, columns: int, path: Path) -> None:
    """Pictures (N, 3, H, W) in [-1, 1], row by row; the last row may be short."""
    from PIL import Image

    pixels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    side, rows = pixels.shape[1], -(-len(pixels) // columns)
    sheet = Image.new("RGB", (columns * (side + 2), rows * (side + 2)), "white")
    for i, p in enumerate(pixels):
        sheet.paste(Image.fromarray(p), (i % columns * (side + 2), i // columns * (side + 2)))
    sheet.save(path)
