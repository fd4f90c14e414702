"""What adaptation changed inside the network: how far each layer moved, and whether it now sees differently."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kshot.encoders import normalising
from kshot.errors import DataError
from kshot.learners import Adapted, Movement
from kshot.learners.eval_mode import evaluating

_BODY = "encoder."


@dataclass(frozen=True)
class LayerChange:
    """One layer.

    Attributes:
        name: of the layer.
        relative: length of the change of its numbers over their length before, ||after - before|| / ||before||;
            infinite where they were all zero.
        similarity: linear CKA of its outputs before and after, 0..1; 1: it sees as before. None for the head.
    """

    name: str
    relative: float
    similarity: float | None


@dataclass(frozen=True)
class Changes:
    """What adapting moved.

    Attributes:
        layers: in the order of the network; empty where no number of the network moves.
        moved, numbers: how many numbers were free to move, and how many the network has.
        sizes: of each low-rank or scale-and-shift change, its length over the length of what it changes.
        text: all of it in a sentence.
    """

    layers: list[LayerChange]
    moved: int
    numbers: int
    sizes: Mapping[str, float]
    text: str


def changes(task: Adapted, inputs: Any = None) -> Changes:
    """Per layer: the relative change of its numbers, and CKA of its outputs before and after.

    Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited". CKA needs inputs that
    differ; with a handful it is near 1 for small reasons, so give some 20 or more where you have them.

    Args:
        inputs: what the layers are shown, in the form `predict` takes; by default the task's own examples.

    Raises:
        DataError: less than two inputs.

    >>> import torch, kshot
    >>> learner = kshot.learners.maml(kshot.encoders.mlp(2, (4,)), outputs=2)
    >>> found = changes(learner.adapt(torch.eye(2), ["a", "b"]))
    >>> [layer.name for layer in found.layers]
    ['layers.0', 'head']
    """
    learner = task.learner
    movement = learner.movement(task.state, task.space)
    numbers = sum(p.numel() for p in learner.parameters())
    if movement is None:
        text = (
            f"Adapting a {learner.kind} learner moves no number of the network: the examples are kept, and the "
            "answer is computed from them."
        )
        return Changes([], 0, numbers, {}, text)
    read = task.inputs if inputs is None else learner.encoder.read(inputs)
    if len(read) < 2:
        raise DataError(f"{len(read)} inputs were given; comparing layers needs at least 2")
    with torch.no_grad(), evaluating(learner):
        layers = _layers(learner.encoder, movement, learner.prepared(read))
    moved = sum(t.numel() for t in movement.moving.values())
    return Changes(layers, moved, numbers, _sizes(movement), _sentence(layers, moved, numbers))


def _layers(encoder: nn.Module, movement: Movement, x: Tensor) -> list[LayerChange]:
    before = _outputs(encoder, movement.before, x, movement.policy)
    after = _outputs(encoder, movement.after, x, movement.policy)
    out = []
    for name, members in _owners(movement.before).items():
        seen = name in before
        similarity = cka(before[name], after[name]) if seen else None
        out.append(LayerChange(name, _relative(movement, members), similarity))
    return out


def _owners(parameters: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of parameters by the layer that owns them."""
    out: dict[str, list[str]] = {}
    for name in parameters:
        out.setdefault(name.removeprefix(_BODY).rpartition(".")[0] or "itself", []).append(name)
    return out


def _relative(movement: Movement, members: list[str]) -> float:
    before = torch.cat([movement.before[name].detach().flatten() for name in members]).double()
    after = torch.cat([movement.after[name].detach().flatten() for name in members]).double()
    gap, length = float((after - before).norm()), float(before.norm())
    return gap / length if length else (float("inf") if gap else 0.0)


def _outputs(
    encoder: nn.Module, parameters: Mapping[str, Tensor], x: Tensor, policy: str
) -> dict[str, Tensor]:
    """Output of every layer, [n, numbers]."""
    own = copy.deepcopy(encoder)
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Any:
        return lambda _module, _inputs, output: kept.update({name: output.flatten(1)})

    for name, layer in own.named_modules():
        if name:
            layer.register_forward_hook(keeper(name))
    body = {name.removeprefix(_BODY): p for name, p in parameters.items() if name.startswith(_BODY)}
    with normalising(policy):
        functional_call(own, body, (x,))
    return kept


def cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of two sets of features [n, d] and [n, e] of the same n inputs, 0..1.

    >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
    >>> round(cka(x, 5 * x), 6)
    1.0
    """
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    grams = a @ a.T, b @ b.T
    lengths = float(grams[0].norm() * grams[1].norm())
    if not lengths:
        return float(torch.equal(a @ a.T, b @ b.T))
    return float((grams[0] * grams[1]).sum()) / lengths


def _sizes(movement: Movement) -> dict[str, float]:
    """Lengths of the changes that adapters make, by the parameter they change."""
    named = {key.partition(":")[2] for key in movement.moving if ":" in key}
    return {name.removeprefix(_BODY): _relative(movement, [name]) for name in sorted(named)}


def _sentence(layers: list[LayerChange], moved: int, numbers: int) -> str:
    known = [layer for layer in layers if math.isfinite(layer.relative)]
    most = max(known, key=lambda layer: layer.relative)
    seen = [layer for layer in layers if layer.similarity is not None]
    text = (
        f"{moved:,} numbers were free to move, in a network of {numbers:,}. {most.name} moved most, by "
        f"{100 * most.relative:.3g} % of its length."
    )
    if seen:
        least = min(seen, key=lambda layer: layer.similarity or 0.0)
        text += f" {least.name} now sees most differently: CKA {least.similarity:.2f}."
    return text
