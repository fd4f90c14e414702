"""kshot teaches software by example: meta-train once, then learn a task from a handful of examples.

>>> import torch, kshot
>>> base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
>>> task = base.adapt(torch.eye(2), ["left", "right"])
>>> task.predict(torch.eye(2)).labels
['left', 'right']
"""

from typing import TYPE_CHECKING, Any

from kshot import control, data, encoders, heads, learners, tasks, text, vision
from kshot.bundles import load
from kshot.evaluation import Report, evaluate
from kshot.learners import Adapted, Learner
from kshot.tasks import Examples, Task
from kshot.training import Run, Settings, fit
from kshot.tuning import choose

if TYPE_CHECKING:
    from kshot.estimators import FewShotClassifier, FewShotRegressor

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


def __getattr__(name: str) -> Any:
    """The estimators when they are asked for: scikit-learn takes a second to import."""
    if name in ("FewShotClassifier", "FewShotRegressor"):
        from kshot import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'kshot' has no attribute {name!r}")
