"""Marked pieces on the command line: boxes in pictures, spans in texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kshot.commandline.output import say, show_table
from kshot.data import Pool
from kshot.errors import DataError
from kshot.evaluation.page import note, section
from kshot.explanation import boxes_drawn, evidence, evidence_bars
from kshot.learners import Adapted, Explanation
from kshot.tasks.spaces import Boxes, Pieces
from kshot.vision import read_boxes

_MOST = 12


class MarkedPool(Pool):
    """n inputs with a list of marked pieces each, where other data have one label.

    Args:
        inputs: pictures (their paths) or texts. targets: for each its pieces, the label last.
        names: of each input, for people.
    """

    def __init__(
        self, inputs: Sequence[Any], targets: Sequence[list[Any]], names: Sequence[str], name: str
    ) -> None:
        self.inputs, self.name = inputs, name
        self.pieces, self.names = list(targets), list(names)
        count = Counter(str(piece[-1]) for pieces in targets for piece in pieces)
        self.classes = tuple(sorted(count))
        self._count = count

    @property
    def sizes(self) -> list[int]:
        """Number of pieces of each class."""
        return [self._count[str(label)] for label in self.classes]

    def split(self, *shares: float, seed: int = 0) -> NoReturn:
        raise DataError(
            f"{self.name} holds marked pieces, which teach a ready base: kshot adapt BASE {self.name} -o task.kshot; "
            "meta-training on them is for Python: kshot.fit"
        )


def boxes_pool(path: Path) -> MarkedPool:
    """The pictures and boxes of COCO or VOC files. Raises DataError."""
    found = read_boxes(path)
    root = path if path.is_dir() else path.parent
    names = [(p.relative_to(root) if p.is_relative_to(root) else p).as_posix() for p in found.paths]
    return MarkedPool(found.paths, found.targets, names, str(path))


def summary(pieces: Sequence[Any], unknown: Sequence[Any]) -> str:
    """How many of each label, in a few words."""
    count = Counter(str(piece.label) for piece in pieces)
    told = ", ".join(f"{n} {label}" for label, n in sorted(count.items())) or "nothing"
    return told + (f", {len(unknown)} unknown" if unknown else "")


def head(task: Adapted) -> list[str]:
    """The columns of a CSV file with a line a piece."""
    if isinstance(task.space, Boxes):
        return ["file", "left", "top", "right", "bottom", "label", "probability", "unknown"]
    return ["row", "start", "end", "label", "probability", "unknown"]


def lines(name: str, pieces: Sequence[Any], unknown: Sequence[Any]) -> list[list[Any]]:
    """A line a piece; what is unknown has its best guess for a label."""
    known = [[name, *map(_shown, piece[:-2]), piece.label, repr(piece.probability), "no"] for piece in pieces]
    return known + [[name, *map(_shown, p[:-2]), p.label, repr(p.probability), "yes"] for p in unknown]


def _shown(value: Any) -> Any:
    return f"{value:.1f}" if isinstance(value, float) else value


def say_pieces(found: Explanation, *, unicode: bool) -> None:
    """Every piece, with the examples that decided it."""
    if not found.pieces:
        say("Nothing was found. What came nearest, and the examples that decided it:")
    rows = [[_place(p), str(p.label), f"{100 * p.probability:.0f} %"] for p in found.pieces[:_MOST]]
    show_table(["where", "what", "sure"], rows, right=[2])
    for piece in found.pieces[:_MOST] or [found]:
        say(f"{piece.label} at {_place(piece)}, probability {100 * piece.probability:.0f} %:")
        for line in evidence_bars(piece, most=4, unicode=unicode):
            say(f"  {line}")
    for other in found.unknown[:_MOST]:
        say(f"Unknown thing at {', '.join(str(_shown(v)) for v in other[:-2])}: like none of the classes.")


def _place(piece: Explanation) -> str:
    return ", ".join(str(_shown(value)) for value in piece.place[:-2]) if piece.place else "nowhere"


def page_parts(task: Adapted, shown: Any, name: str, found: Explanation) -> list[str]:
    """Sections of a page: the picture with its boxes (or the text), and what decided each."""
    parts = []
    if isinstance(task.space, Boxes):
        boxes = [piece.place for piece in found.pieces]
        text = "A solid frame is what was found; a dashed one looks like an object, but like none of the classes."
        parts.append(section(name, text, boxes_drawn(shown, boxes, found.unknown, labels=task.space.labels)))
    for piece in found.pieces[:_MOST] or [found]:
        title = f"{piece.label}: {_place(piece)}, probability {100 * piece.probability:.0f} %"
        parts.append(section(title, "", evidence(task, piece, most=6)))
    parts.append(note(f"{found.method[:1].upper()}{found.method[1:]}."))
    return parts


def is_pieces(task: Adapted) -> bool:
    """Does it answer with pieces?"""
    return isinstance(task.space, Pieces)
