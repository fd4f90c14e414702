"""Trust: what a base knows about its own answers."""

from kshot.trust.calibration import calibrate
from kshot.trust.differences import Difference, Differences, diff
from kshot.trust.drift import Alarm, Watch
from kshot.trust.label_next import Settled, Suggestion, Suggestions, next_to_label, settled
from kshot.trust.label_spreading import spread_labels
from kshot.trust.martingale import Martingale
from kshot.trust.readapting import Readapted
from kshot.trust.refusal import Separation, separation
from kshot.trust.self_training import Refinement, with_unlabelled

__all__ = [
    "Alarm",
    "Difference",
    "Differences",
    "Martingale",
    "Readapted",
    "Refinement",
    "Separation",
    "Settled",
    "Suggestion",
    "Suggestions",
    "Watch",
    "calibrate",
    "diff",
    "next_to_label",
    "separation",
    "settled",
    "spread_labels",
    "with_unlabelled",
]
