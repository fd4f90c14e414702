"""Meta-training: fit, settings, checkpoints."""

from kshot.training.fit import fit
from kshot.training.learn_on import LearnedOn, Move, learn_on
from kshot.training.ranks import processes, speaks
from kshot.training.run import Run, Stopped, TrainingDivergedError
from kshot.training.saved_tasks import SavedTasks
from kshot.training.settings import Settings

__all__ = [
    "LearnedOn",
    "Move",
    "Run",
    "SavedTasks",
    "Settings",
    "Stopped",
    "TrainingDivergedError",
    "fit",
    "learn_on",
    "processes",
    "speaks",
]
