"""Pictures for the demo of detection: some that kshot draws, and stored sets of photographs where there are some."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.encoders.pictures import png, read_picture
from kshot.errors import DataError
from kshot.seeds import generator
from kshot.storage import replace_file
from kshot.vision import Scenes, write_coco

SHOTS = 5
"""Boxes of each class to learn from."""
TESTED = 16
"""Pictures asked."""
DRAWN = 256
"""Pixels along a side of the drawn pictures."""
SETS = {"bccd": "Blood cells", "playing_cards": "Playing cards"}


@dataclass(frozen=True)
class Pictures:
    """A set to learn from and another to be asked: pictures, and the boxes of each."""

    title: str
    taught: list[Tensor]
    boxes: list[list[tuple[Any, ...]]]
    asked: list[Tensor]
    wanted: list[list[tuple[Any, ...]]]
    photographs: bool = False


def drawn(seed: int) -> Pictures:
    """Things that kshot draws: other ones than the detector was trained on."""
    source = Scenes(size=DRAWN, ways=3, pictures=6, queries=TESTED, things=(3, 6), marked=False)
    task = source.sample(generator(seed, "demo", "detect"))
    assert task.support is not None
    assert task.query is not None
    names = dict(enumerate(("one", "two", "three")))

    def named(targets: Any) -> list[list[tuple[Any, ...]]]:
        return [
            [(*map(float, box[:4]), names[box[4]]) for box in own if box[4] is not None] for own in targets
        ]

    return Pictures(
        "Drawn things", list(task.support.inputs), named(task.support.targets), list(task.query.inputs),
        named(task.query.targets),
    )  # fmt: skip


def real(data: Path | None, seed: int) -> list[Pictures]:
    """Photographs, where there are some."""
    root = data or (Path(os.environ["KSHOT_DATA"]) if os.environ.get("KSHOT_DATA") else None)
    if root is None:
        return []
    return [_photographs(root / name, title, seed) for name, title in SETS.items() if (root / name).is_dir()]


def _photographs(folder: Path, title: str, seed: int) -> Pictures:
    """A few pictures of a stored set to learn from, so that each class has `SHOTS` boxes, and test pictures."""
    name = folder.name
    try:
        with gzip.open(folder / f"{name}_boxes.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        stored = zipfile.ZipFile(folder / f"{name}_images.zip")
    except (OSError, ValueError, zipfile.BadZipFile) as cause:
        raise DataError(
            f"{folder} holds no {name}_boxes.jsonl.gz and {name}_images.zip that can be read ({cause})"
        ) from None
    with stored:
        order = torch.randperm(len(rows), generator=generator(seed, "demo", name)).tolist()
        taught, count = list[int](), dict.fromkeys({label for row in rows for label in row["labels"]}, 0)
        for n in (n for n in order if rows[n]["split"] == "train"):
            if min(count.values()) >= SHOTS:
                break
            if any(count[label] < SHOTS for label in rows[n]["labels"]):
                taught.append(n)
                for label in rows[n]["labels"]:
                    count[label] += 1
        asked = [n for n in order if rows[n]["split"] == "test"][:TESTED]

        def pictures(places: list[int]) -> list[Tensor]:
            return [read_picture(io.BytesIO(stored.read(rows[n]["file"])), rows[n]["file"]) for n in places]

        return Pictures(
            title,
            pictures(taught),
            [_boxes(rows[n]) for n in taught],
            pictures(asked),
            [_boxes(rows[n]) for n in asked],
            photographs=True,
        )


def _boxes(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    limit = (row["width"], row["height"], row["width"], row["height"])
    sides = [
        tuple(min(max(float(side), 0.0), float(most)) for side, most in zip(box, limit, strict=True))
        for box in row["boxes"]
    ]
    pairs = zip(sides, row["labels"], strict=True)
    return [(*box, label) for box, label in pairs if box[0] < box[2] and box[1] < box[3]]


def keep_drawn(folder: Path, one: Pictures, most: int) -> None:
    """The drawn pictures as files, of those asked the first `most`, so that the commands have something to work on."""
    for name, pictures in (("taught", one.taught), ("asked", one.asked[:most])):
        (folder / name).mkdir(parents=True, exist_ok=True)
        paths = [folder / name / f"{n}.png" for n in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            replace_file(path, png((picture * 255).round().to(torch.uint8)))
        if name == "taught":
            write_coco(folder / name / "boxes.json", paths, one.boxes)
