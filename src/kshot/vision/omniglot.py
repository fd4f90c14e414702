"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawers each.

Lake, Salakhutdinov, Tenenbaum (2015), "Human-level concept learning through probabilistic program
induction". Classes are named Alphabet/characterNN in every layout.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.data import Episodes, Pool, rotations
from kshot.encoders.pictures import read_picture
from kshot.errors import DataError, SettingError
from kshot.seeds import generator
from kshot.tasks import NWayKShot

SPLIT_FILE = "split_vinyals_1028_172_423.json"
_SETS = ("background", "evaluation")
_PLACES = (
    "",
    "omniglot-py",
    "python",
    "omniglot/python",
    "original",
)  # ours, torchvision's, the original repository's
_VALIDATION = 0.15  # share of the background alphabets, where no file says


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
    root: str | Path,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotate: bool = True,
    size: int = 28,
    split: str | Path | None = None,
    seed: int = 0,
) -> Splits:
    """Omniglot tasks; images are uint8 [n, size, size], ink bright on black.

    Args:
        root: a folder with images_background and images_evaluation (folders, or .zip as they were
            downloaded), also inside omniglot-py (torchvision) or python (the original repository); or
            with omniglot_28x28_uint8.npz or omniglot_105x105_bits.npz.
        rotate: make each character four classes by quarter turns, as the papers do.
        size: side in pixels; drawings are 105 x 105 and resized with antialias.
        split: "vinyals" for the 1,028 / 172 / 423 characters of Vinyals et al. (2016), named by the file
            split_vinyals_1028_172_423.json in `root`; "background" for the original sets, validation
            being whole background alphabets drawn by `seed`; or the path of a split file. By default
            the file in `root` where there is one, else "background".

    Raises:
        DataError: the folder lacks something, or a file is damaged.
    """
    folder = Path(root)
    pool, sets = _pool(folder, size)
    chosen = split or ("vinyals" if (folder / SPLIT_FILE).is_file() else "background")
    if chosen == "background":
        names = _original(pool, sets, seed)
    else:
        names = _listed(folder / SPLIT_FILE if chosen == "vinyals" else Path(chosen))
    parts = pool.split_by(*names)
    sampler = NWayKShot(ways, shots, queries)
    return Splits(*(Episodes(rotations(part) if rotate else part, sampler) for part in parts))


def _pool(folder: Path, size: int) -> tuple[Pool, dict[str, str]]:
    """All characters, and the original set of each."""
    small, large = folder / "omniglot_28x28_uint8.npz", folder / "omniglot_105x105_bits.npz"
    if size < 4:
        raise SettingError(f"size is {size}; a character needs at least 4 pixels a side")
    if size == 28 and small.is_file():
        images, names, sets = _arrays(small)
    elif large.is_file():
        images, names, sets = _arrays(large)
    else:
        images, names, sets = _drawings(folder, size)
    return Pool(resized(images, size), names, "omniglot"), sets


def _arrays(file: Path) -> tuple[Tensor, list[str], dict[str, str]]:
    with np.load(file, allow_pickle=False) as found:
        characters = [f"{a}/{c}" for a, c in zip(found["char_alphabet"], found["char_name"], strict=True)]
        sets = dict(zip(characters, map(str, found["char_set"]), strict=True))
        names = [characters[i] for i in found["char_index"]]
        if "images" in found:
            return torch.from_numpy(found["images"]), names, sets
        bits = np.unpackbits(found["bits"], axis=1)[:, : 105 * 105]
        return torch.from_numpy(bits.reshape(-1, 105, 105) * np.uint8(255)), names, sets


def _drawings(folder: Path, size: int) -> tuple[Tensor, list[str], dict[str, str]]:
    images, names, sets = [], [], {}
    for part in _SETS:
        place = _find(folder, f"images_{part}")
        for name, data in _files(place):
            images.append(resized(255 - read_picture(io.BytesIO(data), f"{place}: {name}"), size)[0])
            names.append("/".join(PurePosixPath(name).parts[-3:-1]))
            sets[names[-1]] = part
        if part not in sets.values():
            raise DataError(f"{place} holds no drawing; it must hold alphabets/characters/*.png")
    return torch.stack(images), names, sets


def _find(folder: Path, name: str) -> Path:
    """The folder or zip file of one set."""
    for place in _PLACES:
        for candidate in (folder / place / name, folder / place / f"{name}.zip"):
            if candidate.is_dir() or candidate.is_file():
                return candidate
    raise DataError(
        f"{folder} has neither {name} (a folder or .zip, also inside {', '.join(filter(None, _PLACES))}) nor "
        "omniglot_28x28_uint8.npz; give the folder that Omniglot was downloaded to"
    )


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """Names alphabet/character/drawing.png with their bytes, sorted; strokes and system files are left out."""
    if place.is_dir():
        for path in sorted(place.glob("*/*/*.png")):
            if _is_drawing(path.relative_to(place).parts):
                yield path.relative_to(place).as_posix(), path.read_bytes()
        return
    yield from zipped(place)


def zipped(file: Path) -> Iterator[tuple[str, bytes]]:
    """Drawings of a zip file, sorted by name. Raises DataError for a damaged one."""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".png") and _is_drawing(PurePosixPath(name).parts):
                    yield name, archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError) as cause:
        raise DataError(f"{file} is not a whole zip file ({cause}); download it again") from None


def _is_drawing(parts: Sequence[str]) -> bool:
    return not any(part.startswith(("strokes_", ".", "__MACOSX")) for part in parts)


def resized(images: Tensor, size: int) -> Tensor:
    """uint8 [n, side, side] to uint8 [n, size, size], bilinear with antialias."""
    if images.shape[-1] == size:
        return images
    pages = images.unsqueeze(1)  # on bytes torch rounds as Pillow does, nearly always
    return F.interpolate(pages, (size, size), mode="bilinear", antialias=True).squeeze(1)


def _original(pool: Pool, sets: dict[str, str], seed: int) -> list[list[str]]:
    """Train and validation from the background alphabets, test from the evaluation set."""
    names = [str(name) for name in pool.classes]
    background = [name for name in names if sets[name] == "background"]
    alphabets = sorted({name.split("/")[0] for name in background})
    if len(alphabets) < 2:
        raise DataError(
            f"the background set has {len(alphabets)} alphabet ({alphabets}); validation needs one of its own: "
            "give a split file, or more alphabets"
        )
    order = torch.randperm(len(alphabets), generator=generator(seed, "omniglot")).tolist()
    held = {alphabets[i] for i in order[: max(1, round(_VALIDATION * len(alphabets)))]}
    return [
        [name for name in background if name.split("/")[0] not in held],
        [name for name in background if name.split("/")[0] in held],
        [name for name in names if sets[name] == "evaluation"],
    ]


def _listed(file: Path) -> list[list[str]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["classes"]
        return [list(found[part]) for part in ("train", "val", "test")]
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; it names the characters of each split") from None
    except (ValueError, KeyError, TypeError) as cause:
        raise DataError(
            f'{file} is no split file ({cause!r}); it must read {{"classes": {{"train": [...], "val": [...], '
            '"test": [...]}}}}'
        ) from None
