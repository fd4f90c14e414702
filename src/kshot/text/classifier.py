"""Classes of texts (topics, sentiment, intents) from a few examples each."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.heads import Head, KernelRidgeHead
from kshot.learners import Adapted, ClosedForm, Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, OutputSpace
from kshot.text.folder import TextModel
from kshot.text.hashed import HashedNgrams
from kshot.text.knowledge import of_encoder
from kshot.text.specs import encoder as encoder_of
from kshot.text.texts import TextEncoder
from kshot.text.trainable import TrainableText

Names = bool | str | Mapping[Any, str]
"""True: the labels themselves; a mapping: a description for each label; "auto": labels where leave-one-out gains."""

_SCALARS = {"log_scale": 4.0, "log_width": 1.0, "log_ridge": 0.1, "log_gain": 3.0}
_HASHED_SCALARS = {"log_scale": 1.0, "log_width": 0.5, "log_ridge": 0.03, "log_gain": 3.0}
"""Chosen on BANKING77's valid file and CLINC150's validation split together, for the features of a trained network and
for hashed n-grams, whose cosines are lower; within a factor of 2 they hardly matter."""


class TextClassifier(ClosedForm):
    """Kernel ridge regression around class means, on texts' features of length 1.

    Features are scaled to length sqrt(d), so that the head's kernel is exp(2 w (cos - 1)) whatever the encoder, and
    scalars learned on some intent sets fit encoders of any width.

    >>> learner = TextClassifier(encoder_of("hash:ngram"))
    >>> task = learner.adapt(["where is my card", "I lost my card", "what is the rate"], ["card", "card", "rate"])
    >>> task.predict(["my card is lost"]).labels
    ['card']
    """

    kind: ClassVar[str] = "text_classifier"

    def __init__(
        self, encoder: Encoder, head: str | Head = "kernel_ridge", *, rounds: bool = False, **settings: Any
    ) -> None:
        super().__init__(encoder, head, rounds=rounds, **settings)
        if not isinstance(encoder, TextEncoder):
            raise SettingError(
                f"the encoder takes {encoder.modality} inputs; a text classifier needs one for texts"
            )
        if isinstance(self.head, KernelRidgeHead):
            start = _HASHED_SCALARS if isinstance(encoder, HashedNgrams) else _SCALARS
            for name, value in start.items():
                getattr(self.head, name).data.fill_(math.log(value))

    def embed(self, prepared: Tensor) -> Tensor:
        features: Tensor = self.encoder(prepared)
        return F.normalize(features, dim=-1) * math.sqrt(features.shape[-1])

    def respond_left_out(self, state: Any, support: Examples, space: OutputSpace) -> Tensor | None:
        """What a sentence of a task is worth is known from the others, so that refusals go by how well they fit each other.

        How alike the messages of one intent are differs between desks more than anything that a base can learn
        elsewhere: thresholds that only other tasks had set refused 3 to 24 % of known messages where 10 % were asked for.
        """
        if not isinstance(space, Classes):
            return None
        return self.head.respond_left_out(state, support.inputs, support.targets, space.size)

    def on(self, encoder: TextEncoder) -> TextClassifier:
        """This learner's head, temperature and calibration on another encoder."""
        made = TextClassifier(encoder, copy.deepcopy(self.head), rounds=self.rounds)
        made.temperature.copy_(self.temperature)
        made.self_knowledge = self.self_knowledge.clone()
        return made.train(self.training)

    def adapt(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        space: OutputSpace | None = None,
        ids: Sequence[str] | None = None,
        names: Names = False,
    ) -> Adapted:
        """Learn classes of texts. As `Learner.adapt`, and:

        Args:
            names: True: each label, read as words, is one more example of its class (named "name:LABEL"), which helps
                while examples are few. A mapping gives descriptions instead; with it a class needs no example at all.
                "auto": labels are taken where the examples' leave-one-out log-loss falls by it, or where no class has
                two examples.

        >>> learner = classifier("hash:ngram")
        >>> task = learner.adapt([], [], names={"card": "my card is lost", "rate": "the exchange rate"})
        >>> task.predict(["I lost a card"]).labels
        ['card']
        """
        if isinstance(inputs, Examples):
            inputs, targets = inputs.inputs, inputs.targets
        if isinstance(names, str) and names != "auto":
            raise SettingError(f"names is {names!r}; give True, False, 'auto', or a description per label")
        if names is False:
            return super().adapt(inputs, targets, space=space, ids=ids)
        if targets is None:
            raise DataError(
                "no targets were given; adapt(inputs, targets, names=...) needs one label per input"
            )
        return self._named(inputs, list(targets), space, ids, names)

    def _named(
        self,
        inputs: Any,
        targets: list[Any],
        space: OutputSpace | None,
        ids: Sequence[str] | None,
        names: Names,
    ) -> Adapted:
        texts = self.encoder.read(inputs) if len(inputs) else []
        own = [t.item() if hasattr(t, "item") else t for t in targets]
        given = names if isinstance(names, Mapping) else {label: words(label) for label in dict.fromkeys(own)}
        own_ids = list(ids) if ids is not None else [f"e{place}" for place in range(len(texts))]
        more = Examples([*texts, *given.values()], [*own, *given])
        named = super().adapt(more, space=space, ids=[*own_ids, *(f"name:{label}" for label in given)])
        if names != "auto" or len(set(own)) == len(own):
            return named
        plain = super().adapt(texts, own, space=space, ids=ids)
        return named if _left_out_loss(named, own) < _left_out_loss(plain, own) else plain


