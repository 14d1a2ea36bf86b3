"""CLIP's tokenizer (byte-level BPE, </w> at the end of a word) with the captions' own words: tokenizer/, committed.

    python weights/train/text-avatars/tokenizer.py make       # from RUNS/train.captions
    python weights/train/text-avatars/tokenizer.py check      # that transformers.CLIPTokenizer loads it, and what it gives

Order of the entries as in CLIP: bytes, bytes at the end of a word, merges, the two marks. A new vocabulary needs a new text encoder.
"""

import argparse
import json
import re

from common import HERE, LENGTH, captions, make_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

FOLDER = HERE / "tokenizer"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
SPLIT = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def make(texts: list[str], size: int) -> None:
    t = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False, unk_token=EOS))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({w for text in texts for w in re.findall("[a-z]+", text)})
    texts = texts[:20_000] + [w for w in words for _ in range(500)]  # a rare word is a token too
    trainer = trainers.BpeTrainer(vocab_size=size - 2 - 256, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    t.train_from_iterator(texts, trainer)
    merges = [tuple(m) for m in json.loads(t.to_str())["model"]["merges"]]
    vocab = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    vocab = list(dict.fromkeys(vocab)) + [BOS, EOS]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocab)}, ensure_ascii=False))
    (FOLDER / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    config = dict(
        tokenizer_class="CLIPTokenizer", model_max_length=LENGTH, bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token=EOS,
        add_prefix_space=False, do_lower_case=True, errors="replace",
    )
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    marks = {k: config[k] for k in ("bos_token", "eos_token", "unk_token", "pad_token")}
    (FOLDER / "special_tokens_map.json").write_text(json.dumps(marks, indent=2) + "\n")


def check(texts: list[str]) -> None:
    """Fails unless CLIPTokenizer loads it as CLIP's own, and no caption is cut. Prints the words that are not one token."""
    from transformers import CLIPTokenizer

    ours = make_tokenizer()
    by_hand = CLIPTokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"))
    ids = ours(texts, padding=False)["input_ids"]
    assert ids == by_hand(texts, padding=False)["input_ids"], "the two ways to load it differ"
    longest = max(map(len, ids))
    assert longest <= LENGTH, f"a caption has {longest} tokens"
    words = sorted({w for t in texts for w in re.findall("[a-z]+", t)})
    split = [w for w in words if len(ours(w)["input_ids"]) != 3]
    size = len(json.loads((FOLDER / "vocab.json").read_text()))
    padded = ours("a blue avatar", padding="max_length", truncation=True)["input_ids"]
    assert len(padded) == LENGTH and padded[0] == size - 2 and padded[-1] == size - 1, padded
    mean = sum(map(len, ids)) / len(ids)
    print(dict(entries=size, words=len(words), words_of_several_tokens=split, longest_caption=longest, mean=round(mean, 1)))


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["make", "check"])
    ap.add_argument("--name", default="train", help="the draw whose captions are read")
    ap.add_argument("--size", type=int, default=1280)
    args = ap.parse_args()
    texts = [c["text"] for each in captions(args.name) for c in each][:100_000]
    if args.what == "make":
        make(texts, args.size)
    check(texts)


if __name__ == "__main__":
    main()
