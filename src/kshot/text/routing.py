"""Routing: which tool, which answer, or "none of these", before anything expensive is asked.

A gate in front of a language model or an agent's tools: a few sentences per route, adapted in milliseconds on the
machine itself. An immutable value around an adapted task, so that routes are added, removed and explained like examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from kshot import storage
from kshot.bundles import load_learned
from kshot.errors import BundleError, DataError, UnsupportedError
from kshot.learners import Adapted, Explanation, Learner
from kshot.learners.records import task_record
from kshot.learners.self_knowledge import Gauge, among
from kshot.tasks.spaces.sureness import checked_share
from kshot.text.classifier import TextClassifier, classifier
from kshot.text.knowledge import of_intents, settled
from kshot.text.texts import TextEncoder, read_texts


@dataclass(frozen=True)
class Route:
    """Where messages may go.

    Attributes:
        name: of the route. sentences: examples of its messages; one str is one. action: what it stands for: a tool's
            name, an answer.
    """

    name: str
    sentences: tuple[str, ...]
    action: str = ""


@dataclass(frozen=True)
class Routed:
    """Where one message goes.

    Attributes:
        message: the text. name: its route; None: none of them, pass it on. action: of the route.
        nearest: the route that fits best, also where `name` is None. probability: of `nearest` among the routes.
        score: how well it fits. threshold: the score under which a message is passed on.
    """

    message: str
    name: str | None
    action: str
    nearest: str
    probability: float
    score: float
    threshold: float


@dataclass(frozen=True)
class Router:
    """Routes that messages can take. Make one with `kshot.text.router`.

    Attributes:
        task: the adapted task; its classes are the routes' names. actions: of the routes that have one.
        refused: share of messages with a route that may wrongly be passed on.
    """

    task: Adapted
    actions: Mapping[str, str]
    refused: float = 0.05

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the routes."""
        return tuple(self.task.space.labels)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Router({len(self)} routes, {len(self.task)} sentences, {self.task.learner.encoder.kind})"

    def route(self, message: str) -> Routed:
        """Where one message goes; see `route_many`."""
        if not isinstance(message, str):
            raise DataError(f"the message is a {type(message).__name__}; give one str, or use route_many")
        return self.route_many([message])[0]

    def route_many(self, messages: Any) -> list[Routed]:
        """Where n messages go.

        Raises:
            DataError: messages that are no texts.
        """
        read = read_texts(messages)
        found, least = self.task.predict(read), self.threshold
        best = found.probabilities.max(1)
        return [
            Routed(
                message=text,
                name=None if found.scores[row] < least else found.labels[row],
                action="" if found.scores[row] < least else self.actions.get(found.labels[row], ""),
                nearest=found.labels[row],
                probability=float(best[row]),
                score=float(found.scores[row]),
                threshold=least,
            )
            for row, text in enumerate(read)
        ]

    @cached_property
    def threshold(self) -> float:
        """The score under which a message is passed on.

        By what kshot ships about other tasks of this size, applied to how this router's sentences fit each other, each
        left out in turn (exactly); and the more sentences have another beside them in their route, the more by a
        quantile of their own scores (see `kshot.text.knowledge`).
        """
        counts = Counter(self.task.targets)
        several = np.array([counts[label] > 1 for label in self.task.targets])
        try:
            own = self._left_out_scores()[several] if several.any() else np.zeros(0)
        except UnsupportedError:  # a head that cannot do without an example
            own = np.zeros(0)
        return settled(own, self.refused, self._usual())

    def _usual(self) -> float:
        """The threshold by other tasks."""
        known, gauge = self.task.knowledge, self.task.gauge
        if known is not None and gauge is not None:
            return gauge.sureness(known.sureness).threshold(self.refused)
        encoder = self.task.learner.encoder
        if not isinstance(encoder, TextEncoder):
            return -np.inf
        # a base without a table of its own: its scores are bare, so the threshold is put in their terms
        own = self.task.outputs(self.task.embedded)
        places = torch.tensor([self.names.index(label) for label in self.task.targets])
        measure = Gauge.of(own, places, self.task.quick_left_out)
        cell = among(of_intents(encoder), len(self), len(self.task) / len(self))
        if cell is None:
            return -np.inf
        return measure.others + measure.span * measure.sureness(cell.sureness).threshold(self.refused)

    def _left_out_scores(self) -> np.ndarray:
        """Scores of the sentences, each left out, in the units of the whole task, as a message's are."""
        quick = self.task.quick_left_out
        if quick is None and self.task.left_out is not None:
            quick = self.task.left_out.own()
        found = self.task.leave_one_out() if quick is None else self.task.decode(quick)
        scores: np.ndarray = found.scores
        return scores

    def with_refused(self, share: float) -> Router:
        """The same routes with another share of messages that may wrongly be passed on."""
        return replace(self, refused=checked_share("refused", share))

    def add(self, name: str, sentences: Any, action: str = "") -> Router:
        """A router with a new route, or with more sentences of one that it has.

        Raises:
            DataError: sentences that are no texts, or a name that is none.

        >>> import kshot
        >>> routes = {"weather": ["will it rain?", "how warm is it?"], "music": ["play a song", "next track please"]}
        >>> gate = kshot.text.router(routes).add("lights", ["lights on", "turn the lamp off"], "tool:lights")
        >>> gate.route("lamp on please").action
        'tool:lights'
        """
        texts = read_texts(sentences)
        label = _name(name)
        ids = _fresh(label, len(texts), self.task.ids)
        actions = {**self.actions, **({label: action} if action else {})}
        return replace(
            self,
            task=self.task.add(texts, [label] * len(texts), ids=ids),
            actions=MappingProxyType(actions),
        )

    def remove(self, name: str) -> Router:
        """A router that never had this route.

        Raises:
            DataError: no such route, or less than two would be left.
        """
        if name not in self.names:
            raise DataError(f"route {name!r} is not there; there are {', '.join(self.names[:12])}")
        ids = [i for i, label in zip(self.task.ids, self.task.targets, strict=True) if label == name]
        actions = {key: value for key, value in self.actions.items() if key != name}
        return replace(self, task=self.task.forget(ids), actions=MappingProxyType(actions))

    def why(self, message: str) -> Explanation:
        """Which sentences decided where a message goes, and by how much."""
        return self.task.explain(message)

    def save(self, path: str | Path) -> Path:
        """Write routes, sentences and base in one file, which `kshot.load` reads."""
        manifest, tensors = task_record(self.task, include_base=True)
        manifest["router"] = {"actions": dict(self.actions), "refused": self.refused}
        return storage.write(Path(path), manifest, tensors)


