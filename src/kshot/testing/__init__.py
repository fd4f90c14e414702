"""Conformance suites to run on your own learner, task source, encoder, output space or store."""

from kshot.testing.encoders import check_encoder
from kshot.testing.gradients import check_executors, check_gradient, check_meta_gradient, runs_under_vmap
from kshot.testing.learners import LEARNER_CHECKS, check_learner
from kshot.testing.model_stores import MODEL_STORE_CHECKS, check_model_store
from kshot.testing.sources import check_task_source
from kshot.testing.spaces import check_space
from kshot.testing.stores import check_store
from kshot.testing.tiny import Blobs, Lines

__all__ = [
    "LEARNER_CHECKS",
    "MODEL_STORE_CHECKS",
    "Blobs",
    "Lines",
    "check_encoder",
    "check_executors",
    "check_gradient",
    "check_learner",
    "check_meta_gradient",
    "check_model_store",
    "check_space",
    "check_store",
    "check_task_source",
    "runs_under_vmap",
]
