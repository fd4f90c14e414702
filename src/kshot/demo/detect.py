"""Detection shown: a few marked pictures teach a detector that has never seen a photograph."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor

from kshot.bundles import load
from kshot.encoders.pictures import png, read_picture
from kshot.errors import DataError
from kshot.evaluation.page import grid, note, page, section
from kshot.explanation import boxes_drawn, evidence, side_by_side
from kshot.learners import Adapted
from kshot.seeds import generator
from kshot.storage import replace_file
from kshot.tasks.spaces import Boxes
from kshot.vision import Detector, Precision, Scenes, average_precision, tune, write_coco
from kshot.vision.detection import resized

SHOWN = 4
MOST = 480
"""Pixels of the longer side of a picture on the page."""
SHOTS = 5
TESTED = 16
DRAWN = 256
"""Pixels along a side of the drawn pictures."""
TUNED = {True: 20.0, False: 10.0}
"""Seconds of processor time that photographs, and drawn things, are tuned for."""
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


def run_detect(console: Console, *, out: Path, data: Path | None = None, seed: int = 0) -> dict[str, Any]:
    """Teach the bundled detector drawn things, and real ones where `data` (or KSHOT_DATA) holds some.

    Args:
        out: folder for detect.html, the tasks, and drawn pictures with a COCO file to try the commands on.

    Returns:
        One JSON object with all figures.
    """
    started, begin = time.monotonic(), time.process_time()
    learner = cast(Detector, load("scenes"))
    out.mkdir(parents=True, exist_ok=True)
    sets = [_drawn(seed), *_real(data, seed)]
    figures: dict[str, Any] = {}
    parts, rows = [], []
    for one in sets:
        # drawings are small, and things should look as large as those that it learned from
        done = _act(console, learner if one.photographs else resized(learner, DRAWN), one)
        parts += _sections(done, one)
        rows.append(done.row)
        figures |= {f"{_name(one)}_{name}": value for name, value in done.figures.items()}
        done.task.save(out / f"{_name(one)}.kshot", include_base=True)
    figures["kshot"] = figures["drawn_things_tuned_ap50"]
    _keep_drawn(out / "pictures", sets[0])
    if len(sets) == 1:
        console.print(
            "For photographs too, name a folder that holds bccd or playing_cards: --data FOLDER, or KSHOT_DATA."
        )
    lead = "A detector that was trained on drawings alone, taught by a few marked pictures each time."
    made = page(
        "Find and name, from a few marked pictures",
        lead,
        [_table(rows), *parts],
        "Made by kshot demo detect.",
    )
    replace_file(out / "detect.html", made.encode())
    console.print(f"\nLook at {out / 'detect.html'}. Then try it with the pictures it drew:", highlight=False)
    for line in commands(out):
        console.print(f"  {line}", highlight=False)
    spent = {
        "seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(time.process_time() - begin, 1)
    }  # fmt: skip
    return {**figures, **spent, "report": str(out / "detect.html"), "seed": seed}


def commands(out: Path) -> list[str]:
    """What to type next."""
    folder = out / "pictures"
    return [
        f"kshot adapt scenes {folder / 'taught'} -o {out / 'mine.kshot'}",
        f"kshot predict {out / 'mine.kshot'} {folder / 'asked'} --csv {out / 'boxes.csv'}",
        f"kshot explain {out / 'mine.kshot'} {folder / 'asked' / '0.png'} --html {out / 'why.html'}",
    ]


@dataclass(frozen=True)
class _Done:
    """What became of one set: the taught task, what it found in the pictures asked, figures, and a row of the table."""

    task: Adapted
    found: Any
    figures: dict[str, Any]
    row: list[str]


def _act(console: Console, learner: Detector, one: Pictures) -> _Done:
    """Teach, ask and judge; what is told goes to the console."""
    begin = time.monotonic()
    task = learner.adapt(one.taught, one.boxes)
    taught = time.monotonic() - begin
    begin = time.monotonic()
    found, told = _asked(task, one)
    asked = (time.monotonic() - begin) / len(one.asked)
    count = sum(map(len, one.boxes))
    console.rule(f"[bold]{one.title}[/bold]", align="left")
    console.print(
        f"Taught with {count} boxes on {len(one.taught)} pictures in {taught:.1f} s; {1000 * asked:.0f} ms a picture. "
        f"On {len(one.asked)} others: AP50 {100 * told.ap:.0f} %.",
        highlight=False,
    )
    figures = {"ap50": told.ap, "adapt_seconds": round(taught, 2)}
    row = [one.title, f"{count} on {len(one.taught)}", f"{taught:.1f} s", f"{100 * told.ap:.0f} %"]
    done = tune(task, seconds=TUNED[one.photographs])
    task = done.task
    found, told = _asked(task, one)
    how = "; things are named by their parts" if done.by_parts else ""
    how = how if done.kept else "; the network stays as it was, pictures held out did not gain"
    console.print(
        f"After {done.cpu_seconds:.0f} s of tuning the network on the same pictures: AP50 {100 * told.ap:.0f} %{how}.",
        highlight=False,
    )
    figures |= {"tuned_ap50": told.ap, "tune_seconds": round(done.cpu_seconds, 1)}
    row += [f"{done.cpu_seconds:.0f} s", f"{100 * told.ap:.0f} %"]
    for label, value in told.each.items():
        console.print(f"  {label}: {100 * value:.0f} %", highlight=False)
    figures["unknown"] = sum(map(len, found.unknown))
    console.print(
        f"  {sum(map(len, found.boxes))} found, {figures['unknown']} things refused as unknown.",
        highlight=False,
    )
    return _Done(task, found, figures, row)


def _asked(task: Adapted, one: Pictures) -> tuple[Any, Precision]:
    """What is found in the pictures asked, and how good that is."""
    outputs = task.outputs(task.embed(task.learner.encoder.read(one.asked)))
    return task.decode(outputs), average_precision(task.space.decode(outputs, least=0.01).boxes, one.wanted)


def _table(rows: list[list[str]]) -> str:
    head = ["", "boxes on pictures", "taught in", "AP50", "tuned in", "AP50 then"]
    text = (
        "AP50 is the share of what was wanted that is found and named right, weighed by how sure the answers are; of "
        "pictures that were not taught."
    )
    text += " Tuned: the network learned on from the same marked pictures, which is kept where pictures held out gain."
    return section("How good", text, grid(head, rows, numeric=[1, 2, 3, 4, 5]))


def _sections(done: _Done, one: Pictures) -> list[str]:
    """The pictures taught and asked, with their boxes, and why one was found."""
    labels, found = cast(Boxes, done.task.space).labels, done.found
    taught = [
        boxes_drawn(picture, boxes, labels=labels, most=MOST)
        for picture, boxes in list(zip(one.taught, _named(one.boxes), strict=True))[:2]
    ]
    asked = [
        boxes_drawn(picture, boxes, unknown, labels=labels, most=MOST)
        for picture, boxes, unknown in list(zip(one.asked, found.boxes, found.unknown, strict=True))[:SHOWN]
    ]
    return [
        section(f"{one.title}: taught", f"Two of {len(one.taught)} marked pictures.", side_by_side(taught)),
        section(
            f"{one.title}: asked",
            "Solid: found, with its probability in percent. Dashed: looks like a thing, but like none of the classes.",
            side_by_side(asked),
        ),
        *_why(done, one, labels),
    ]


def _why(done: _Done, one: Pictures, labels: tuple[Any, ...]) -> list[str]:
    """The surest answer in the pictures shown, and the marked pictures that decided it."""
    sure = [max((box.probability for box in own), default=0.0) for own in done.found.boxes[:SHOWN]]
    asked = one.asked[sure.index(max(sure))]
    told = done.task.explain([asked])
    if not told.pieces:
        return []
    best = max(told.pieces, key=lambda piece: piece.probability)
    text = f"Why “{best.label}”? The marked pictures that decided the surest answer above."
    shown = boxes_drawn(*_around(asked, best.place), labels=labels, most=MOST // 2)
    return [
        section(f"{one.title}: why", text, shown, evidence(done.task, best, most=5), note(f"{best.method}."))
    ]


def _around(picture: Tensor, box: Any) -> tuple[Tensor, list[tuple[Any, ...]]]:
    """The part of a picture around a box, twice as wide as that, and the box in it."""
    height, width = picture.shape[-2:]
    reach = max(box.right - box.left, box.bottom - box.top)
    middle = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
    left, top = (max(0, int(at - reach)) for at in middle)
    right, bottom = min(width, int(middle[0] + reach) + 1), min(height, int(middle[1] + reach) + 1)
    moved = (box.left - left, box.top - top, box.right - left, box.bottom - top, box.label, box.probability)
    return picture[:, top:bottom, left:right], [moved]


def _named(boxes: list[list[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
    return [[box for box in own if box[4] is not None] for own in boxes]


def _name(one: Pictures) -> str:
    return one.title.lower().replace(" ", "_")


def _drawn(seed: int) -> Pictures:
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


def _real(data: Path | None, seed: int) -> list[Pictures]:
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


def _keep_drawn(folder: Path, one: Pictures) -> None:
    """The drawn pictures as files, so that the commands have something to work on."""
    for name, pictures in (("taught", one.taught), ("asked", one.asked[:SHOWN])):
        (folder / name).mkdir(parents=True, exist_ok=True)
        paths = [folder / name / f"{n}.png" for n in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            replace_file(path, png((picture * 255).round().to(torch.uint8)))
        if name == "taught":
            write_coco(folder / name / "boxes.json", paths, one.boxes)
