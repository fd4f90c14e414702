"""`choose`: which learner suits this task, by leave-one-out on its own examples, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from kshot.encoders import Encoder, VectorEncoder
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes
from kshot.tuning.candidates import ADAPTERS
from kshot.tuning.choice import Candidate, Choice
from kshot.tuning.rows import choose_for_rows
from kshot.tuning.search import Search


def choose(
    inputs: Any,
    targets: Any = None,
    *,
    base: Learner | None = None,
    encoders: Mapping[str, Encoder] = MappingProxyType({}),
    others: Mapping[str, Learner] = MappingProxyType({}),
    adapters: Sequence[str] = tuple(ADAPTERS),
    budget: float = 30.0,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Choice:
    """Compare what could learn this task on the task's own examples, and adapt the best.

    Heads are compared by exact leave-one-out, in milliseconds, on features that are made once. Then adapters (FiLM,
    LoRA, fine-tuning) start from the encoder's weights, the cheap ones first, as long as the budget lasts: each is
    adapted in rounds that leave a fifth of every class out (or one example a class, where there are fewer than
    five), and its log-loss on those is compared with the best head's on the same examples. It is taken only where
    it is better by more than the 95 % interval of that difference. With one example a class nothing can be left
    out: the base's own head is taken, and the reason says so.

    Args:
        inputs, targets: examples and their labels, as for `adapt`; or an `Examples`.
        base: a meta-trained learner. None: inputs are rows [n, features], and columns are scaled as they need it.
        encoders: further encoders to compare, by name; each must take the same inputs.
        others: further learners to compare, by name.
        adapters: names of ADAPTERS to try; () for none.
        budget: seconds. Heads are always judged; what does not fit any more is listed as skipped.
        ids: a name per example. seed: shuffles the rounds. clock: tells the seconds.

    Raises:
        SettingError: the budget is not above 0, or an adapter is unknown.
        DataError: a single class, no examples, or examples that cannot be read.
        UnsupportedError: targets are numbers.

    Leave-one-out for choosing: Stone (1974), "Cross-validatory choice and assessment of statistical predictions".

    >>> import torch, kshot
    >>> rows = torch.cat([torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) + k for k in (0, 3)])
    >>> found = kshot.choose(rows, ["low"] * 6 + ["high"] * 6)
    >>> found.task.predict(torch.full((1, 4), 3.0)).labels
    ['high']
    """
    _settings(budget, adapters)
    if isinstance(inputs, Examples):
        inputs, targets = inputs.inputs, inputs.targets
    if targets is None:
        raise DataError("no targets were given; choose(inputs, targets) needs one label per input")
    start = clock()
    base, space, why = _default(base, inputs, targets)
    task = base.adapt(inputs, targets, space=space, ids=ids)
    if int(torch.bincount(space.encode(targets)).amax()) < 2:
        return _unjudged(task, why)
    search = Search(task, space, seed, lambda: budget - (clock() - start), clock)
    search.heads(encoders)
    search.expensive(adapters, others)
    return search.choice()


def _settings(budget: float, adapters: Sequence[str]) -> None:
    if not budget > 0:
        raise SettingError(f"budget is {budget} seconds; give a number above 0, for example 30")
    unknown = sorted(set(adapters) - set(ADAPTERS))
    if unknown:
        raise SettingError(f"adapter {unknown[0]!r} is not known; choose from {', '.join(ADAPTERS)}")


def _default(base: Learner | None, inputs: Any, targets: Any) -> tuple[Learner, Classes, str]:
    """The learner that is taken when nothing can be judged, and what to call it."""
    space = _classes(targets)
    if base is not None:
        return base, space, "the base's own way"
    encoder = _rows_encoder(inputs)
    rows = encoder.prepare(encoder.read(inputs)).double()
    Examples(rows, targets)
    found = choose_for_rows(rows, space.encode(targets), space.size)
    return found.learner, space, f"{found.head} on rows scaled by {found.scaling!r}"


def _classes(targets: Any) -> Classes:
    if getattr(getattr(targets, "dtype", None), "is_floating_point", False) or any(
        isinstance(t, float) and not float(t).is_integer() for t in list(targets)
    ):
        raise UnsupportedError(
            f"targets are numbers such as {next(iter(targets))}; choose() compares classifiers: "
            "use kshot.FewShotRegressor for numbers"
        )
    return Classes.of(targets)


def _rows_encoder(inputs: Any) -> VectorEncoder:
    from kshot.encoders import identity

    try:
        shape = list(inputs.shape if hasattr(inputs, "shape") else torch.as_tensor(inputs).shape)
    except (TypeError, ValueError, RuntimeError):
        shape = []
    if len(shape) != 2 or not shape[1]:
        raise DataError(
            f"inputs have shape {shape}; without a base, choose() takes rows [n, features]: give "
            "base=kshot.load(...) for pictures"
        )
    return identity(shape[1])


def _unjudged(task: Adapted, why: str) -> Choice:
    reason = (
        f"Each of the {len(task.ids)} classes has one example, so none can be left out and "
        f"nothing can be estimated; taken is {why}, which suits such tasks on average."
    )
    return Choice(task, "base", (Candidate("base", "base", note="taken: nothing to judge by"),), reason)
