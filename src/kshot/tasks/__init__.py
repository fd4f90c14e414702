"""What a task is: examples, output spaces, samplers. No files, no network."""

from kshot.tasks.examples import Examples
from kshot.tasks.samplers import ClassDraw, NWayKShot, Sampler, VariableWayShot
from kshot.tasks.task import InteractiveTask, Policy, Task, TaskSource, sample_batch

__all__ = [
    "ClassDraw",
    "Examples",
    "InteractiveTask",
    "NWayKShot",
    "Policy",
    "Sampler",
    "Task",
    "TaskSource",
    "VariableWayShot",
    "sample_batch",
]
