"""Meta-training: fit, settings, checkpoints."""

from kshot.training.fit import fit
from kshot.training.run import Run, Stopped, TrainingDivergedError
from kshot.training.settings import Settings

__all__ = ["Run", "Settings", "Stopped", "TrainingDivergedError", "fit"]
