"""Policies whose actions are set when they are made."""

from __future__ import annotations

from typing import Any, ClassVar

from kshot.errors import UnsupportedError
from kshot.learners import Learner
from kshot.tasks.spaces import Actions, OutputSpace


class OwnActions(Learner):
    """Base of learners that act in one space only, `space`, whatever a task's examples look like."""

    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Actions,)
    space: Actions

    def guess_space(self, targets: Any) -> OutputSpace:
        """Its own actions."""
        return self.space

    def check_space(self, space: OutputSpace) -> None:
        """Raise UnsupportedError where a task wants other actions."""
        super().check_space(space)
        if space != self.space:
            raise UnsupportedError(f"this policy acts in {self.space}; the task wants {space}")
