"""A task as one function of tensors: encoder, adapted head, probabilities, and what is unknown."""

from __future__ import annotations

import copy
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kshot.encoders.encoder import GraphInput
from kshot.errors import SettingError, UnsupportedError
from kshot.tasks.spaces import Classes, Gaussian, Numbers

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

INPUTS = ("raw", "features")


class TaskGraph(nn.Module):
    """What a task answers, as a module without state of its own; what was adapted is inside as constants.

    Outputs for classes: index of the best class [n] int64, probabilities [n, classes] float32, unknown [n] bool,
    scores [n] float32 (how well the best class fits, see `ClassPrediction.scores`). For numbers: values [n, dims], and
    deviations [n, dims] where the learner gives them.

    Args:
        inputs: "raw": what `encoder.graph_inputs` says; "features": the encoder stays outside.

    Raises:
        UnsupportedError: an encoder or learner of which no graph can be written.

    >>> import torch, kshot
    >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
    >>> TaskGraph(task)(torch.eye(2))[0].tolist()
    [0, 1]
    """

    def __init__(self, task: Adapted, inputs: str = "raw") -> None:
        super().__init__()
        if inputs not in INPUTS:
            raise SettingError(f"inputs is {inputs!r}; choose one of {', '.join(INPUTS)}")
        if not isinstance(task.space, Classes | Numbers):
            raise UnsupportedError(
                f"answers are {task.space.kind}; graphs are written of classes and numbers"
            )
        if task.learner.regime == "transductive":
            raise UnsupportedError(
                f"{type(task.learner).__name__} is transductive: an answer depends on the other inputs of its batch; "
                "make the learner with regime='inductive' and adapt again"
            )
        self.names = _outputs(task)
        self.inputs = _features(task) if inputs == "features" else task.learner.encoder.graph_inputs()
        self.raw, self.space, self.state = inputs == "raw", task.space, _solved(task.state)
        # a copy, because its modes are set and its memory is laid out anew; the base must not change
        self.learner = copy.deepcopy(task.solver).eval().requires_grad_(False)
        self.temperature, self.threshold = task.temperature, _threshold(task)
        gauge = task.gauge if task.knowledge is not None else None
        self.others, self.span = (0.0, 1.0) if gauge is None else (gauge.others, gauge.span)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        x = self._embedded(*inputs)
        outputs = self.learner.respond(self.state, x, self.space)
        if isinstance(outputs, Gaussian):
            return outputs.mean.float(), outputs.variance.sqrt().float()
        if isinstance(self.space, Numbers):
            return (outputs.float(),)
        exact = outputs.double()
        best = exact.amax(1)
        familiar = (best - self.others) / self.span
        probabilities = torch.softmax(exact / self.temperature, 1)
        unknown = familiar < max(self.threshold, -1e300)
        return outputs.argmax(1), probabilities.float(), unknown, familiar.float()

    def _embedded(self, *inputs: Tensor) -> Tensor:
        if not self.raw:
            return inputs[0]
        prepared = self.learner.encoder.from_graph(*inputs)
        weight = next((p for p in self.learner.parameters() if p.is_floating_point()), None)
        embedded: Tensor = self.learner.embed(prepared if weight is None else prepared.to(weight.dtype))
        return embedded

    def given(self, task: Adapted, count: int) -> list[Tensor]:
        """The first examples of the task as inputs of this graph."""
        if not self.raw:
            return [task.embedded[:count]]
        return task.learner.encoder.to_graph(task.inputs[:count])


def _solved(state: Any) -> Any:
    """The state with the inverse of a matrix beside it: graphs multiply, they solve no equations."""
    if not isinstance(state, dict):
        return state
    made = {name: _solved(part) for name, part in state.items()}
    if isinstance(made.get("kernel"), Tensor):
        factor = torch.linalg.cholesky(made["kernel"].double())
        made["inverse"] = torch.cholesky_inverse(factor).to(made["kernel"])
    return made


def reason(cause: BaseException) -> str:
    """The first line of the innermost cause, without colours."""
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return re.sub("\x1b\\[[0-9;]*m", "", first).strip()[:200]


def _outputs(task: Adapted) -> list[str]:
    if isinstance(task.space, Classes):
        return ["indices", "probabilities", "unknown", "scores"]
    gaussian = isinstance(task.outputs(task.embedded[:1]), Gaussian)
    return ["values", "deviations"] if gaussian else ["values"]


def _features(task: Adapted) -> list[GraphInput]:
    if task.embedded.ndim != 2 or task.learner.inner_gradient:
        raise UnsupportedError(
            f"{type(task.learner).__name__} moves numbers inside the encoder, so its head has no features to start from; "
            "export with inputs='raw'"
        )
    width = task.embedded.shape[1]
    return [GraphInput("features", (width,), task.embedded.dtype, "what task.embed(encoder.read(...)) gives")]


def _threshold(task: Adapted) -> float:
    if task.knowledge is not None and task.gauge is not None:
        return task.gauge.sureness(task.knowledge.sureness).threshold()
    return float(task.learner.threshold) if isinstance(task.space, Classes) else -math.inf


def program(task: Adapted, *, inputs: str = "raw") -> Any:
    """The task as a `torch.export.ExportedProgram`, the number of inputs free; `torch.export.save` writes it.

    Raises:
        UnsupportedError: no graph can be written of this encoder or learner.

    >>> import torch, kshot
    >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
    >>> program(task).module()(torch.eye(2)[[1, 0, 1]])[0].tolist()
    [1, 0, 1]
    """
    return traced(task, TaskGraph(task, inputs))


def traced(task: Adapted, graph: TaskGraph) -> Any:
    """As `program`, of a graph that was made."""
    count = torch.export.Dim.DYNAMIC
    given = graph.given(task, 2)
    # two of each, for one is no free number; copies, for a tensor that is also a constant confuses the tracer
    given = [torch.cat([x, x])[:2].clone() for x in given]
    free = tuple(
        {0: count, **{k + 1: count for k, n in enumerate(i.shape) if n is None}} for i in graph.inputs
    )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, tuple(given), dynamic_shapes=(free,), strict=False)
    except Exception as cause:  # whatever torch.export could not follow
        raise UnsupportedError(
            f"torch.export cannot follow {type(task.learner).__name__} on a {task.learner.encoder.kind} encoder "
            f"({reason(cause)}); serve the task by kshot serve"
        ) from cause
