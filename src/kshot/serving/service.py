"""The service without HTTP: teach, predict, add, remove, forget, explain, check, rebase."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from kshot import storage
from kshot.errors import DataError
from kshot.exporting import onnx_bytes
from kshot.learners import Adapted, Learner
from kshot.learners.given import each_class, space_of
from kshot.learners.records import task_record
from kshot.serving import lessons
from kshot.serving.batcher import Batcher
from kshot.serving.faults import Conflict, NotFound, TooLarge
from kshot.serving.inputs import decoded, label_of, name_of, sound
from kshot.serving.limits import Limits
from kshot.serving.observing import Observed
from kshot.serving.store import Block, Store, Stored, Version
from kshot.serving.tasks import Deferred, Embedded, Tasks, joined, keeps, kept_state, rounded, taken
from kshot.tasks.spaces import OutputSpace, space_from_json


class Service:
    """Models of tenants over bases by name.

    Args:
        store: where models stay. bases: what a request may name as `base`.
        limits: how much a request may hold; from the environment if not given.
    """

    def __init__(self, store: Store, bases: Mapping[str, Learner], limits: Limits | None = None) -> None:
        self.store, self.bases = store, dict(bases)
        self.limits, self.observed = limits or Limits(), Observed()
        self.batcher = Batcher(self.limits.queue, self.observed)
        self.tasks = Tasks(store, self.bases, self.batcher.embed, self.observed)
        self.fingerprints = self.tasks.fingerprints

    def close(self) -> None:
        """Finish what is queued and close the store."""
        self.batcher.close()
        self.store.close()

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
        mark = (key, _digest(base, list(examples), name)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        learner = self.tasks.base(base)
        name_of(name, self.limits)
        return self._taught(tenant, base, *self._read(learner, examples), None, mark, name)

    def teach_read(
        self,
        tenant: str,
        base: str,
        read: Any,
        labels: list[Any],
        *,
        space: Any,
        mark: tuple[str, str] | None,
    ) -> dict[str, Any]:
        """As `teach`, from inputs that the base's encoder has read; `mark` is a key with a digest of the request."""
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        learner = self.tasks.base(base)
        known = [label_of(label, self.limits) for label in labels]
        embedded = rounded(learner, sound(self.batcher.embed(learner, read)))
        return self._taught(tenant, base, known, read, embedded, json.dumps(space), mark, "")

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
    ) -> dict[str, Any]:
        learner = self.tasks.base(base)
        task = self._solved(learner, range(len(labels)), read, labels, embedded, space)
        version = self._version("m_" + _word(), 1, base, task)
        block = Block(version.numbers, labels, list(read), _features(learner, embedded))
        return self._put(tenant, version, block, task, None, mark, name)

    def predict(
        self, tenant: str, model: str, inputs: Sequence[Any], *, version: int | None = None
    ) -> dict[str, Any]:
        """{"predictions": one per input, "version"}; inputs of concurrent requests are encoded together."""
        began = time.perf_counter()
        task, number, read = self._asked(Asked(tenant, model, inputs, version))
        return self._answered(task, number, self.batcher.embed(task.learner, read), began)

    def predict_many(self, asked: Sequence[Asked]) -> list[dict[str, Any] | Exception]:
        """As `predict`, for several requests at once; one that fails gets its error as the value."""
        found: list[Any] = [None] * len(asked)
        ready = []
        for place, one in enumerate(asked):
            try:
                ready.append((place, *self._asked(one)))
            except Exception as cause:
                found[place] = cause
        began = time.perf_counter()
        parts = self.batcher.embed_many(
            [(task.learner, read, asked[place].since or began) for place, task, _, read in ready]
        )
        for (place, task, number, _), embedded in zip(ready, parts, strict=True):
            try:
                if isinstance(embedded, Exception):
                    raise embedded
                found[place] = self._answered(task, number, embedded, began)
            except Exception as cause:
                found[place] = cause
        return found

    def _asked(self, asked: Asked) -> tuple[Adapted, int, Any]:
        """The task, its version's number, and the inputs as read."""
        if not 0 < len(asked.inputs) <= self.limits.inputs:
            raise TooLarge(f"{len(asked.inputs)} inputs; a request holds 1 to {self.limits.inputs}")
        task, number = self.tasks.get(asked.tenant, asked.model, asked.version)
        return task, number, decoded(task.learner.encoder, asked.inputs, self.limits)

    def _answered(self, task: Adapted, number: int, embedded: Embedded, began: float) -> dict[str, Any]:
        answer = task.answer_embedded(sound(embedded))
        self.observed.predict_seconds.labels(task.learner.kind).observe(time.perf_counter() - began)
        return {"predictions": answer.to_json(), "version": number}

    def add(
        self,
        tenant: str,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        match: int | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """A new version that has seen these too. Two callers at once are both kept, unless they `match`."""  # fmt: skip
        mark = (key, _digest(model, list(examples), match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        made: tuple[Learner, list[Any], Any, Embedded] | None = None

        def change(before: Stored, held: Held) -> tuple[Adapted, Block]:
            nonlocal made
            if made is None or made[0] is not held.learner:
                made = (held.learner, *self._read(held.learner, examples))
            learner, labels, read, embedded = made
            fresh = range(before.next, before.next + len(labels))
            both = joined(held.embedded, embedded)
            items = Deferred(len(held.labels) + len(labels), lambda: [*held.inputs, *read])
            task = self._solved(
                learner,
                [*before.version.numbers, *fresh],
                items,
                [*held.labels, *labels],
                both,
                before.version.space,
            )
            return task, Block(tuple(fresh), labels, list(read), _features(learner, embedded))

        return self._changed(tenant, model, match, change, mark)

    def remove(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """A new version that never saw these; older versions still hold them (see `forget`)."""

        def change(before: Stored, held: Held) -> tuple[Adapted, None]:
            known = [f"e{n}" for n in before.version.numbers]
            missing = sorted(set(ids) - set(known))
            if missing:
                raise NotFound(
                    f"example {missing[0]!r} is not in version {before.version.version} of model {model}"
                )
            keep = [place for place, name in enumerate(known) if name not in ids]
            return self._solved(
                held.learner, [before.version.numbers[p] for p in keep],
                Deferred(len(keep), lambda: [held.inputs[p] for p in keep]), [held.labels[p] for p in keep],
                taken(held.embedded, keep), before.version.space,
            ), None  # fmt: skip

        return self._changed(tenant, model, match, change)

    def forget(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """Leave nothing of examples, in no version and no file."""
        self._match(tenant, model, match)
        self.store.forget(tenant, model, [_number(model, name) for name in ids], space_left)
        self.tasks.drop(tenant, model)
        return self.show(tenant, model)

    def _match(self, tenant: str, model: str, match: int | None) -> None:
        """Raise NotFound where there is no such model, Conflict where it is at another version."""
        version = self.store.head(tenant, model)[0]
        if match is not None and match != version:
            raise Conflict(f"model {model} is at version {version}, not {match}; read it again")

    def delete(self, tenant: str, model: str, *, match: int | None = None) -> None:
        """Delete a model and all that was stored of it."""
        self._match(tenant, model, match)
        self.store.drop(tenant, model)
        self.tasks.drop(tenant, model)

    def explain(self, tenant: str, model: str, value: Any) -> dict[str, Any]:
        """Which examples decided the answer to one input."""
        task, number = self.task(tenant, model, None)
        embedded = sound(
            self.batcher.embed(task.learner, decoded(task.learner.encoder, [value], self.limits))
        )
        return {**lessons.reasons(task, embedded), "version": number}

    def quality(self, tenant: str, model: str) -> dict[str, Any]:
        """How well the classes are told apart, see `lessons.quality`."""
        task, number = self.task(tenant, model, None)
        return {**lessons.quality(task), "version": number}

    def example(self, tenant: str, model: str, example: str) -> dict[str, Any]:
        """An example of the newest version, with its input as it would be posted. Raises NotFound."""
        stored = self.store.version(tenant, model)
        version, number = stored.version, _number(model, example)
        if number not in version.numbers:
            raise NotFound(f"example {example!r} is not in version {version.version} of model {model}")
        value = self.tasks.base(version.base).encoder.to_json(self.store.inputs(tenant, model, [number])[0])
        return {"id": example, "label": stored.labels[version.numbers.index(number)], "input": value}

    def restore(
        self, tenant: str, model: str, version: int, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version with the examples of an older one: undo. Raises NotFound, Conflict."""
        mark = (key, _digest("restore", model, version, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))

        while True:
            before = self.store.version(tenant, model)
            _matching(match, before.version)
            older = self.store.version(tenant, model, version)
            task = self.tasks.of(tenant, older)
            fresh = self._version(model, before.version.version + 1, older.version.base, task)
            try:
                return self._put(tenant, fresh, None, task, before, mark)
            except Conflict:
                continue

    def relabel(
        self, tenant: str, model: str, old: Any, new: Any, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version in which class `old` is called `new`; where there is a `new` already the two become one.

        Its examples get new ids, because those of older versions stay as they were.
        """  # fmt: skip
        mark = (key, _digest("relabel", model, old, new, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))

        def change(before: Stored, held: Held) -> tuple[Adapted, Block]:
            if old not in held.labels:
                raise NotFound(f"model {model} has no class {old!r}")
            numbers, labels = list(before.version.numbers), list(held.labels)
            moved = [place for place, label in enumerate(labels) if label == old]
            for offset, place in enumerate(moved):
                numbers[place], labels[place] = before.next + offset, label_of(new, self.limits)
            task = self._solved(
                held.learner, numbers, held.inputs, labels, held.embedded, before.version.space
            )
            own = taken(held.embedded, moved)
            return task, Block(
                tuple(numbers[p] for p in moved), [labels[p] for p in moved], [held.inputs[p] for p in moved],
                _features(held.learner, own),
            )  # fmt: skip

        return self._changed(tenant, model, match, change, mark)

    def bundle(self, tenant: str, model: str) -> bytes:
        """The newest version as a .kshot file with its base inside, for `kshot.load`."""
        return storage.pack(*task_record(self.task(tenant, model, None)[0], include_base=True))

    def onnx(self, tenant: str, model: str) -> bytes:
        """The newest version as an ONNX file. Raises UnsupportedError where no graph of it can be written."""
        return onnx_bytes(self.task(tenant, model, None)[0])

    def rename(self, tenant: str, model: str, name: str, *, match: int | None = None) -> dict[str, Any]:
        """Give a model another name. Raises NotFound, Conflict."""
        self._match(tenant, model, match)
        self.store.rename(tenant, model, name_of(name, self.limits))
        return self.show(tenant, model)

    def check(self, tenant: str, model: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How many of these examples are answered as labelled, and which are not; for numbers their `figures`."""
        task, number = self.tasks.get(tenant, model, None)
        labels = [label_of(e["label"], self.limits) for e in examples]
        told = task.check(decoded(task.learner.encoder, [e["input"] for e in examples], self.limits), labels)
        wrong = [{"place": place, "expected": want, "given": got} for place, want, got in told.wrong]
        return {
            "right": told.right, "total": told.total, "wrong": wrong, "figures": dict(told.figures), "version": number,
        }  # fmt: skip

    def rebase(
        self, tenant: str, model: str, base: str, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version of the same examples on another base, computed from the inputs."""
        mark = (key, _digest("rebase", model, base, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        self.tasks.base(base)
        before = self.store.version(tenant, model)
        _matching(match, before.version)
        return self.put_moved(tenant, before, base, self.moved(tenant, before, base), mark)

    def put_moved(
        self, tenant: str, before: Stored, base: str, task: Adapted, mark: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Store what `moved` made as a new version. Raises Conflict where the model has changed since `before`."""
        model = before.version.model
        version = self._version(model, before.version.version + 1, base, task)
        told = self._put(tenant, version, None, task, before, mark)
        if (features := _features(task.learner, task.embedded)) is not None:
            kept = dict(zip(version.numbers, features, strict=True))
            self.store.put_features(tenant, model, version.fingerprint, kept)
        return told

    def moved(self, tenant: str, stored: Stored, base: str) -> Adapted:
        """A version's examples on another base, encoded anew; nothing is stored."""
        learner, inputs = self.tasks.base(base), self.tasks.inputs(tenant, stored)
        read = learner.encoder.read(inputs.all())
        embedded = rounded(learner, self.batcher.embed(learner, read))
        version = stored.version
        return self._solved(learner, version.numbers, read, stored.labels, embedded, version.space)

    def show(self, tenant: str, model: str, version: int | None = None) -> dict[str, Any]:
        """What there is to know of a model."""
        about = self.store.model(tenant, model)
        task, number = self.tasks.get(tenant, model, version)
        return {
            "id": model, "name": about["name"], "base": about["base"], "version": number,
            "versions": self.store.versions(tenant, model), "classes": _classes(task), "n_examples": len(task),
            "examples": [{"id": n, "label": y} for n, y in zip(task.ids, task.targets, strict=True)],
        }  # fmt: skip

    def models(self, tenant: str, after: str = "", limit: int = 50) -> dict[str, Any]:
        """A page of models; `cursor` leads to the next, None: there is none."""
        found = self.store.models(tenant, after, limit + 1)
        return {"models": found[:limit], "cursor": found[limit - 1]["id"] if len(found) > limit else None}

    def task(self, tenant: str, model: str, version: int | None) -> tuple[Adapted, int]:
        """A stored version as a value, with its inputs."""
        return self.tasks.whole(tenant, model, version)

    def _changed(
        self,
        tenant: str,
        model: str,
        match: int | None,
        change: Callable[[Stored, Held], tuple[Adapted, Block | None]],
        mark: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """A new version made from the newest; again where another was first, unless the caller wants to `match`."""
        while True:
            before = self.store.version(tenant, model)
            _matching(match, before.version)
            inputs = self.tasks.inputs(tenant, before)
            held = Held(
                self.tasks.own_base(before),
                inputs,
                before.labels,
                self.tasks.embedded(tenant, before, inputs),
            )
            task, block = change(before, held)
            version = self._version(model, before.version.version + 1, before.version.base, task)
            try:
                return self._put(tenant, version, block, task, before, mark)
            except Conflict:  # another was first: `_matching` tells those who mind
                continue

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
        answer = json.dumps(_told(version, task))
        said = self.store.put_version(
            tenant, version, block, name=name, before=before, key=mark, answer=answer, state=kept_state(task)
        )
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

    def _version(self, model: str, number: int, base: str, task: Adapted) -> Version:
        numbers = tuple(int(name[1:]) for name in task.ids)
        space = json.dumps(task.space.to_json())
        return Version(model, number, base, self.fingerprints[base], space, numbers)


class Asked(NamedTuple):
    """A request to predict, waiting since then (by `time.perf_counter`)."""

    tenant: str
    model: str
    inputs: Sequence[Any]
    version: int | None = None
    since: float | None = None


class Held(NamedTuple):
    """The examples of a version, to be changed."""

    learner: Learner
    inputs: Deferred
    labels: list[Any]
    embedded: Embedded


def _features(learner: Learner, embedded: Embedded) -> Tensor | None:
    return embedded.half() if keeps(learner, embedded) else None


def _number(model: str, name: str) -> int:
    if not (name[:1] == "e" and name[1:].isdecimal() and len(name) < 12):
        raise NotFound(f"example {name[:40]!r} is not in model {model}")
    return int(name[1:])


def _told(version: Version, task: Adapted) -> dict[str, Any]:
    return {
        "id": version.model, "version": version.version, "base": version.base, "classes": _classes(task),
        "n_examples": len(task), "examples": list(task.ids), "quality": lessons.estimate(task),
    }  # fmt: skip


def _classes(task: Adapted) -> list[Any]:
    return list(getattr(task.space, "labels", ()))


def _matching(match: int | None, version: Version) -> None:
    if match is not None and match != version.version:
        raise Conflict(f"model {version.model} is at version {version.version}, not {match}; read it again")


def _digest(*parts: Any) -> str:
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
