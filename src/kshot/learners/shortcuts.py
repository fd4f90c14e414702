"""What a learner may know to do faster, or with less: each has a default that needs none of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from kshot.errors import UnsupportedError
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace

if TYPE_CHECKING:
    from kshot.heads import Before, WithoutEach
    from kshot.heads.grouped_rows import GroupedRows
    from kshot.learners.learner import State


class Shortcuts:
    """Beside `solve` and `respond`: the same answers from what was computed before. For `Learner`."""

    if TYPE_CHECKING:

        def solve(self, support: Examples, space: OutputSpace) -> State: ...

        def respond(self, state: State, inputs: Any, space: OutputSpace) -> Any: ...

    def solve_after(self, before: Before, support: Examples, space: OutputSpace) -> State:
        """As `solve`, where some of the examples were solved before (`before.rows`); whoever can saves work by it.

        It must answer as `solve` does, within rounding. By default it is `solve`.
        """
        return self.solve(support, space)

    def respond_to_own(self, state: State, support: Examples, space: OutputSpace) -> Any:
        """As `respond` to the inputs of the support that the state was solved for, within rounding; by default `respond`."""
        return self.respond(state, support.inputs, space)

    def respond_left_out(self, state: State, support: Examples, space: OutputSpace) -> Tensor | None:
        """Scores [n, classes] for each example of the support by the state without it, within rounding, for a learner
        whose refusals go by them (see `Gauge`); None: they do not.
        """
        return None

    def kept(self, state: State, support: Examples) -> Mapping[str, np.ndarray]:
        """What of a state is small and worth storing beside the support's embeddings, as arrays in float32; empty:
        nothing. `grown` makes a state of it that answers as the whole one does, within rounding.
        """
        return {}

    def grown(self, kept: Mapping[str, np.ndarray], embedded: np.ndarray | GroupedRows) -> State:
        """A state for `respond` out of what was kept and the support's embeddings [n, ...], without solving. `np.asarray`
        makes an array of either."""
        raise UnsupportedError(f"{type(self).__name__} keeps nothing of its state; solve it again")

    def without_each(self, support: Examples, space: OutputSpace) -> WithoutEach | None:
        """The closed form of adapting without each example in turn; None where there is none.

        `support` is as for `solve`. Without a closed form tasks are adapted again, which is exact too.
        """
        return None
