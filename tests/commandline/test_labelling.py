"""kshot suggest: which inputs to label next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.learners import ProtoNet


@pytest.fixture
def task(tmp_path: Path) -> Path:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
    taught = ProtoNet(kshot.encoders.identity(2)).adapt(x, ["left", "left", "right", "right"])
    return taught.save(tmp_path / "t.kshot", include_base=True)


def call(*words: object, code: int = 0) -> tuple[dict[str, Any], str]:
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    assert result.exit_code == code, result.output
    return (json.loads(result.stdout.strip().splitlines()[-1]) if not code else {}), result.output


def test_the_least_sure_rows_are_named(task: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.npy"
    np.save(pool, np.array([[0.0, 0.0], [0.2, 0.0], [2.1, 0.5], [3.9, 0.0]]))
    found, said = call("suggest", task, pool, "--count", 1)
    assert found["names"] == [f"{pool}:3"]
    assert found["kshot"] == 1
    assert found["skipped"] == 1
    assert "between 'right'" in said
    assert "1 of 4 inputs equal an example" in said


def test_more_than_there_are_is_an_error(task: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", np.zeros((2, 2)))
    assert "count is 3, the pool holds 2" in call("suggest", task, tmp_path / "pool.npy", "-n", 3, code=2)[1]
