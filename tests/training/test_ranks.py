"""Several processes train as one does: the same weights, one checkpoint, and nobody waits for a process that left."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import in_two_processes as script
import pytest
import torch

from kshot.data import Episodes, Pool, Streamed
from kshot.tasks import NWayKShot
from kshot.training.ranks import Ranks


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes says, started as a user would."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, script.__file__, str(folder)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(f.name for f in (folder / "whole").iterdir()) == [
        "checkpoint.kshot",
        "learner.kshot",
        "log.jsonl",
    ]
    assert len((folder / "whole" / "log.jsonl").read_text().splitlines()) == 3
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_end_where_one_does(told: list[dict[str, Any]]) -> None:
    run, made = script.train(None)
    expected = torch.tensor(script.numbers(run))
    for own in told:
        torch.testing.assert_close(torch.tensor(own["numbers"]), expected, rtol=0, atol=1e-5)
    assert told[0]["numbers"] == told[1]["numbers"]
    names = ("step", "loss", "validation_accuracy")
    for one, other in zip(told[0]["history"], run.history, strict=True):
        assert [one[n] for n in names] == pytest.approx([other[n] for n in names], abs=1e-5)
    assert [own["made"] for own in told] == [made // 2, made // 2]  # each drew its own share alone


def test_one_asked_to_stop_stops_all_and_they_go_on_together(told: list[dict[str, Any]]) -> None:
    for own in told:
        assert "stopped at step 4 of 12" in own["stopped"]
        assert "saved at step 4" in own["stopped"]
        assert own["resumed"]


def test_what_cannot_be_shared_is_refused_in_every_process(told: list[dict[str, Any]]) -> None:
    for rank, own in enumerate(told):
        shared, other = own["refused"]
        assert "meta_batch is 3 on 2 processes" in shared
        assert "meta_batch=4" in shared
        assert f"process {rank} was given another training than process 0" in other
    assert "settings.seed is 0 there, 1 here" in told[1]["refused"][1]


@pytest.mark.parametrize("workers", [0, 1])
def test_shares_of_a_streamed_source_are_the_tasks_of_one_process(workers: int) -> None:
    pool = Pool(torch.arange(24.0).reshape(12, 2), [i // 3 for i in range(12)])

    def source() -> Streamed:
        return Streamed(Episodes(pool, NWayKShot(2, 1, 1)), workers=workers)

    whole, rng = source(), torch.Generator().manual_seed(0)
    every = [task for _ in range(3) for task in Ranks().draw(whole, 4, rng)]
    for rank in range(2):
        own, rng = source(), torch.Generator().manual_seed(0)
        share = [task for _ in range(3) for task in Ranks(rank, 2).draw(own, 4, rng)]
        for mine, theirs in zip(share, every[rank::2], strict=True):
            assert torch.equal(mine.query.inputs, theirs.query.inputs)
        own.close()
    whole.close()
