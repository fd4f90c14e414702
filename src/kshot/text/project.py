"""A contrastive low-rank projection of cached features, learned on one task's examples.

x becomes x + B A x, scaled to length 1 again. The loss is that of `kshot.text.tune`: each example asked of its class mean
without it, among all means, in batches drawn anew at each step; so no pairs are listed (SetFit, Tunstall et al. 2022, lists
them all) and memory grows with the number of examples. Nothing is encoded again: the features are the cached ones.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.bundles import make_encoder
from kshot.encoders.encoder import tensor_bytes
from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.seeds import generator
from kshot.tasks.spaces import Classes
from kshot.text.classifier import TextClassifier
from kshot.text.texts import FrozenText, TextEncoder, Tokens
from kshot.text.tune import Tuned, batch_of, contrast, gains, log_loss

if TYPE_CHECKING:
    from jaxtyping import Float

_DECAY = 0.01


class ProjectedText(FrozenText):
    """Another encoder's features, moved by a low-rank map and scaled to length 1; they are that encoder's cached ones.

    Args:
        inner: the encoder, or its {"kind", "config"} in a saved file. rank: of the map; zero at first.
    """

    kind: ClassVar[str] = "text_projected"

    def __init__(self, inner: TextEncoder | dict[str, Any], rank: int = 16) -> None:
        super().__init__()
        made = inner if isinstance(inner, TextEncoder) else make_encoder(inner)
        if not isinstance(made, TextEncoder):
            raise SettingError(
                f"inner takes {made.modality} inputs; a projection of texts needs one for texts"
            )
        self.inner, self.rank, self.features = made, whole("rank", rank), made.features
        start = torch.randn(self.rank, self.features, generator=generator(0, "project", "start"))
        self.a = nn.Parameter(start / math.sqrt(self.features), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(self.features, self.rank), requires_grad=False)

    def config(self) -> dict[str, Any]:
        return {"inner": {"kind": self.inner.kind, "config": self.inner.config()}, "rank": self.rank}

    def fingerprint(self) -> str:
        """SHA-256 over the inner encoder's and the map."""
        digest = hashlib.sha256(f"{self.kind} {self.inner.fingerprint()}".encode())
        for tensor in (self.a, self.b):
            digest.update(f"{tuple(tensor.shape)}".encode() + tensor_bytes(tensor))
        return digest.hexdigest()

    def moved(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Features as the map makes them."""
        return F.normalize(x + x @ self.a.T @ self.b.T, dim=1)

    def compute(self, texts: list[str]) -> Float[Tensor, "n d"]:
        with torch.no_grad():
            return self.moved(self.inner.encode(texts))

    def tokens(self, texts: Any) -> list[Tokens]:
        with torch.no_grad():
            return [Tokens(self.moved(own.features), own.offsets) for own in self.inner.tokens(texts)]


def project(
    task: Adapted,
    *,
    rank: int = 16,
    steps: int = 60,
    rate: float = 1e-3,
    batch: int = 512,
    folds: int = 5,
    trial: bool = True,
    seed: int = 0,
) -> Tuned:
    """Learn a low-rank projection of the task's cached features; it is kept only where examples left out gain by it.

    In the trial every example of a class with several is left out once, in folds; the projection is learned without it,
    and kept where the mean log-loss over all of them falls, with and without each at its best temperature, so that mere
    sharpness counts for nothing, and where no fewer are answered right. The task's base does not change.

    Args:
        rank: of the map. steps, rate, batch: gradient steps (AdamW), their size, and examples in one.
        folds: parts that are left out in turn. trial: False keeps the projection untried.

    Raises:
        UnsupportedError: the task's base is no `TextClassifier`, or it answers with no classes.
        SettingError: a setting outside its range.

    >>> import kshot
    >>> x = ["my card", "a card", "the rate", "a rate"]
    >>> found = kshot.text.project(kshot.text.classifier().adapt(x, ["card", "card", "rate", "rate"]))
    >>> found.task.predict(["rate"]).labels, found.kept == (found.after < found.before and found.right_after >= found.right_before)
    (['rate'], True)
    """
    learner = task.learner
    if not isinstance(learner, TextClassifier) or not isinstance(task.space, Classes):
        raise UnsupportedError(
            f"the task's base is a {type(learner).__name__} that answers with {task.space.kind}; features are projected "
            "for classes of a kshot.text.classifier"
        )
    if not rate > 0:
        raise SettingError(f"rate is {rate}; give a number above 0, for example 0.001")
    sizes = {"rank": whole("rank", rank), "steps": whole("steps", steps), "batch": whole("batch", batch, 2)}
    start = time.process_time()
    encoder = learner.encoder
    assert isinstance(encoder, TextEncoder)
    x, labels = F.normalize(encoder.encode(list(task.inputs)), dim=1), list(task.targets)
    figures = (float("nan"),) * 4
    if trial:
        figures = _left_out(task, x, labels, whole("folds", folds, 2), rate, seed, sizes)
    kept = not trial or gains(figures)
    after = task
    if kept:
        after = task.rebase(learner.on(_learned(encoder, x, labels, rate, seed, **sizes))).task
    return Tuned(after, kept, *figures, steps, time.process_time() - start)


def _learned(
    encoder: TextEncoder, x: Tensor, labels: Sequence[Any], rate: float, seed: int, *, rank: int, steps: int, batch: int
) -> ProjectedText:  # fmt: skip
    """The encoder's projection, learned on features [n, d]."""
    made = ProjectedText(encoder, rank)
    classes, draw = Classes.of(labels).encode(labels), generator(seed, "project", "batches")
    moving = [made.a.requires_grad_(True), made.b.requires_grad_(True)]
    steepest = torch.optim.AdamW(moving, rate, weight_decay=_DECAY)
    for step in range(steps):
        for group in steepest.param_groups:
            group["lr"] = rate * (1 - step / steps)
        places = batch_of(classes, batch, draw)
        steepest.zero_grad()
        contrast(made.moved(x[places]), classes[places]).backward()  # type: ignore[no-untyped-call]
        steepest.step()
    made.a.requires_grad_(False)
    made.b.requires_grad_(False)
    return made.eval()


def _left_out(
    task: Adapted, x: Tensor, labels: list[Any], folds: int, rate: float, seed: int, sizes: dict[str, int]
) -> tuple[float, float, float, float]:
    """Log-losses without and with, then shares answered right, over examples left out in folds; NaN: none can be."""
    learner = task.learner
    assert isinstance(learner, TextClassifier)
    assert isinstance(learner.encoder, TextEncoder)
    fold = _folds(labels, folds, seed)
    outputs: list[list[Tensor]] = [[], []]
    goals: list[Tensor] = []
    for number in sorted({f for f in fold if f >= 0}):
        rest = [p for p, f in enumerate(fold) if f != number]
        out = [p for p, f in enumerate(fold) if f == number]
        own = [labels[p] for p in rest]
        made = _learned(learner.encoder, x[rest], own, rate, seed, **sizes)
        goals.append(Classes.of(own).encode([labels[p] for p in out]))
        for place, base in enumerate((learner, learner.on(made))):
            small = base.adapt([task.inputs[p] for p in rest], own)
            outputs[place].append(small.outputs(small.embed([task.inputs[p] for p in out])).double())
    if not goals:
        return (float("nan"),) * 4
    before, after = (log_loss(own, goals) for own in outputs)
    hits = [float(torch.cat([(o.argmax(1) == g).double() for o, g in zip(own, goals, strict=True)]).mean())
            for own in outputs]  # fmt: skip
    return before, after, hits[0], hits[1]


def _folds(labels: list[Any], folds: int, seed: int) -> list[int]:
    """Which fold each example is left out with, spread over its class; -1: never, its class has no other."""
    draw, found = generator(seed, "project", "folds"), [-1] * len(labels)
    for label in dict.fromkeys(labels):
        own = [place for place, other in enumerate(labels) if other == label]
        if len(own) > 1:
            shift = int(torch.randint(folds, (1,), generator=draw))
            for number, place in enumerate(torch.randperm(len(own), generator=draw).tolist()):
                found[own[place]] = (number + shift) % min(folds, len(own))
    return found
