"""What the conformance suite asks of located answers: spans and boxes."""

from __future__ import annotations

from typing import Any

from kshot.learners import Learner
from kshot.tasks import Examples, Task
from kshot.testing.claims import claim


def labelled(support: Examples) -> list[int]:
    """Places of the examples with a labelled piece."""
    return [n for n, pieces in enumerate(support.targets) if any(piece[-1] is not None for piece in pieces)]


def check_located_evidence(own: Learner, task: Task, support: Examples, query: Examples) -> None:
    """Each contribution to a found piece equals the difference that really adapting without the example makes."""
    full = own.adapt(support, space=task.space)
    for place in range(len(query)):
        told = full.explain(query.take([place]).inputs)
        claim(
            len(told.evidence) == len(support),
            f"{len(told.evidence)} pieces of evidence, {len(support)} examples",
        )
        found = full.predict(query.take([place]).inputs).pieces[0]
        claim(
            sorted(piece.place for piece in told.pieces) == sorted(found),
            f"explain() tells of {[piece.place for piece in told.pieces]}, predict() found {found}",
        )
        for piece in told.pieces[:2]:
            _check_piece(own, task, support, query.take([place]).inputs, piece, full.ids)


def _check_piece(
    own: Learner, task: Task, support: Examples, inputs: Any, told: Any, ids: tuple[str, ...]
) -> None:
    for item in told.evidence[:2]:
        keep = [place for place, name in enumerate(ids) if name != item.id]
        if not labelled(support.take(keep)):
            continue
        rest = own.adapt(support.take(keep), space=task.space).predict(inputs).pieces[0]
        here = [piece for piece in rest if piece[:-1] == told.place[:-1]]
        left = told.probability - item.contribution
        claim(
            not here or abs(here[0][-1] - left) <= 1e-6,
            f"without {item.id} the piece {told.place[:-1]} is told to have probability {left:.6g}; really adapting "
            f"without it gives {[piece[-1] for piece in here]}",
        )
