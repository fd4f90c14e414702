"""Killed or stopped runs go on to the very same end, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import long_run
import pytest

import kshot
from kshot.errors import CheckpointError
from kshot.training import Stopped, checkpoint

PROGRAM = str(Path(long_run.__file__))


def run_program(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("kind", ["conv4", "mlp"])
def test_a_run_killed_between_checkpoints_ends_in_the_same_parameters(kind: str, tmp_path: Path) -> None:
    ended = run_program(tmp_path, kind, "SIGKILL", 8, 1)
    assert ended.returncode == -signal.SIGKILL
    at_death = checkpoint.storage.peek(tmp_path / checkpoint.NAME)
    assert at_death is not None
    assert at_death["progress"]["step"] == 5  # it died in step 8, after the validation at 5
    resumed = long_run.train(tmp_path, kind)
    assert long_run.numbers(resumed) == long_run.numbers(long_run.train(None, kind))
    assert long_run.logged(tmp_path) == [5, 10, 14]


@pytest.mark.parametrize("kind", ["conv4", "mlp", "dropping"])
def test_a_run_stopped_by_ctrl_c_again_and_again_ends_in_the_same_parameters(
    kind: str, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    stops = []
    for name in ("SIGINT", "SIGTERM", "SIGINT"):
        with pytest.raises(
            Stopped, match=r"saved at step \d+: run the same command again to go on from"
        ) as stopped:
            long_run.train(tmp_path, kind, name, 3)
        stops.append(str(stopped.value).split()[3])
    assert stops == ["3", "6", "9"]
    assert signal.getsignal(signal.SIGINT) == before
    resumed = long_run.train(tmp_path, kind)
    assert long_run.numbers(resumed) == long_run.numbers(long_run.train(None, kind))
    assert long_run.logged(tmp_path) == [5, 10, 14]


def test_ctrl_c_in_the_step_before_a_validation_does_not_lose_the_validation(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="stopped at step 5"):
        long_run.train(tmp_path, "mlp", "SIGINT", 5)
    resumed = long_run.train(tmp_path, "mlp")
    assert long_run.numbers(resumed) == long_run.numbers(long_run.train(None, "mlp"))
    assert long_run.logged(tmp_path) == [5, 10, 14]


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="stopped at step 7 of 14; saved at step 5"):
        long_run.train(tmp_path, "conv4", "SIGINT", 8, 2)
    resumed = long_run.train(tmp_path, "conv4")
    assert long_run.numbers(resumed) == long_run.numbers(long_run.train(None, "conv4"))


def test_ctrl_c_without_a_folder_says_that_nothing_was_kept() -> None:
    with pytest.raises(Stopped, match="nothing was kept: give folder="):
        long_run.train(None, "mlp", "SIGINT", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT there")
def test_a_script_stopped_by_ctrl_c_ends_with_one_line_and_a_failure(tmp_path: Path) -> None:
    ended = run_program(tmp_path, "mlp", "SIGINT", 3, 1)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"stopped at step 3 of 14; saved at step 3: run the same command again to go on from {tmp_path}"
    ]
    progress = kshot.storage.read(tmp_path / checkpoint.NAME)[0]["progress"]
    assert (progress["step"], progress["count"], progress["history"]) == (3, 3, [])
    assert progress["cpu"] > 0


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    first = long_run.train(tmp_path, "conv4")
    again = long_run.train(tmp_path, "conv4", "SIGKILL", 1)  # would die if it drew a single batch
    assert long_run.numbers(first) == long_run.numbers(again)
    assert first.history == again.history
    assert first.best is not None
    assert again.best is not None
    assert first.best.values == again.best.values
    loaded = kshot.load(tmp_path / "learner.kshot")
    assert long_run.fingerprint(loaded) == long_run.numbers(first)[0]


def test_the_log_is_mended_after_a_kill(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        long_run.train(tmp_path, "mlp", "SIGINT", 8)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 10, "loss": 1.0}) + '\n{"step": 14, "lo')
    (tmp_path / ".kshot-part-0123").write_bytes(b"half a checkpoint")
    long_run.train(tmp_path, "mlp")
    assert long_run.logged(tmp_path) == [5, 10, 14]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.kshot", "learner.kshot", "log.jsonl"]


def test_a_log_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 5, "loss": 1.0}\n')  # killed before its first checkpoint
    long_run.train(tmp_path, "mlp")
    assert long_run.logged(tmp_path) == [5, 10, 14]


def test_a_damaged_checkpoint_says_so_and_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        long_run.train(tmp_path, "mlp", "SIGINT", 3)
    path = tmp_path / checkpoint.NAME
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"cannot be used.*use another folder"):
        long_run.train(tmp_path, "mlp")
    assert path.read_bytes() == damaged
