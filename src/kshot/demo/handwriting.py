"""Handwriting for tests: scikit-learn's scanned digits, and Omniglot where the reader has it."""

from __future__ import annotations

from pathlib import Path

import torch

from kshot.data import Pool
from kshot.vision import omniglot


def digits() -> Pool:
    """scikit-learn's 1,797 scanned digits, 8 x 8 pixels, uint8 [1797, 8, 8], ink bright on black.

    Alpaydin and Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI repository.

    >>> digits().classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images)
    brightness = (images / 16 * 255).round().to(torch.uint8)
    return Pool(brightness, [str(label) for label in found.target], "digits")


def omniglot_folder(data: Path | None) -> Path | None:
    """The Omniglot folder at or below `data`; None where there is none."""
    if data is None:
        return None
    for folder in (data, data / "omniglot"):
        if (folder / "omniglot_28x28_uint8.npz").is_file() or (folder / "omniglot-py").is_dir():
            return folder
    return None


def omniglot_test(folder: Path) -> Pool:
    """Omniglot's 423 test characters as they were drawn, 20 people each."""
    pool = omniglot(folder, rotate=False).test.pool
    return pool.only(range(len(pool.classes)), name="Omniglot")
