"""kshot teaches software by example: meta-train once, then learn a task from a handful of examples.

>>> import torch, kshot
>>> base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
>>> task = base.adapt(torch.eye(2), ["left", "right"])
>>> task.predict(torch.eye(2)).labels
['left', 'right']
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kshot import control, data, encoders, heads, learners, tasks, text, vision
    from kshot.bundles import load
    from kshot.estimators import FewShotClassifier, FewShotRegressor
    from kshot.evaluation import Report
    from kshot.evaluation.evaluate import evaluate
    from kshot.learners import Adapted, Learner
    from kshot.tasks import Examples, Task
    from kshot.training import Run, Settings
    from kshot.training.fit import fit
    from kshot.tuning.choose import choose

__version__ = "0.1.0"

__all__ = [
    "Adapted",
    "Examples",
    "FewShotClassifier",
    "FewShotRegressor",
    "Learner",
    "Report",
    "Run",
    "Settings",
    "Task",
    "choose",
    "control",
    "data",
    "encoders",
    "evaluate",
    "fit",
    "heads",
    "learners",
    "load",
    "tasks",
    "text",
    "vision",
]


_HOMES = {
    "Adapted": "learners", "Examples": "tasks", "FewShotClassifier": "estimators", "FewShotRegressor": "estimators",
    "Learner": "learners", "Report": "evaluation", "Run": "training", "Settings": "training", "Task": "tasks",
    "choose": "tuning", "evaluate": "evaluation", "fit": "training", "load": "bundles",
}  # fmt: skip
"""Where the names that are no modules live."""


def __getattr__(name: str) -> Any:
    """Names and modules when they are asked for: torch takes more than a second to import, and `kshot --help` needs none
    of it."""
    if name in _HOMES:
        found = getattr(import_module(f"kshot.{_HOMES[name]}"), name)
    elif not name.startswith("_") and find_spec(f"kshot.{name}") is not None:
        found = import_module(f"kshot.{name}")
    else:
        raise AttributeError(f"module 'kshot' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
