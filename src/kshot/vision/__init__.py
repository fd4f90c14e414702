"""Vision: sources, encoders and recipes for images."""

from kshot.vision.omniglot import Splits, omniglot
from kshot.vision.one_shot_runs import OneShotRuns, hausdorff
from kshot.vision.photos import CentreCrop, TrainingCrop

__all__ = ["CentreCrop", "OneShotRuns", "Splits", "TrainingCrop", "hausdorff", "omniglot"]
