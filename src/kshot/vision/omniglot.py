"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawers each.

Lake, Salakhutdinov, Tenenbaum (2015), "Human-level concept learning through probabilistic program
induction".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kshot.data import Episodes, Pool, rotations
from kshot.errors import DataError
from kshot.tasks import NWayKShot


@dataclass(frozen=True)
class Splits:
    """Task sources of disjoint classes."""

    train: Episodes
    validation: Episodes
    test: Episodes

    def using(self, **changes: Any) -> Splits:
        """All three with other sampler settings: `splits.using(ways=20)`."""
        return Splits(*(part.using(**changes) for part in (self.train, self.validation, self.test)))


def omniglot(
    root: str | Path, *, ways: int = 5, shots: int = 1, queries: int = 15, rotate: bool = True
) -> Splits:
    """Omniglot tasks in the split of Vinyals et al. (2016): 1,028 / 172 / 423 characters.

    Args:
        root: a folder with omniglot_28x28_uint8.npz and split_vinyals_1028_172_423.json.
        rotate: make each character four classes by quarter turns, as the papers do.

    Raises:
        DataError: the folder lacks a file.
    """
    folder = Path(root)
    images, names = _arrays(folder)
    split = _json(folder / "split_vinyals_1028_172_423.json")["classes"]
    pool = Pool(images, names, "omniglot")
    parts = pool.split_by(split["train"], split["val"], split["test"])
    sampler = NWayKShot(ways, shots, queries)
    return Splits(*(Episodes(rotations(part) if rotate else part, sampler) for part in parts))


def _arrays(folder: Path) -> tuple[torch.Tensor, list[str]]:
    file = folder / "omniglot_28x28_uint8.npz"
    if not file.exists():
        raise DataError(f"{file} does not exist; give the folder that holds omniglot_28x28_uint8.npz")
    with np.load(file, allow_pickle=False) as arrays:
        index = arrays["char_index"]
        names = [f"{a}/{c}" for a, c in zip(arrays["char_alphabet"], arrays["char_name"], strict=True)]
        return torch.from_numpy(arrays["images"]), [names[i] for i in index]


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; it names the characters of each split") from None
