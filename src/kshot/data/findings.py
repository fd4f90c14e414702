"""What is found in data, as values and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 10
"""Of a kind, at most."""


@dataclass(frozen=True)
class Verdict:
    """Whether tasks of this form can be made from all classes, and why not."""

    ways: int
    shots: int
    queries: int
    possible: bool
    why: str = ""


@dataclass(frozen=True)
class Findings:
    """What `inspect` found.

    Attributes:
        kind: images, texts, rows or other. examples, classes: how many.
        per_class: smallest, median and largest number of examples of a class.
        smallest: the smallest classes, with their sizes.
        sizes: "width x height" of images (or the shape of rows), and how many have it. modes: likewise.
        unreadable: file and reason. duplicates: groups of equal inputs of one class.
        contradictions: equal inputs with different labels: (places or files, their labels).
        verdicts: usual tasks, possible or not. works: settings that can be made, {} if none.
        splits: classes of training, validation and test when split, and the most ways each allows.
    """

    name: str
    kind: str
    examples: int
    classes: int
    per_class: Mapping[str, float]
    smallest: Mapping[str, int]
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    duplicates: Sequence[Sequence[str]] = ()
    contradictions: Sequence[tuple[Sequence[str], Sequence[str]]] = ()
    verdicts: Sequence[Verdict] = ()
    works: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Some task can be made, every file can be read, and no label contradicts another."""
        return bool(self.works) and not self.unreadable and not self.contradictions

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with `usable`."""
        return {**asdict(self), "usable": self.usable}

    def __str__(self) -> str:
        return "\n".join([*self._what(), *self._wrong(), *self._settings()])

    def _what(self) -> list[str]:
        few, middle, many = (f"{self.per_class[k]:g}" for k in ("min", "median", "max"))
        lines = [
            f"{self.name or 'data'}: {self.examples} {self.kind} in {self.classes} classes, "
            f"{few} to {many} a class (median {middle})"
        ]
        if self.sizes:
            lines.append(
                f"sizes: {_counts(self.sizes)}" + (f"; modes: {_counts(self.modes)}" if self.modes else "")
            )
        return lines

    def _wrong(self) -> list[str]:
        lines = []
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} files cannot be read:")
            lines += [f"  {why}" for why in list(self.unreadable.values())[:SHOWN]]
        if self.contradictions:
            lines.append(
                f"{len(self.contradictions)} inputs occur with different labels; keep one label each:"
            )
            lines += [f"  {', '.join(p)}: {', '.join(labels)}" for p, labels in self.contradictions[:SHOWN]]
        if self.duplicates:
            extra = sum(len(group) - 1 for group in self.duplicates)
            lines.append(
                f"{extra} inputs repeat another of their class (support and query may then share one):"
            )
            lines += [f"  {', '.join(group[:4])}" for group in self.duplicates[:SHOWN]]
        return lines

    def _settings(self) -> list[str]:
        lines = ["tasks that can be drawn from them, to train a base or to judge one:"]
        lines += [
            f"  {v.ways}-way {v.shots}-shot, {v.queries} queries: "
            + ("possible" if v.possible else f"impossible: {v.why}")
            for v in self.verdicts
        ]
        if self.splits:
            parts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
            few = min(self.splits.values()) < 2
            lines.append(
                f"  classes when split: {parts}; "
                + (
                    "too few to train on some and judge on others: adapt a ready base instead"
                    if few
                    else "no part can have more ways than classes"
                )
            )
        works = ", ".join(f"{name}={value}" for name, value in self.works.items())
        return [
            *lines,
            f"  settings that work: {works}" if works else "  no setting works: add classes or examples",
            *(
                ["to learn these very classes, all examples go to a ready base: kshot adapt BASE DATA"]
                if self.classes > 1
                else []
            ),
        ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in counts.items())
