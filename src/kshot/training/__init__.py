"""Meta-training: fit, settings, checkpoints."""

from kshot.training.fit import Run, Stopped, TrainingDivergedError, fit
from kshot.training.settings import Settings

__all__ = ["Run", "Settings", "Stopped", "TrainingDivergedError", "fit"]
