"""What people see: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys

import pytest
import torch

import kshot

PROGRAM = """
import time, torch, kshot
torch.set_num_threads(1)
pool = kshot.data.Pool(torch.rand(40, 4), [i // 4 for i in range(40)])
source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(3, 1, 1))
class Slow:
    def sample(self, generator):
        time.sleep(0.03)
        return source.sample(generator)
kshot.fit(kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,))), Slow(), validate=source,
          steps=24, meta_batch=2, validate_every=10, validation_tasks=3)
"""
LINE = (
    r"Epoch {}/3  task {}/48  train loss \d+\.\d{{4}}  validation loss \d+\.\d{{4}}  "
    r"validation accuracy \d\.\d{{4}} \+- \d\.\d{{4}}  \d+:\d\d left"
)

CHOICE = r"executor (loop|threads|vmap): .*loop \d\S* ms.* a task, median of 3.*"


def small() -> tuple[kshot.Learner, kshot.data.Episodes]:
    pool = kshot.data.Pool(torch.rand(40, 4), [i // 4 for i in range(40)])
    source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(3, 1, 1))
    return kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,))), source


def test_elsewhere_there_is_a_plain_line_per_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    learner, source = small()
    kshot.fit(learner, source, validate=source, steps=24, meta_batch=2, validate_every=10, validation_tasks=3)
    out, said = capfd.readouterr()
    assert out == ""
    assert "\x1b" not in said
    expected = [CHOICE, *(LINE.format(*at) for at in [(1, 20), (2, 40), (3, 48)])]
    for line, pattern in zip(said.splitlines(), expected, strict=True):
        assert re.fullmatch(pattern, line)


def test_without_validation_the_line_has_the_train_loss(capfd: pytest.CaptureFixture[str]) -> None:
    learner, source = small()
    kshot.fit(learner, source, steps=2)
    assert re.fullmatch(r"Epoch 1/1  task 2/2  train loss \d+\.\d{4}  0:00 left\n", capfd.readouterr().err)


def test_nothing_is_said_when_nothing_is_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    learner, source = small()
    kshot.fit(learner, source, validate=source, steps=2, validation_tasks=3, progress=False)
    assert capfd.readouterr() == ("", "")


def test_long_epochs_speak_up_in_between(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.training.progress._QUIET", 0.0)
    learner, source = small()
    kshot.fit(learner, source, steps=3)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["task 1/3", "task 2/3", "task 3/3", "task 3/3"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_on_a_terminal_there_is_a_bar_with_the_time_left() -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with an error
        while select.select([ours], [], [], 100)[0]:
            part = os.read(ours, 65536)
            if not part:
                break
            said += part
    os.close(ours)
    assert program.wait(20) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())
    assert "\x1b[" in said.decode()
    assert re.search(r"Epoch \d/3  task \d+/48  train loss \d\.\d{4} [━╸╺ ]+ \d:\d\d:\d\d", plain)
    for at in [(1, 20), (2, 40), (3, 48)]:
        assert re.search(LINE.format(*at), plain)
