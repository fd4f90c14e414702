"""The transfer-learning baseline: one classifier over all training classes, then a new head per task.

Chen et al. (2019), "A Closer Look at Few-shot Classification"; Tian et al. (2020), "Rethinking
Few-Shot Image Classification: a Good Embedding Is All You Need?".
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.engine import call, descend, rates
from kshot.errors import DataError, SettingError
from kshot.heads import RidgeHead
from kshot.learners.learner import Learner, Movement
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes, OutputSpace

PROBES = ("logistic", "ridge", "fine_tune")
_ABSENT = -1e4
"""Score of a class without examples, which a probe cannot know."""


class Transfer(Learner):
    """Pretrained by cross entropy over all training classes, adapted by a probe on the features.

    Train it by `kshot.fit` on `kshot.data.Flat`: tasks with an empty support and queries of all classes.

    Args:
        encoder: gives the features.
        classes: how many training classes there are (`len(pool.classes)`).
        probe: "logistic" (logistic regression on features of length 1, Tian et al.), "ridge" (closed form,
            on the same), or "fine_tune" (gradient steps on a new head and the body, Chen et al.).
        strength: of the logistic regression, C: larger fits the examples more closely.
        steps, rate: of fine-tuning.

    >>> import torch, kshot
    >>> learner = Transfer(kshot.encoders.identity(2), classes=10)
    >>> learner.adapt(torch.eye(2), ["a", "b"]).predict(torch.eye(2)).labels
    ['a', 'b']
    """

    kind: ClassVar[str] = "transfer"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes,)

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        probe: str = "logistic",
        *,
        strength: float = 1.0,
        steps: int = 100,
        rate: float = 0.01,
    ) -> None:
        super().__init__(encoder)
        if probe not in PROBES:
            raise SettingError(f"probe is {probe!r}; choose one of {', '.join(PROBES)}")
        if classes < 2 or steps < 1 or not strength > 0:
            raise SettingError(
                f"classes is {classes}, steps {steps}, strength {strength}; "
                "give 2 classes or more, at least 1 step, and a strength above 0"
            )
        self.classes, self.probe, self.strength, self.steps, self.rate = classes, probe, strength, steps, rate
        self.rates = rates("fixed", rate)
        self.classifier = nn.Linear(encoder.features, classes)
        self.ridge = RidgeHead().requires_grad_(False)

    def config(self) -> dict[str, Any]:
        names = ("classes", "probe", "strength", "steps", "rate")
        return {name: getattr(self, name) for name in names}

    def embed(self, prepared: Tensor) -> Tensor:
        """Features; for fine-tuning the inputs themselves, because the body moves."""
        return prepared if self.probe == "fine_tune" else super().embed(prepared)

    def loss(self, task: Task) -> Tensor:
        """Cross entropy of the pretraining classifier on the query; a support is not looked at."""
        outputs, targets = self._classified(task)
        return task.space.loss(outputs, targets)

    def answer(self, task: Task) -> tuple[Any, Any]:
        """As for every learner; a task without support asks for the training classes themselves."""
        flat = task.support is not None and len(task.support) == 0
        return self._classified(task) if flat else super().answer(task)

    def _classified(self, task: Task) -> tuple[Tensor, Tensor]:
        if task.query is None:
            raise DataError(f"task {task.name!r} has no query; pretraining needs labelled examples there")
        if task.space.size != self.classes:
            raise SettingError(
                f"the task has {task.space.size} classes, the pretraining classifier {self.classes}; train on "
                "kshot.data.Flat(pool) with Transfer(encoder, classes=len(pool.classes))"
            )
        return self.classifier(self.encoder(task.query.inputs)), task.query.targets

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """A head's "weight" [classes, features] and "bias" [classes]; fine-tuned, the body's numbers too."""
        if self.probe == "fine_tune":
            return self._fine_tuned(support, space)
        features = F.normalize(support.inputs, dim=1)
        if self.probe == "ridge":
            weights = self.ridge.solve(features, support.targets, space.size)["weights"]
            return {"weight": weights[:-1].T, "bias": weights[-1]}
        weight, bias = logistic(features, support.targets, space.size, self.strength)
        return {"weight": weight.to(features), "bias": bias.to(features)}

    def _fine_tuned(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        x, size = support.inputs, space.size
        start: dict[str, Tensor] = {f"encoder.{name}": p for name, p in self.encoder.named_parameters()}
        start["weight"] = x.new_zeros(size, self.encoder.features)
        start["bias"] = x.new_zeros(size)

        def loss(moving: dict[str, Tensor], _: int) -> Tensor:
            return space.loss(self._moved(moving, x), support.targets)

        return descend(loss, start, steps=self.steps, rates=self.rates, order=0)[0]

    def movement(self, state: dict[str, Tensor], space: OutputSpace) -> Movement | None:
        if self.probe != "fine_tune":
            return None
        before: dict[str, Tensor] = {f"encoder.{name}": p for name, p in self.encoder.named_parameters()}
        after = {name: state[name] for name in before}
        for name in ("weight", "bias"):
            before[f"head.{name}"], after[f"head.{name}"] = torch.zeros_like(state[name]), state[name]
        return Movement(before, after, state)

    def _moved(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        body = {k.removeprefix("encoder."): t for k, t in state.items() if k.startswith("encoder.")}
        return F.linear(call(self.encoder, body, inputs), state["weight"], state["bias"])

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        if self.probe == "fine_tune":
            return self._moved(state, inputs)
        return F.linear(F.normalize(inputs, dim=1), state["weight"], state["bias"])


def logistic(features: Tensor, targets: Tensor, size: int, strength: float) -> tuple[Tensor, Tensor]:
    """Weights [size, d] and bias [size] of scikit-learn's multinomial logistic regression, in float64.

    A class that does not occur in `targets` gets a score far below all others.
    """
    # loaded here: it costs half a second, and most learners never need it
    from sklearn.linear_model import LogisticRegression

    weight = torch.zeros(size, features.shape[1], dtype=torch.float64)
    bias = torch.full((size,), _ABSENT, dtype=torch.float64)
    present = torch.unique(targets).cpu()
    bias[present] = 0.0
    if len(present) > 1:
        model = LogisticRegression(C=strength, tol=1e-9, max_iter=5000)  # as good as order-free
        model.fit(features.detach().double().cpu().numpy(), targets.cpu().numpy())
        coefficients, intercepts = model.coef_, model.intercept_
        if len(present) == 2:  # one row for two classes: half to each
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight[present], bias[present] = torch.from_numpy(coefficients), torch.from_numpy(intercepts)
    return weight, bias
