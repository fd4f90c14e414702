"""What an answer hangs on: planted evidence is found, by every method."""

from __future__ import annotations

import pytest
import torch

from kshot import encoders, learners
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.explanation import attribute, attribution_map
from kshot.explanation.attributions import METHODS
from kshot.learners import Adapted
from kshot.seeds import generator


def picture(where: str) -> torch.Tensor:
    x = torch.zeros(1, 16, 16)
    top, left = {"top": (2, 2), "bottom": (10, 10)}[where]
    x[:, top : top + 4, left : left + 4] = 1
    return x


@pytest.fixture
def task() -> Adapted:
    torch.manual_seed(0)
    learner = learners.ProtoNet(encoders.conv4(8, size=16, blocks=1))
    return learner.adapt(torch.stack([picture("top"), picture("bottom")]), ["top", "bottom"])


def test_occlusion_finds_the_square(task: Adapted) -> None:
    found = attribute(task, picture("top").unsqueeze(0), window=4)
    assert (found.label, found.values.shape) == ("top", (16, 16))
    y, x = divmod(int(found.values.argmax()), 16)
    assert 2 <= y < 6
    assert 2 <= x < 6
    assert found.values[8:, 8:].abs().max() < found.values.max() / 4


@pytest.mark.parametrize("method", [m for m in METHODS if m != "occlusion"])
def test_gradients_find_the_square(task: Adapted, method: str) -> None:
    pytest.importorskip("captum")
    # dimmed: at an example itself the score is at its maximum, and its gradient is zero
    found = attribute(task, 0.7 * picture("top").unsqueeze(0), method=method)
    assert found.values.shape == (16, 16)
    assert found.values.abs().sum() > 0
    inside = found.values[1:7, 1:7].abs().sum()
    assert inside > 0.5 * found.values.abs().sum()


def test_occlusion_of_bytes_is_as_of_floats(task: Adapted) -> None:
    x = picture("bottom").unsqueeze(0)
    one, other = attribute(task, x), attribute(task, (255 * x).to(torch.uint8)[:, 0])
    assert torch.allclose(one.values, other.values, atol=1e-5)


def test_a_row_hangs_on_the_feature_that_differs() -> None:
    rng = generator(0)
    x = 0.1 * torch.randn(10, 3, generator=rng)
    x[::2, 1] += 3
    task = learners.ClosedForm(encoders.identity(3), "ridge").adapt(x, ["up", "down"] * 5)
    found = attribute(task, x[:1])
    assert int(found.values.abs().argmax()) == 1
    assert "colour" in attribution_map(x[0], found, names=["size", "colour", "age"])


def test_a_transductive_learner_is_asked_one_by_one() -> None:
    learner = learners.maml(encoders.conv4(8, size=16, blocks=2), outputs=2, regime="transductive")
    task = learner.adapt(torch.stack([picture("top"), picture("bottom")]), ["top", "bottom"])
    x = picture("top").unsqueeze(0)
    found = attribute(task, x, window=16)
    covered = float(task.predict(torch.zeros(1, 1, 16, 16)).probabilities[0, 1])
    whole = float(task.predict(x).probabilities[0, 1])
    sign = 1 if found.label == task.space.labels[1] else -1
    assert float(found.values[0, 0]) == pytest.approx(sign * (whole - covered), abs=1e-5)


def test_bad_asks(task: Adapted) -> None:
    x = picture("top").unsqueeze(0)
    with pytest.raises(SettingError, match="'grad'; choose one of occlusion"):
        attribute(task, x, method="grad")
    with pytest.raises(SettingError, match="window is 17"):
        attribute(task, x, window=17)
    with pytest.raises(DataError, match="got 2 inputs"):
        attribute(task, x.repeat(2, 1, 1, 1))
    line = learners.ClosedForm(encoders.identity(1), "ridge").adapt(torch.eye(2)[:, :1], [0.5, 1.5])
    with pytest.raises(UnsupportedError, match="explains a class"):
        attribute(line, torch.zeros(1, 1))
