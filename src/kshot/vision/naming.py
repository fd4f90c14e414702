"""The states of a detector whose head is `kshot.vision.patches.Patches`: what it keeps of a support, and without each
of its pictures. Boxes are apart from one another, so that a box left out is one that is no longer looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kshot.learners.learner import State
from kshot.learners.localiser import Where
from kshot.vision.patches import Patches


def named_by_parts(head: Patches, vectors: Tensor, labels: Tensor) -> State:
    """The state for marked boxes [n, d] with labels [n]. Distances to parts are comparable between classes as they are,
    without a level for each."""
    present, places = torch.unique(labels, return_inverse=True)
    solved = head.solve(vectors, places, len(present))
    return {
        "present": present, "levels": vectors.new_zeros(len(present)), **{f"head/{k}": t for k, t in solved.items()}
    }  # fmt: skip


def with_strangers(head: Patches, state: State) -> State:
    """The state, with the parts of what is marked as none of the classes (its "aside") to be looked up as a class is."""
    aside = state["aside"]
    if not len(aside):
        return state
    solved = head.solve(aside, torch.zeros(len(aside), dtype=torch.long, device=aside.device), 1)
    return {**state, **{f"strange/{k}": t for k, t in solved.items()}}


def refused_by_parts(head: Patches, state: State, constant: Tensor, vectors: Tensor) -> Tensor:
    """The score [m, 1] of being none of the classes: a constant [m, 1], more near what is marked as none of them."""
    strange = {k.removeprefix("strange/"): t for k, t in state.items() if k.startswith("strange/")}
    return torch.logaddexp(constant, head.respond(strange, vectors)) if strange else constant


def looked_up(head: Patches, states: Sequence[State], vectors: Tensor) -> list[State]:
    """The states with how near these vectors [m, d] are to the parts that they share: once for all of them."""
    found, parts, near = list[State](), None, torch.zeros(0)
    for state in states:
        if state["head/parts"] is not parts:
            parts = state["head/parts"]
            near = head.distances({"parts": parts, "owner": state["head/owner"]}, vectors)
        found.append({**state, "head/near": near})
    return found


def without_each_by_parts(
    head: Patches, whole: State, rows: Sequence[Tensor], looks: Sequence[Tensor], wheres: Sequence[Where]
) -> list[State | None] | None:
    """The states without each picture in turn, that share the parts of the whole: its boxes belong to no class there.

    Args:
        whole: the state of all. rows, looks: boxes of each picture, and what they look like. wheres: see `Located`.

    Returns:
        None where it cannot be told so: boxes that are marked as none of the classes, or so many boxes of
        a class that not all are looked up.
    """
    labels = torch.cat([own[:, -1] for own in rows]).long()
    if bool((labels < 0).any()):
        return None
    present, places = torch.unique(labels, return_inverse=True)
    order = head.looked_up(torch.cat(list(looks)), places, len(present))
    if len(order) < len(labels):
        return None
    picture = torch.cat([torch.full((len(own),), n) for n, own in enumerate(rows)]).to(order.device)[order]
    return [_without(whole, picture == n, where) for n, where in enumerate(wheres)]


def _without(whole: State, left_out: Tensor, where: Where) -> State | None:
    """The state without these boxes [n]."""
    kept = whole["head/owner"].masked_fill(left_out, -1)
    classes = torch.unique(kept[kept >= 0])
    if not len(classes):
        return None
    owner = torch.where(kept >= 0, torch.searchsorted(classes, kept), -1)
    told = {f"where/{k}": t for k, t in where.items()}
    present, levels = whole["present"][classes], whole["levels"][classes]
    return {**whole, "head/owner": owner, "present": present, "levels": levels, **told}
