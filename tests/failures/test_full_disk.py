"""A full disk: the system refuses to write more (a limit on file sizes does, for real); nothing old is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import long_run
import pytest
import torch

import kshot
from kshot import storage
from kshot.errors import CheckpointError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")

PROGRAM = """
import resource, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import long_run
import torch

import kshot
from kshot.errors import BundleError, CheckpointError
from kshot.tracking import TrackingError

torch.set_num_threads(1)
folder = Path(sys.argv[2])


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def refused(error, what, call):
    try:
        call()
    except error as refusal:
        print(what, type(refusal).__name__, str(refusal).replace(chr(10), " "))
    else:
        print(what, "was not refused")


task = kshot.load(folder / "task.kshot")
bigger = task.add(torch.rand(100, 4), ["a", "b"] * 50)
limit(1000)
refused(BundleError, "task", lambda: bigger.save(folder / "task.kshot"))
refused(BundleError, "new", lambda: bigger.save(folder / "new.kshot"))
limit(2000)
refused(CheckpointError, "checkpoint", lambda: long_run.train(folder / "run", "mlp"))
limit(10)
refused(TrackingError, "log", lambda: long_run.train(folder / "fresh", "mlp"))
"""


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    base = kshot.learners.ProtoNet(kshot.encoders.identity(4))
    task = base.adapt(torch.rand(2, 4), ["a", "b"])
    before = task.save(tmp_path / "task.kshot", include_base=True).read_bytes()
    with pytest.raises(kshot.training.Stopped):
        long_run.train(tmp_path / "run", "mlp", "SIGINT", 7)
    run_before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}

    here = str(Path(long_run.__file__).parent)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, here, str(tmp_path)],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    said = ran.stdout.splitlines()
    assert [line.split()[:2] for line in said] == [
        ["task", "BundleError"], ["new", "BundleError"], ["checkpoint", "CheckpointError"], ["log", "TrackingError"],
    ]  # fmt: skip
    assert all("File too large" in line and "free space" in line for line in said)
    assert "nothing was changed" in said[0]

    assert (tmp_path / "task.kshot").read_bytes() == before
    assert kshot.load(tmp_path / "task.kshot").ids == task.ids
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    assert after["checkpoint.kshot"] == run_before["checkpoint.kshot"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh", "run", "task.kshot"]
    assert sorted(p.name for p in (tmp_path / "fresh").iterdir()) == ["log.jsonl"]
    # with space again, the run goes on to the very same end
    resumed = long_run.train(tmp_path / "run", "mlp")
    assert long_run.numbers(resumed) == long_run.numbers(long_run.train(None, "mlp"))
    assert long_run.logged(tmp_path / "run") == [5, 10, 14]


def test_a_folder_that_cannot_be_is_an_error_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(kshot.errors.KshotError, match=r"cannot be (written|read)"):
        long_run.train(tmp_path / "file" / "run", "mlp")
    assert storage.peek(tmp_path / "file") is None


def test_a_checkpoint_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.kshot").mkdir()
    with pytest.raises(CheckpointError, match="cannot be used"):
        long_run.train(tmp_path, "mlp")
