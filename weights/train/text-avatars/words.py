"""The attributes as numbers: what the text encoder and the judge predict."""

import torch

# "none" is a class of these for the judge: nothing of the kind is there.
PRESENCE = ["glasses", "beard", "mustache", "accessory", "hat", "gesture"]


def vocabulary(rows: list[dict]) -> dict[str, list[str]]:
    """attribute -> its words, sorted."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for attribute, word in row.items():
            found.setdefault(attribute, set()).add(word)
    return {attribute: sorted(found[attribute]) for attribute in sorted(found)}


def said(rows: list[dict], words: dict[str, list[str]]) -> torch.Tensor:
    """(N, attributes): 0 if it is not said, else 1 + the number of the word."""
    number = {a: {w: i + 1 for i, w in enumerate(each)} for a, each in words.items()}
    return torch.tensor([[number[a].get(row.get(a), 0) for a in words] for row in rows], dtype=torch.int16)


def seen(rows: list[dict], words: dict[str, list[str]]) -> torch.Tensor:
    """(N, attributes): the number of the word; of PRESENCE 0 for none, the words from 1; -1 for what nobody said."""
    styles = {a: {row["style"] for row in rows if a in row} for a in PRESENCE}
    table = said(rows, words).long()
    for k, a in enumerate(words):
        if a in PRESENCE:
            unknown = torch.tensor([row["style"] not in styles[a] for row in rows])
            table[(table[:, k] == 0) & unknown, k] = -1
        else:
            table[:, k] -= 1
    return table
