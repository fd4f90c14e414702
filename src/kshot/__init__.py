"""kshot teaches software by example: meta-train once, then learn a task from a handful of examples.

>>> import torch, kshot
>>> base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
>>> task = base.adapt(torch.eye(2), ["left", "right"])
>>> task.predict(torch.eye(2)).labels
['left', 'right']
"""

from kshot import data, encoders, heads, learners, tasks, vision
from kshot.bundles import load
from kshot.evaluation import Report, evaluate
from kshot.learners import Adapted, Learner
from kshot.tasks import Examples, Task
from kshot.training import Run, Settings, fit

__version__ = "0.1.0"

__all__ = [
    "Adapted",
    "Examples",
    "Learner",
    "Report",
    "Run",
    "Settings",
    "Task",
    "data",
    "encoders",
    "evaluate",
    "fit",
    "heads",
    "learners",
    "load",
    "tasks",
    "vision",
]
