"""Detection shown: a few marked pictures teach a detector that has never seen a photograph."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from torch import Tensor

from kshot.bundles import load
from kshot.demo.detect_pictures import DRAWN, Pictures, drawn, keep_drawn, real
from kshot.evaluation.page import grid, note, page, section
from kshot.explanation import boxes_drawn, evidence, side_by_side
from kshot.learners import Adapted
from kshot.storage import replace_file
from kshot.tasks.spaces import Boxes
from kshot.vision import Detector, Precision, average_precision, tune
from kshot.vision.detection import resized

SHOWN = 4
MOST = 480
"""Pixels of the longer side of a picture on the page."""
TUNED = {True: 20.0, False: 10.0}
"""Seconds of processor time that photographs, and drawn things, are tuned for."""


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
    sets = [drawn(seed), *real(data, seed)]
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
    keep_drawn(out / "pictures", sets[0], SHOWN)
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
