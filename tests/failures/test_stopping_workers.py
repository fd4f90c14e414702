"""Ctrl-C on a terminal reaches the worker processes too; the run still ends its step and saves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import long_run
import pytest

from kshot.training import checkpoint

PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import long_run, kshot, torch
from pathlib import Path

torch.set_num_threads(1)
start, shape, changes = long_run.learner("conv4")


class Interrupting(kshot.data.Streamed):
    draws = 0

    def sample(self, generator):
        self.draws += 1
        if self.draws == 4:
            os.killpg(0, signal.SIGINT)  # as a terminal does: to every process of the group
        return super().sample(generator)


source = Interrupting(long_run.episodes(shape, range(12)), workers=1, prefetch=1)
kshot.fit(start, source, validate=long_run.episodes(shape, range(12, 20)), folder=Path(sys.argv[2]), steps=14,
          validate_every=5, validation_tasks=4, rate=0.01, progress=False, **changes)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_ctrl_c_with_worker_processes_saves(tmp_path: Path) -> None:
    here = str(Path(long_run.__file__).parent)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, here, str(tmp_path)],
        capture_output=True, text=True, timeout=200, check=False, start_new_session=True,
    )  # fmt: skip
    assert ran.stderr.splitlines() == [
        f"stopped at step 4 of 14; saved at step 4: run the same command again to go on from {tmp_path}"
    ]
    assert ran.returncode == 1
    manifest = checkpoint.storage.peek(tmp_path / checkpoint.NAME)
    assert manifest is not None
    assert manifest["progress"]["step"] == 4
