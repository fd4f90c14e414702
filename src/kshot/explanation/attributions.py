"""Which parts of an input an answer hangs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kshot.errors import DataError, SettingError, UnsupportedError, need
from kshot.learners import Adapted
from kshot.learners.eval_mode import evaluating
from kshot.tasks.spaces import Classes

CAPTUM = {"integrated_gradients": "IntegratedGradients", "saliency": "Saliency"}
METHODS = ("occlusion", *CAPTUM)


@dataclass(frozen=True)
class Attribution:
    """What each part of an input did for an answer.

    Attributes:
        values: [height, width] for a picture, [features] for a row. By occlusion: by how much the probability
            of the answer falls without the part; by gradients: the part's share of the answer's score.
        label, probability: the answer.
        method: how the values were made.
    """

    values: Tensor
    label: Any
    probability: float
    method: str


def attribute(
    task: Adapted, inputs: Any, *, method: str = "occlusion", window: int | None = None
) -> Attribution:
    """Which parts of one input the answer to it hangs on.

    Occlusion covers one window of the picture after another (Zeiler and Fergus 2014, "Visualizing and
    Understanding Convolutional Networks"), or sets one feature of a row to its mean over the examples; it
    needs no gradient and no extra. Gradient methods come from Captum (pip install 'kshot[explain]').

    Args:
        inputs: one input, in the form `predict` takes.
        method: "occlusion", "integrated_gradients" (Sundararajan et al. 2017) or "saliency".
        window: side of the window in pixels; by default a seventh of the picture, at least 2.

    Raises:
        DataError: more than one input. SettingError: unknown method, or a window that does not fit.
        UnsupportedError: answers that are no classes, inputs that are neither pictures nor rows.

    >>> import torch, kshot
    >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
    >>> found = attribute(task, torch.tensor([[0.9, 0.4]]))
    >>> found.label, bool(found.values[0] > found.values[1])
    ('left', True)
    """
    if method not in METHODS:
        raise SettingError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    if not isinstance(task.space, Classes):
        raise UnsupportedError(
            f"attribute() explains a class; this task answers with {type(task.space).__name__}"
        )
    read = task.learner.encoder.read(inputs)
    if len(read) != 1:
        raise DataError(f"attribute() got {len(read)} inputs; it explains one: give inputs[:1] or [input]")
    answer = task.predict(read)
    label = answer.labels[0]
    column = task.space.labels.index(label)
    item = _tensor(read[0])
    if method == "occlusion":
        values = _occluded(task, item, column, window)
    else:
        values = _by_gradient(task, read, column, method)
    return Attribution(values, label, float(answer.probabilities[0, column]), method)


def _tensor(item: Any) -> Tensor:
    if isinstance(item, Tensor) and item.ndim in (1, 3):
        return item
    raise UnsupportedError(
        f"attribute() takes apart pictures and rows of numbers, not a {type(item).__name__}; "
        "use task.explain(input), which says what each example did"
    )


def _occluded(task: Adapted, item: Tensor, column: int, window: int | None) -> Tensor:
    if item.ndim == 1:
        return _row(task, item, column)
    height, width = item.shape[1:]
    side = window if window is not None else max(2, min(height, width) // 7)
    if not 1 <= side <= min(height, width):
        raise SettingError(
            f"window is {side} pixels; it must lie in 1..{min(height, width)}, the picture being {height} x {width}"
        )
    return _picture(task, item, column, side)


def _picture(task: Adapted, item: Tensor, column: int, side: int) -> Tensor:
    """Mean fall of the probability over all windows that cover a pixel, [height, width]."""
    height, width = item.shape[1:]
    step = max(1, side // 2)
    corners = [(y, x) for y in _starts(height, side, step) for x in _starts(width, side, step)]
    paper = _paper(item)
    covered = item.unsqueeze(0).repeat(len(corners), 1, 1, 1)
    for place, (y, x) in enumerate(corners):
        covered[place, :, y : y + side, x : x + side] = paper
    falls = _falls(task, item, covered, column)
    total, count = torch.zeros(height, width), torch.zeros(height, width)
    for (y, x), fall in zip(corners, falls.tolist(), strict=True):
        total[y : y + side, x : x + side] += fall
        count[y : y + side, x : x + side] += 1
    return total / count


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where windows begin, so that they reach both edges."""
    return sorted({*range(0, length - side + 1, step), length - side})


def _paper(item: Tensor) -> Tensor:
    """The colour of the picture's border, [channels, 1, 1]: what is there when nothing is."""
    edges = torch.cat([item[:, 0], item[:, -1], item[:, :, 0], item[:, :, -1]], 1)
    return edges.median(1).values.view(-1, 1, 1)


def _row(task: Adapted, item: Tensor, column: int) -> Tensor:
    """Fall of the probability with each feature at its mean over the examples, [features]."""
    usual = torch.stack([row.to(item) for row in task.inputs]).double().mean(0).to(item)
    changed = item.repeat(len(item), 1)
    changed[torch.arange(len(item)), torch.arange(len(item))] = usual
    return _falls(task, item, changed, column)


def _falls(task: Adapted, item: Tensor, changed: Tensor, column: int) -> Tensor:
    """Probability of the answer for the input as it is, minus that for each changed one."""
    alone = task.learner.regime == "transductive"  # there the answer to one input depends on the others
    parts = [changed[k : k + 1] for k in range(len(changed))] if alone else [changed]
    found = torch.cat([torch.as_tensor(task.predict(part).probabilities)[:, column] for part in parts])
    whole = torch.as_tensor(task.predict(item.unsqueeze(0)).probabilities)[0, column]
    return (whole - found).float()


def _by_gradient(task: Adapted, read: Any, column: int, method: str) -> Tensor:
    maker = _captum(CAPTUM[method])
    learner = task.learner

    def score(x: Tensor) -> Tensor:
        outputs: Tensor = learner.respond(task.state, learner.embed(x), task.space)[:, column]
        return outputs

    with evaluating(learner):
        x = learner.prepared(read).detach().requires_grad_()
        values: Tensor = maker(_Score(score)).attribute(x)
    values = values.detach()[0].float()
    return values.sum(0) if values.ndim == 3 else values


class _Score(torch.nn.Module):
    """A function as the module that Captum asks for."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _captum(name: str) -> Any:
    return getattr(need("captum.attr", "explain"), name)
