"""A folder belongs to one run: other settings, learner, encoder or data are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.data import Episodes, Pool
from kshot.errors import CheckpointError
from kshot.learners import Learner
from kshot.tasks import NWayKShot, VariableWayShot
from kshot.training.checkpoint import differences
from kshot.training.identity import identity


def source(shift: float = 0.0, classes: int = 8, shots: int = 1, each: int = 4) -> Episodes:
    rng = torch.Generator().manual_seed(0)
    rows = torch.rand(classes * each, 4, generator=rng) + shift
    return Episodes(Pool(rows, [i // each for i in range(len(rows))], "rows"), NWayKShot(3, shots, 1))


def learner(width: int = 8, head: str = "prototype") -> Learner:
    return kshot.learners.ClosedForm(kshot.encoders.mlp(4, (width,)), head)


def train(folder: Path, start: Learner | None = None, **changes: Any) -> kshot.Run:
    train_on = changes.pop("source", None) or source()
    settings = {"steps": 2, "validate_every": 1, "validation_tasks": 2, "progress": False, **changes}
    return kshot.fit(start or learner(), train_on, folder=folder, **settings)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"steps": 3}, "settings.steps is 2 there, 3 here"),
    "seed": ({"seed": 1}, "settings.seed is 0 there, 1 here"),
    "learner": ({"start": learner(head="ridge")}, "learner.head is 'prototype' there, 'ridge' here"),
    "encoder": ({"start": learner(width=9)}, r"encoder.hidden is \[8\] there, \[9\] here"),
    "inputs": ({"source": source(shift=0.1)}, "train.pool.inputs is 'float32"),
    "size": ({"source": source(each=5)}, "train.pool.examples is 32 there, 40 here"),
    "classes": ({"source": source(classes=9)}, "train.pool.*classes is 8 there, 9 here"),
    "shots": ({"source": source(shots=2)}, "train.sampler.shots is 1 there, 2 here"),
    "validation": ({"validate": source()}, "validate is None there"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_of_another_run_names_what_differs(what: str, tmp_path: Path) -> None:
    train(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    changes, message = OTHERS[what]
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path, **changes)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_another_random_start_resumes_all_the_same(tmp_path: Path) -> None:
    """A script that does not seed its encoder can be run again: the checkpoint holds the weights."""
    first = train(tmp_path)
    again = train(tmp_path, start=learner())
    pairs = zip(first.learner.state_dict().values(), again.learner.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_identities_are_plain_and_do_not_read_files() -> None:
    class Files(list[int]):
        def __getitem__(self, place: Any) -> Any:
            raise AssertionError("a file was opened")

    lazy = Episodes(Pool(Files(range(8)), [0, 0, 0, 0, 1, 1, 1, 1]), VariableWayShot(2, 2))
    known = identity(kshot.data.Mixed([lazy, source()], [1, 3]))
    assert known["weights"] == [1.0, 3.0]
    assert known["sources"][0]["sampler"]["min_ways"] == 2
    assert "inputs" not in known["sources"][0]["pool"]
    assert "0x" not in str(identity(Episodes(source().pool, NWayKShot(3, 1, 1), transform=lambda x, _: x)))
    assert identity(source()) == identity(source())
    assert identity(source().pool.inputs.bfloat16()) != identity(source().pool.inputs)


def test_differences_are_listed_up_to_five() -> None:
    text = differences({str(k): k for k in range(9)}, {str(k): -k for k in range(9)})
    assert text.count(";") == 4
