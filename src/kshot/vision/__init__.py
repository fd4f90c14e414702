"""Vision: sources, encoders and recipes for images."""

from kshot.vision.omniglot import Splits, omniglot

__all__ = ["Splits", "omniglot"]