def _left_out_loss(task: Adapted, labels: list[Any]) -> float:
    """Mean log-loss of the first examples by the task without each, over classes that have another example."""
    found = task.leave_one_out().probabilities
    rows = [place for place, label in enumerate(labels) if labels.count(label) > 1]
    columns = [task.space.labels.index(labels[place]) for place in rows]  # type: ignore[attr-defined]
    return float(-np.log(np.maximum(found[rows, columns], 1e-12)).mean())


def words(label: Any) -> str:
    """A label as words.

    >>> words("card_arrival"), words("lostOrStolen"), words(3)
    ('card arrival', 'lost Or Stolen', '3')
    """
    spaced = "".join(
        f" {c}" if c.isupper() and before.islower() else c for before, c in _with_before(str(label))
    )
    return " ".join(spaced.replace("_", " ").replace("-", " ").replace("/", " ").split()) or str(label)


def _with_before(text: str) -> list[tuple[str, str]]:
    return list(zip(f" {text}", text, strict=False))


def classifier(encoder: str | Encoder = "hash:ngram", *, download: bool = False) -> TextClassifier:
    """A learner of classes of texts, on an encoder or on one named by a string (see `kshot.text.encoder`).

    It refuses what is unknown once `kshot.trust.calibrate` has shown it other intents, or where a table for its encoder
    travels with kshot (see `kshot.text.knowledge`).

    Args:
        download: as for `kshot.text.encoder`.

    >>> import kshot
    >>> learner = kshot.text.classifier("hash:ngram")
    >>> texts = ["where is my card", "my card did not arrive", "what is the rate", "exchange rates please"]
    >>> task = learner.adapt(texts, ["card", "card", "rate", "rate"])
    >>> task.predict(["which rate do I get?"]).labels
    ['rate']
    """
    made = encoder_of(encoder, download=download) if isinstance(encoder, str) else encoder
    learner = TextClassifier(made).eval()
    known = of_encoder(made) if isinstance(made, TextEncoder) else None
    if known is not None:
        learner.self_knowledge, learner.temperature = (part.clone() for part in known)
    return learner


def opened(learner: TextClassifier, *, rank: int = 16, blocks: int = 2) -> TextClassifier:
    """The same base with its encoder's last blocks open to `kshot.fit`, by changes of this rank; `closed` ends it.

    Raises:
        UnsupportedError: its encoder is no text model.
    """
    encoder = learner.encoder
    if not isinstance(encoder, TextModel):
        raise UnsupportedError(
            f"the base's encoder is a {type(encoder).__name__}; blocks are opened of text models, such as path:DIR or "
            "pkg:NAME; 'small' is trained by kshot.fit as it is"
        )
    settings = {k: v for k, v in encoder.config().items() if k not in ("rank", "blocks")}
    return learner.on(TrainableText(**settings, rank=rank, blocks=blocks))


def closed(learner: Learner) -> TextClassifier:
    """A base that `opened` opened and `kshot.fit` trained, frozen again: features are cached, tasks name it by hash.

    Raises:
        UnsupportedError: it is not open.
    """
    if not isinstance(learner, TextClassifier) or not isinstance(learner.encoder, TrainableText):
        raise UnsupportedError(
            f"the base is a {type(learner).__name__} that is not open; open one with opened"
        )
    return learner.on(learner.encoder.closed()).eval()
