"""Every registered member passes the suite that kshot ships for its family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from members import ENCODERS, LEARNERS, SOURCES, SPACES, Case

from kshot.encoders import Encoder
from kshot.tasks import TaskSource
from kshot.tasks.spaces import OutputSpace
from kshot.testing import LEARNER_CHECKS, check_encoder, check_space, check_store, check_task_source
from kshot.testing.learners import Check


@pytest.mark.parametrize("check", LEARNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", LEARNERS, ids=lambda case: case.name)
def test_learner(case: Case, check: Check) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # starting weights only
        learner = case.make()
    check(learner, case.source)


@pytest.mark.parametrize(("name", "make", "inputs"), ENCODERS, ids=[row[0] for row in ENCODERS])
def test_encoder(name: str, make: Callable[[], Encoder], inputs: Any) -> None:
    check_encoder(make(), inputs)


@pytest.mark.parametrize(("name", "make"), SOURCES, ids=[row[0] for row in SOURCES])
def test_source(name: str, make: Callable[[], TaskSource]) -> None:
    check_task_source(make(), distinct_inputs="transformed" not in name)


@pytest.mark.parametrize(("name", "space", "targets", "outputs", "wrong"), SPACES, ids=[r[0] for r in SPACES])
def test_space(name: str, space: OutputSpace, targets: Any, outputs: Any, wrong: list[Any]) -> None:
    check_space(space, targets, outputs, wrong=wrong)


def test_store(tmp_path: Path) -> None:
    check_store(tmp_path)
