"""What is given to a task: checked, named, put in order and encoded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError, InputWarning, callers_level
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Embedded, Learner
from kshot.tasks.examples import joined
from kshot.tasks.spaces import Classes, OutputSpace, Pieces


def like(embedded: Embedded, encoded: Any) -> Any:
    """Encoded targets on the device of the embeddings, numbers also in their type."""
    if isinstance(encoded, list):
        return [like(embedded, item) for item in encoded]
    if not isinstance(encoded, Tensor) or not len(embedded):
        return encoded
    first = embedded if isinstance(embedded, Tensor) else embedded[0]
    return encoded.to(first.device, first.dtype if encoded.is_floating_point() else encoded.dtype)


def embed_read(learner: Learner, read: Any, check: bool = False) -> Embedded:
    """Embeddings of inputs that the encoder has read; unfamiliar ones among the first (with `check`, any) are warned of."""
    parts, step = [], learner.encoder.chunk
    with torch.no_grad(), evaluating(learner):
        for start in range(0, max(len(read), 1), step):
            prepared = learner.prepared(read[start : start + step])
            if check or start == 0:
                warn_unfamiliar(learner, prepared)
            parts.append(learner.embed(prepared))
    return joined(parts)


def warn_unfamiliar(learner: Learner, prepared: Embedded) -> None:
    """Warn when inputs lie far outside what the base was trained on (its range, per statistic, and a quarter more)."""
    if not learner.seen.numel() or not len(prepared):
        return
    low, high = learner.seen
    middle = learner.encoder.profile(prepared).median(0).values.to(low)
    reach = (high - low).clamp(min=1e-6)
    outside = torch.maximum(low - middle, middle - high) / reach
    worst = int(outside.argmax())
    if float(outside[worst]) > 0.25:
        warnings.warn(
            f"these inputs do not look like what the base was trained on (statistic {worst} of the encoder's profile "
            f"is {float(middle[worst]):.3g}, in training it ran from {float(low[worst]):.3g} to "
            f"{float(high[worst]):.3g}); expect weak answers: bring them into the base's form (bright on dark, "
            "for example), or use a base trained on such inputs",
            InputWarning,
            stacklevel=callers_level(),
        )


def fresh_ids(
    ids: Sequence[str] | None, count: int, taken: tuple[str, ...], aside: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Names for `count` new examples: the given ones, or the next numbers that are free.

    Raises:
        DataError: another number of names, or one that is in use or kept aside.
    """
    if ids is None:
        numbers = [int(name[1:]) for name in (*taken, *aside) if name[:1] == "e" and name[1:].isdigit()]
        first = max(numbers, default=-1) + 1
        return tuple(f"e{first + k}" for k in range(count))
    names = tuple(str(name) for name in ids)
    if len(names) != count:
        raise DataError(f"{len(names)} ids came with {count} examples; give one id per example")
    seen, kept = set(taken), set(aside)
    for name in names:
        if name in seen:
            raise DataError(f"id {name!r} is used twice; every example needs an id of its own")
        if name in kept:
            raise DataError(
                f"id {name!r} belongs to an example kept aside; restore({name!r}) it, forget({name!r}) it, or "
                "choose another id"
            )
        seen.add(name)
    return names


def single(inputs: Any, modality: str) -> Any:
    """One input, also where the caller indexed it out of a batch."""
    axes = (1, 2) if modality == "image" else (1,)
    if isinstance(inputs, Tensor | np.ndarray) and inputs.ndim in axes:
        return inputs[None]
    return inputs


def some(read: Any) -> None:
    """Raise DataError where nothing was given."""
    if len(read) == 0:
        raise DataError("0 examples were given; adapting needs at least one example per class")


def each_class(space: OutputSpace, targets: Any) -> None:
    """Raise DataError unless there are two classes or more, each with an example; pieces are told from the rest of
    their input, so one label is enough for them."""
    if isinstance(space, Pieces) and not any(piece[-1] is not None for pieces in targets for piece in pieces):
        raise DataError(
            f"{len(targets)} examples with 0 labelled pieces were given; mark at least one piece and give its label"
        )
    if not isinstance(space, Classes):
        return
    if len(space.labels) < 2:
        raise DataError(
            f"the classes are {list(space.labels)}; telling apart needs at least two: give examples of another class"
        )
    without = set(space.labels) - set(Classes.of(targets).labels)
    if without:
        raise DataError(
            f"class {sorted(map(str, without))[0]!r} has 0 examples; each class needs at least one: "
            "give an example of it, or leave the class out"
        )


def space_of(space: OutputSpace, targets: Any) -> OutputSpace:
    """`space` for these targets: classes that occur, in the order that adapting to them afresh gives.

    An order of the caller's own stays, with new classes behind, so that removing an example never
    shuffles the rows of a trained head.
    """
    if isinstance(space, Pieces):
        return space.of_those(targets)
    if not isinstance(space, Classes):
        return space
    found = Classes.of(targets)
    if list(space.labels) == sorted(space.labels):
        return found
    kept = [label for label in space.labels if label in found.labels]
    return Classes((*kept, *(label for label in found.labels if label not in kept)))


def plain(target: Any) -> Any:
    """A target as a Python value: a label, a number or a list of numbers."""
    return target.tolist() if hasattr(target, "tolist") else target
