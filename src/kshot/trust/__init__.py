"""Trust: what a base knows about its own answers."""

from kshot.trust.calibration import calibrate

__all__ = ["calibrate"]
