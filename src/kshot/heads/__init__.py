"""Closed-form heads (mechanism A): exact, milliseconds, no gradient steps."""

from kshot.heads.bayesian import BayesianLinearHead
from kshot.heads.head import Before, Head, squared_distances
from kshot.heads.kernel_ridge import KernelRidgeHead
from kshot.heads.lda import LDAHead
from kshot.heads.prototype import PrototypeHead
from kshot.heads.ridge import RidgeHead
from kshot.heads.without_each import WithoutEach

HEADS: dict[str, type[Head]] = {
    head.kind: head for head in (PrototypeHead, RidgeHead, KernelRidgeHead, LDAHead, BayesianLinearHead)
}
"""All heads by the name they are saved under."""

__all__ = [
    "HEADS",
    "BayesianLinearHead",
    "Before",
    "Head",
    "KernelRidgeHead",
    "LDAHead",
    "PrototypeHead",
    "RidgeHead",
    "WithoutEach",
    "squared_distances",
]
