"""On a GPU every member keeps its contract and answers as on a processor; where there is none nothing of this is tried."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from members import ENCODERS, LEARNERS, Case

import kshot
from kshot.encoders import Encoder
from kshot.learners import save_learner
from kshot.testing import LEARNER_CHECKS, check_encoder
from kshot.testing.claims import near
from kshot.testing.learners import Check
from kshot.testing.values import adapted, answers, draw

if not torch.cuda.is_available():
    pytest.skip("needs a GPU: all that learns is untested on one here", allow_module_level=True)


def made(case: Case) -> kshot.Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # starting weights only
        return case.make()


@pytest.mark.parametrize("check", LEARNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", LEARNERS, ids=lambda case: case.name)
def test_contract(case: Case, check: Check) -> None:
    check(made(case).to("cuda"), case.source)


@pytest.mark.parametrize(("name", "make", "inputs"), ENCODERS, ids=[row[0] for row in ENCODERS])
def test_encoder(name: str, make: Callable[[], Encoder], inputs: Any) -> None:
    check_encoder(make().to("cuda"), inputs)


@pytest.mark.parametrize("case", LEARNERS, ids=lambda case: case.name)
def test_answers_as_on_a_processor(case: Case) -> None:
    learner = made(case).double().eval()
    task, support, query = draw(case.source)[0]
    here, there = (adapted(one, task, support) for one in (learner, copy.deepcopy(learner).to("cuda")))
    assert near(answers(here, query.inputs), answers(there, query.inputs), 1e-6)


@pytest.mark.parametrize("case", LEARNERS, ids=lambda case: case.name)
def test_trains_saves_and_comes_back_to_a_processor(case: Case, tmp_path: Path) -> None:
    run = kshot.fit(made(case).to("cuda"), case.source, steps=2, meta_batch=2, progress=False)
    save_learner(run.learner, tmp_path / "base.kshot")
    task, support, query = draw(case.source)[0]
    here = kshot.load(tmp_path / "base.kshot")
    assert {p.device.type for p in here.parameters()} == {"cpu"}
    assert {p.device.type for p in run.learner.parameters()} == {"cuda"}
    told = (answers(adapted(one.double().eval(), task, support), query.inputs) for one in (here, run.learner))
    assert near(*told, 1e-6)
    assert kshot.evaluate(here, case.source, tasks=2).mean == pytest.approx(
        kshot.evaluate(run.learner, case.source, tasks=2).mean, abs=1e-4
    )