def router(
    routes: Mapping[str, Sequence[str]] | Iterable[Route],
    encoder: str | TextEncoder | TextClassifier = "hash:ngram",
    *,
    refused: float = 0.05,
    download: bool = False,
) -> Router:
    """A router that has learned its routes.

    Args:
        routes: sentences by name, or `Route` objects, which also name an action.
        encoder: an encoder, one named by a string (see `kshot.text.encoder`), or a base.
        refused: share of messages with a route that may wrongly be passed on.

    Raises:
        DataError: less than two routes, a name that is there twice, or sentences that are no texts.

    >>> import kshot
    >>> gate = kshot.text.router({"weather": ["will it rain?", "how warm is it?"], "music": ["play a song"]})
    >>> gate.route("will it be warm?").name
    'weather'
    """
    base = encoder if isinstance(encoder, TextClassifier) else classifier(encoder, download=download)
    given = [Route(name, tuple(read_texts(texts))) for name, texts in routes.items()] if isinstance(
        routes, Mapping
    ) else list(routes)  # fmt: skip
    names = [_name(route.name) for route in given]
    if len(set(names)) != len(names) or len(names) < 2:
        raise DataError(f"routes are named {names[:12]}; give at least two, each with a name of its own")
    sentences = [read_texts(route.sentences) for route in given]
    texts = [text for own in sentences for text in own]
    labels = [route.name for route, own in zip(given, sentences, strict=True) for _ in own]
    ids = [f"{route.name}-{n}" for route, own in zip(given, sentences, strict=True) for n in range(len(own))]
    actions = MappingProxyType({route.name: route.action for route in given if route.action})
    return Router(base.adapt(texts, labels, ids=ids), actions, checked_share("refused", refused))


def load_router(path: str | Path, base: Learner | None = None) -> Router:
    """A router that `save` wrote.

    Raises:
        BundleError: no such file, a damaged one, or one that holds no router.
    """
    task = load_learned(path, base=base)
    held = (storage.peek(Path(path)) or {}).get("router")
    if not isinstance(task, Adapted) or not isinstance(held, dict):
        raise BundleError(f"{path} holds no router; kshot.load opens whatever it is")
    try:
        return Router(
            task, MappingProxyType(dict(held["actions"])), checked_share("refused", held["refused"])
        )
    except (LookupError, TypeError, ValueError) as cause:
        raise BundleError(f"{path} is no router that makes sense ({cause}); save it again") from cause


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"a route is named {name!r}; a name is a str that is not empty")
    return name


def _fresh(name: str, count: int, taken: Sequence[str]) -> list[str]:
    """Ids NAME-0, NAME-1, ... that are free."""
    used, number = set(taken), 0
    found: list[str] = []
    while len(found) < count:
        if f"{name}-{number}" not in used:
            found.append(f"{name}-{number}")
        number += 1
    return found
