"""Every error of kshot, by whose fault it is.

    KshotError
    ├── UserError (a ValueError)      the caller can mend it; a server answers 4xx
    │   ├── DataError                 examples, files, labels
    │   ├── TaskError                 ways, shots, splits: a task that cannot be made
    │   ├── SettingError              a setting outside its range
    │   ├── BundleError               a saved file that cannot be trusted or does not fit
    │   ├── CheckpointError           a training folder that does not fit
    │   └── RegressionError           a change that breaks a golden check, where that is refused
    ├── UnsupportedError              this learner or encoder cannot do that, by its nature
    └── MissingExtraError (an ImportError)   an optional package is not installed

Each message names the value, the rule and the fix, in this order.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class KshotError(Exception):
    """Base of all errors raised by kshot on purpose."""


class UserError(KshotError, ValueError):
    """The caller gave something that breaks a rule and can mend it."""


class DataError(UserError):
    """Examples, files or labels that cannot be used."""


class TaskError(UserError):
    """A task that cannot be made from what there is."""


class SettingError(UserError):
    """A setting outside its range."""


class BundleError(UserError):
    """A saved learner or task that is damaged, too new, or belongs to another base."""


class CheckpointError(UserError):
    """A training folder that does not belong to this run."""


class RegressionError(UserError):
    """A change would make golden examples wrong; `examples` tells which. Nothing was changed."""

    def __init__(self, message: str, examples: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.examples = examples


class UnsupportedError(KshotError):
    """This learner, encoder or space cannot do that, by its nature."""


class MissingExtraError(KshotError, ImportError):
    """An optional package is needed and not installed."""


class InputWarning(UserWarning):
    """Inputs do not look like what the base was trained on."""


class RegressionWarning(UserWarning):
    """A change made golden examples wrong; `examples` tells which."""

    def __init__(self, message: str, examples: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.examples = examples


def callers_level() -> int:
    """The `stacklevel` at which a warning names the line outside kshot that led to it.

    Python shows a warning once for each line that it names, so one of our own lines would hide all but the first.

    >>> callers_level() > 0
    True
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kshot":
        frame, level = frame.f_back, level + 1
    return level


def need(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    >>> need("json", "vision").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise MissingExtraError(
            f"'{module}' is not installed; this part of kshot needs it. Install it with: "
            f"pip install 'kshot[{extra}]'"
        ) from cause
