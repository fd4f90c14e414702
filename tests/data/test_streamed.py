"""Tasks made ahead in workers: the same ones, in bounded memory."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import kshot
from kshot import data
from kshot.data import Episodes, Streamed
from kshot.errors import DataError, SettingError
from kshot.tasks import NWayKShot, Task
from kshot.vision import TrainingCrop


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of four JPEGs of differing sizes."""
    root, noise = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for c in range(4):
        (root / f"class{c}").mkdir()
        for i in range(4):
            levels = noise.integers(0, 256, (40 + 3 * i, 50, 3)) // 2 + 30 * c
            Image.fromarray(levels.astype(np.uint8)).save(root / f"class{c}" / f"{i}.jpg")
    return root


def episodes(root: Path) -> Episodes:
    return Episodes(data.folder(root), NWayKShot(3, 1, 2), TrainingCrop(16))


def same(a: Task, b: Task) -> bool:
    assert a.support is not None
    assert b.support is not None
    assert a.query is not None
    assert b.query is not None
    return (
        torch.equal(a.support.inputs, b.support.inputs)
        and torch.equal(a.query.inputs, b.query.inputs)
        and (list(a.support.targets), a.space) == (list(b.support.targets), b.space)
    )


def test_workers_change_nothing_and_the_generator_is_the_whole_state(photos: Path) -> None:
    here, there = Streamed(episodes(photos), workers=0), Streamed(episodes(photos), workers=2)
    one, two = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    for step in range(6):
        assert same(here.sample(one), there.sample(two))
        if step == 2:
            kept = two.get_state()
    assert torch.equal(one.get_state(), two.get_state())
    resumed, again = torch.Generator(), Streamed(episodes(photos), workers=1)
    resumed.set_state(kept)
    replay = torch.Generator()
    replay.set_state(kept)
    for _ in range(3):  # a new process resumes; the old one is asked out of order
        assert same(again.sample(resumed), there.sample(replay))
    assert torch.equal(resumed.get_state(), two.get_state())
    there.close()
    again.close()


def test_tasks_of_one_generator_differ(photos: Path) -> None:
    source, generator = Streamed(episodes(photos), workers=0), torch.Generator().manual_seed(0)
    assert not same(source.sample(generator), source.sample(generator))


def test_two_generators_in_turn_get_their_own_tasks(photos: Path) -> None:
    source = Streamed(episodes(photos), workers=1)
    plain = Streamed(episodes(photos), workers=0)
    left, right = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    expected = [plain.sample(torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert same(source.sample(left), expected[0])
    assert same(source.sample(right), expected[1])
    source.close()


def test_global_randomness_is_not_touched(photos: Path) -> None:
    source = Streamed(episodes(photos), workers=1)
    before = torch.get_rng_state()
    source.sample(torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    source.close()


def test_an_unreadable_file_is_said_by_the_worker_in_plain_words(photos: Path, tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / c).mkdir()
        (tmp_path / c / "bad.png").write_text("text")
        (tmp_path / c / "worse.png").write_text("text")
    source = Streamed(Episodes(data.folder(tmp_path), NWayKShot(2, 1, 1)), workers=1)
    with pytest.raises(
        DataError, match=r"\.png cannot be read as an image .* 4 of 4 files cannot be read"
    ) as caught:
        source.sample(torch.Generator())
    assert "Traceback" not in str(caught.value)


def test_settings_are_checked_and_using_reaches_the_source(photos: Path) -> None:
    with pytest.raises(SettingError, match="workers is -1"):
        Streamed(episodes(photos), workers=-1)
    task = Streamed(episodes(photos), workers=0).using(ways=2).sample(torch.Generator())
    assert task.space.size == 2


class _Wide(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """20 classes of 50 pictures of 12 MB, 12 GB in all, made when asked for."""

    targets = tuple(i // 50 for i in range(1000))

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return torch.full((3, 2000, 2000), place % 256, dtype=torch.uint8), place // 50


def _shrink(pictures: list[Tensor], generator: torch.Generator) -> Tensor:
    return torch.stack([p[:, ::100, ::100] for p in pictures])


def _peak() -> int:
    """Peak memory of this process in KB; rusage would also tell that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def stream_much() -> None:
    """In a process of its own: memory must not grow with what has passed through."""
    source = Streamed(
        Episodes(data.dataset(_Wide()), NWayKShot(5, 1, 1), lambda p, g: _shrink(p, g)), workers=1, prefetch=2
    )
    generator = torch.Generator().manual_seed(0)
    source.sample(generator)
    start = _peak()
    for _ in range(6):  # 60 pictures: 720 MB
        source.sample(generator)
    grown = _peak() - start
    source.close()
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sys.stdout.write(f"{grown // 1024} {(child - start) // 1024}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
def test_memory_stays_bounded_however_much_passes_through() -> None:
    code = "import test_streamed; test_streamed.stream_much()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    main, worker = map(int, done.stdout.split())
    assert main < 60  # MB beyond the first task
    assert worker < 350  # MB beyond the process that started it: one task of ten pictures is 120


@pytest.mark.slow
def test_fit_over_a_stream_equals_fit_over_its_tasks_made_in_the_same_process(photos: Path) -> None:
    learner = kshot.learners.ProtoNet(kshot.encoders.conv4(4, size=16, channels=3))
    runs = [
        kshot.fit(learner, Streamed(episodes(photos), workers=w), steps=3, meta_batch=2, progress=False)
        for w in (0, 1)
    ]
    states = [run.learner.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
