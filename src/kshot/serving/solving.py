"""From examples as posted to a version as stored."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from kshot.errors import DataError, UnsupportedError
from kshot.learners import Adapted, Learner
from kshot.learners.given import each_class, space_of
from kshot.serving import lessons
from kshot.serving.faults import Conflict, TooLarge
from kshot.serving.inputs import decoded, label_of, name_of, sound
from kshot.serving.keeping import Embedded, keeps, kept_of, kept_state, rounded, taken
from kshot.serving.room import Room, classes_of
from kshot.serving.store import Block, Stored, Version
from kshot.tasks.spaces import Classes, OutputSpace, Pieces, space_from_json


class Solving(Room):
    """Methods that make a first version, and what all that make versions share."""

    def teach(
        self,
        tenant: str,
        base: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        name: str = "",
        key: str | None = None,
    ) -> dict[str, Any]:
        """A new model from examples [{"input", "label"}]; the same key and request get the same answer.

        Raises:
            NotFound: no such base. DataError: examples that cannot be used. KeyReused: see `Store.put_version`.
        """  # fmt: skip
        mark = (key, digest(base, list(examples), name)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        learner = self.tasks.base(base)
        name_of(name, self.limits)
        golden = frozenset(place for place, one in enumerate(examples) if one.get("golden"))
        return self._taught(tenant, base, *self._read(learner, examples), None, mark, name, golden)

    def teach_read(
        self,
        tenant: str,
        base: str,
        read: Any,
        labels: list[Any],
        *,
        space: Any,
        mark: tuple[str, str] | None,
        golden: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        """As `teach`, from inputs that the base's encoder has read; `mark` is a key with a digest of the request.

        Those at the places `golden` are not learned from: they must stay right.
        """
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        learner = self.tasks.base(base)
        known = [label_of(label, self.limits) for label in labels]
        embedded = rounded(learner, sound(self.batcher.embed(learner, read)))
        return self._taught(tenant, base, known, read, embedded, json.dumps(space), mark, "", golden)

    def _taught(
        self,
        tenant: str,
        base: str,
        labels: list[Any],
        read: Any,
        embedded: Embedded,
        space: str | None,
        mark: tuple[str, str] | None,
        name: str,
        golden: frozenset[int],
    ) -> dict[str, Any]:
        learner = self.tasks.base(base)
        rest = [place for place in range(len(labels)) if place not in golden]
        if not rest:
            raise DataError(f"all {len(labels)} examples are golden; a model needs some to learn from")
        own, shown = [labels[p] for p in rest], taken(embedded, rest) if golden else embedded
        task = self._solved(learner, rest, [read[p] for p in rest] if golden else read, own, shown, space)
        version = self._version("m_" + _word(), 1, base, task, may_be_golden(task, labels, golden))
        every = tuple(range(len(labels)))
        block = Block(every, labels, list(read), features_of(learner, embedded))
        return self._put(tenant, version, block, task, None, mark, name)

    def _put(
        self,
        tenant: str,
        version: Version,
        block: Block | None,
        task: Adapted,
        before: Stored | None,
        mark: tuple[str, str] | None,
        name: str = "",
    ) -> dict[str, Any]:
        def answer() -> str:
            return json.dumps(_told(version, task))

        said = self.store.put_version(
            tenant, version, block, name=name, before=before, key=mark, answer=answer, state=kept_state(task),
            kept=kept_of(task),
        )  # fmt: skip
        return dict(json.loads(said))

    def _read(
        self, learner: Learner, examples: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Any], Any, Embedded]:
        """Labels, inputs as read, and embeddings of new examples."""
        if not 0 < len(examples) <= self.limits.examples:
            raise TooLarge(f"{len(examples)} examples; a request holds 1 to {self.limits.examples}")
        labels = [label_of(example["label"], self.limits) for example in examples]
        read = decoded(learner.encoder, [example["input"] for example in examples], self.limits)
        return labels, read, rounded(learner, sound(self.batcher.embed(learner, read)))

    def _solved(
        self,
        learner: Learner,
        numbers: Sequence[int],
        inputs: Any,
        labels: list[Any],
        embedded: Embedded,
        space: str | None = None,
    ) -> Adapted:
        if len(labels) > self.limits.examples:
            raise TooLarge(f"{len(labels)} examples; a model holds at most {self.limits.examples}")
        answers = learner.guess_space(labels) if space is None else space_of(_space(space), labels)
        learner.check_space(answers)
        each_class(answers, labels)
        if getattr(answers, "size", 0) > self.limits.classes:
            raise TooLarge(f"{len(set(labels))} classes; a model holds at most {self.limits.classes}")
        ids = tuple(f"e{n}" for n in numbers)
        return Adapted.of_embedded(learner, answers, inputs, labels, ids, embedded)

    def _version(
        self, model: str, number: int, base: str, task: Adapted, golden: Sequence[int] = ()
    ) -> Version:
        numbers = tuple(int(name[1:]) for name in task.ids)
        space = json.dumps(task.space.to_json())
        return Version(model, number, base, self.fingerprints[base], space, numbers, tuple(golden))


def features_of(learner: Learner, embedded: Embedded) -> Tensor | None:
    return embedded.half() if keeps(learner, embedded) else None


def _told(version: Version, task: Adapted) -> dict[str, Any]:
    return {
        "id": version.model, "version": version.version, "base": version.base, "classes": classes_of(task),
        "n_examples": len(task), "examples": list(task.ids), "quality": lessons.estimate(task),
        **({"golden": [f"e{n}" for n in version.golden]} if version.golden else {}),
    }  # fmt: skip


def may_be_golden(task: Adapted, labels: Sequence[Any], places: Collection[int]) -> list[int]:
    """The places of golden examples, rising; the task must be able to answer with their labels.

    Raises:
        DataError: it does not know a label. UnsupportedError: its answers are no classes and no pieces.
    """
    if places and not isinstance(task.space, Classes | Pieces):
        raise UnsupportedError(
            f"golden examples are for classes, spans and boxes, this model answers with {task.space.kind}; send such "
            "examples with `check` instead"
        )
    if places:
        task.space.encode([labels[place] for place in places])
    return sorted(places)


def matching(match: int | None, version: Version) -> None:
    if match is not None and match != version.version:
        raise Conflict(f"model {version.model} is at version {version.version}, not {match}; read it again")


def digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _word() -> str:
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def _space(space: str) -> OutputSpace:
    return space_from_json(json.loads(space))


def space_left(labels: list[Any], space: str) -> str | None:
    """The space of these labels alone: a class that is gone leaves no name. None: too few are left."""
    try:
        left = space_of(_space(space), labels)
        each_class(left, labels)
    except DataError:
        return None
    return json.dumps(left.to_json()) if labels else None
