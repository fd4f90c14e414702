"""What moves: by name, at the start nothing has changed, and only what was chosen moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from kshot import encoders
from kshot.adaptation import norm_parameters, subset
from kshot.encoders.norms import NORMS
from kshot.errors import SettingError
from kshot.learners import GradientLearner
from kshot.testing import Blobs

SPECS = ["full", "head", "body", "bias", "film", "lora", "lora:1"]


def learner(moves: str, norm: str = "batch", **more: object) -> GradientLearner:
    body = encoders.conv4(8, norm=norm, size=8, blocks=2)
    return GradientLearner(body, **{"outputs": 3, "moves": moves, "steps": 2, "rate": 0.5, **more})


def parameters(made: GradientLearner) -> dict[str, Tensor]:
    return dict(made.named_parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_starts_where_the_base_is(spec: str) -> None:
    """Before any step the adapted parameters are the base's own."""
    made = learner(spec)
    chosen, own = subset(spec), parameters(made)
    after = chosen.apply(own, chosen.initial(own, made.norms))
    assert after.keys() == own.keys()
    assert all(torch.equal(after[name], own[name]) for name in own)


def moves_by(spec: str) -> Callable[[str, nn.Module], bool]:
    return {
        "full": lambda name, _: True,
        "head": lambda name, _: name.startswith("head."),
        "body": lambda name, _: not name.startswith("head."),
        "bias": lambda name, _: name.startswith("head.") or name.endswith("bias"),
        "film": lambda name, m: name.startswith("head.") or name in norm_parameters(m.encoder, "encoder."),
        "lora": lambda name, m: name.startswith("head.") or m.get_parameter(name).ndim >= 2,
        "lora:1": lambda name, m: name.startswith("head.") or m.get_parameter(name).ndim >= 2,
    }[spec]


@pytest.mark.parametrize("spec", SPECS)
def test_only_what_was_chosen_moves(spec: str) -> None:
    made = learner(spec, norm="group")
    task = made.prepare(Blobs(shape=(1, 8, 8)).sample(torch.Generator().manual_seed(0)))
    own = parameters(made)
    assert task.support is not None
    state = made.solve(task.support, task.space)
    after = made.subset.apply(own, state.moving)
    moved = {name for name in own if not torch.equal(after[name], own[name])}
    expected = {name for name in own if moves_by(spec)(name, made)}
    assert moved <= expected
    # a convolution's bias has no gradient of its own in front of a norm over one channel only; here all move
    assert moved == expected
    assert all(torch.equal(p, own[name]) for name, p in parameters(made).items())


def test_lora_changes_have_low_rank() -> None:
    made = learner("lora:2", norm="none", steps=3)
    task = made.prepare(Blobs(shape=(1, 8, 8)).sample(torch.Generator().manual_seed(0)))
    assert task.support is not None
    after = made.subset.apply(parameters(made), made.solve(task.support, task.space).moving)
    name = "encoder.layers.1.0.weight"
    change = (after[name] - made.get_parameter(name)).flatten(1)
    assert torch.linalg.matrix_rank(change.detach().double(), rtol=1e-4) == 2


def test_lora_starts_alike_for_every_task_under_vmap() -> None:
    """A draw inside vmap would give each task a start of its own, and other results than the loop."""
    chosen, values = subset("lora:2"), {"encoder.w": torch.ones(3, 5)}
    chosen.initial(values, frozenset())  # as a learner does when it is made
    starts = vmap(lambda scale: chosen.initial({"encoder.w": scale * values["encoder.w"]}, frozenset()))(
        torch.ones(4)
    )["lora.a:encoder.w"]
    first = starts[0] if starts.ndim == 3 else starts
    assert torch.equal(starts.expand(4, 2, 5), first.expand(4, 2, 5))
    assert torch.equal(first, subset("lora:2").initial(values, frozenset())["lora.a:encoder.w"])


@pytest.mark.parametrize("norm", NORMS)
def test_film_finds_the_norms(norm: str) -> None:
    if norm == "none":
        with pytest.raises(SettingError, match="has none"):
            learner("film", norm)
        return
    moving = learner("film", norm).subset.initial(
        parameters(learner("film", norm)), learner("film", norm).norms
    )
    assert sum(name.startswith("film:") for name in moving) == 4  # scale and shift of two norm layers


@pytest.mark.parametrize("spec", ["all", "lora:", "lora:x", "head:3", ""])
def test_unknown_subsets_are_refused(spec: str) -> None:
    if spec == "lora:":
        assert subset(spec).spec() == "lora:4"  # no rank: the default
        return
    with pytest.raises(SettingError, match="choose one of full, head, body, bias, film, lora"):
        subset(spec)


def test_rank_zero_is_refused() -> None:
    with pytest.raises(SettingError, match="rank is 0"):
        subset("lora:0")


@pytest.mark.parametrize("spec", SPECS)
def test_spec_round_trip(spec: str) -> None:
    assert subset(subset(spec).spec()).spec() == subset(spec).spec()
