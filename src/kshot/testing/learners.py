"""The learner's contract as a list of checks, in the manner of scikit-learn's check_estimator."""

from __future__ import annotations

from collections.abc import Callable

from kshot.learners import Learner
from kshot.tasks import TaskSource
from kshot.testing.answers import (
    check_config,
    check_learns,
    check_no_leak,
    check_other_way_and_shot,
    check_queries_apart,
    check_refusals,
    check_saving,
)
from kshot.testing.gradients import check_executors, check_meta_gradient
from kshot.testing.values import (
    check_add,
    check_evidence,
    check_learner_unchanged,
    check_remove,
    check_threads,
)

Check = Callable[[Learner, TaskSource], None]


def check_exact_gradient(learner: Learner, source: TaskSource) -> None:
    """The meta-gradient equals finite differences under both executors; first-order learners are let off."""
    if getattr(learner, "order", 2) < 2:
        return  # what first-order MAML and Reptile follow is no gradient of their loss, by design
    for executor in ("loop", "vmap"):
        check_meta_gradient(learner, source, executor=executor)


LEARNER_CHECKS: tuple[Check, ...] = (
    check_learner_unchanged,
    check_threads,
    check_add,
    check_remove,
    check_evidence,
    check_other_way_and_shot,
    check_queries_apart,
    check_no_leak,
    check_learns,
    check_exact_gradient,
    check_executors,
    check_config,
    check_saving,
    check_refusals,
)
"""All checks of a learner, to parametrise tests by."""


def check_learner(learner: Learner, source: TaskSource) -> None:
    """Run the whole contract of `kshot.Learner` on a learner of your own.

    Args:
        learner: untrained or trained; copies of it are used, itself stays as it is.
        source: tasks that it can answer, small ones.

    Raises:
        AssertionError: a rule is broken; the sentence says which.

    >>> import kshot
    >>> from kshot.testing import Blobs
    >>> check_learner(kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,))), Blobs())
    """
    for check in LEARNER_CHECKS:
        check(learner, source)
