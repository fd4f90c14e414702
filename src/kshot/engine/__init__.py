"""How numbers move: the inner loop, step sizes, executors. Knows tensors and losses only."""

from kshot.engine.adjoint import descend_weighted
from kshot.engine.calibration import Choice, choose
from kshot.engine.calls import call
from kshot.engine.executors import EXECUTORS, FallbackWarning, accumulate
from kshot.engine.inner import descend, gradient_nodes, own_values, same_gradient
from kshot.engine.layouts import lay_out
from kshot.engine.rates import Rates, rates, rows_like
from kshot.engine.recompute import recomputing

__all__ = [
    "EXECUTORS",
    "Choice",
    "FallbackWarning",
    "Rates",
    "accumulate",
    "call",
    "choose",
    "descend",
    "descend_weighted",
    "gradient_nodes",
    "lay_out",
    "own_values",
    "rates",
    "recomputing",
    "rows_like",
    "same_gradient",
]
