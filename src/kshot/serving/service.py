"""The service without HTTP: teach, predict, add, remove, forget, explain, check, rebase."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.errors import DataError
from kshot.learners import Adapted, Learner
from kshot.learners.given import each_class, space_of
from kshot.learners.records import fingerprint, task_record
from kshot.serving import lessons
from kshot.serving.batcher import Batcher
from kshot.serving.faults import Conflict, NotFound, TooLarge
from kshot.serving.inputs import decoded, label_of, name_of
from kshot.serving.limits import Limits
from kshot.serving.observing import Observed
from kshot.serving.store import Row, Store, Version
from kshot.tasks.spaces import space_from_json

_CACHED = 512


class Service:
    """Models of tenants over bases by name.

    Args:
        store: where models stay. bases: what a request may name as `base`.
        limits: how much a request may hold; from the environment if not given.
    """

    def __init__(self, store: Store, bases: Mapping[str, Learner], limits: Limits | None = None) -> None:
        self.store, self.bases = store, dict(bases)
        self.limits, self.observed = limits or Limits(), Observed()
        self.fingerprints = {name: fingerprint(base) for name, base in bases.items()}
        self.batcher = Batcher(self.limits.queue, self.observed)
        self._cache: OrderedDict[tuple[str, str, int], Adapted] = OrderedDict()
        self._drops = 0
        self._lock = threading.Lock()

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
        learner = self._base(base)
        name_of(name, self.limits)
        task, rows = self._solved(base, *self._read(learner, examples, 0))
        version = self._version("m_" + _word(), 1, base, task)
        answer = _told(version, task)
        said = self.store.put_version(tenant, version, rows, name=name, key=mark, answer=json.dumps(answer))
        return dict(json.loads(said))

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
        learner = self._base(base)
        known = [label_of(label, self.limits) for label in labels]
        embedded = _rounded(learner, self.batcher.embed(learner, read))
        made = [(f"e{k}", item, row) for k, (item, row) in enumerate(zip(read, embedded, strict=True))]
        task, rows = self._solved(base, made, known, space=json.dumps(space))
        version = self._version("m_" + _word(), 1, base, task)
        said = self.store.put_version(
            tenant, version, rows, key=mark, answer=json.dumps(_told(version, task))
        )
        return dict(json.loads(said))

    def predict(
        self, tenant: str, model: str, inputs: Sequence[Any], *, version: int | None = None
    ) -> dict[str, Any]:
        """{"predictions": one per input, "version"}; inputs of concurrent requests are encoded together."""
        if not 0 < len(inputs) <= self.limits.inputs:
            raise TooLarge(f"{len(inputs)} inputs; a request holds 1 to {self.limits.inputs}")
        task, number = self.task(tenant, model, version)
        read = decoded(task.learner.encoder, inputs, self.limits)
        answer = task.answer_embedded(self.batcher.embed(task.learner, read))
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
        while True:
            before, old = self.store.version(tenant, model)
            _matching(match, before)
            learner = self._base(before.base)
            fresh, labels = self._read(learner, examples, self.store.next_id(tenant, model))
            held, known = self._held(before, old)
            task, rows = self._solved(before.base, [*held, *fresh], [*known, *labels], space=before.space)
            version = self._version(model, before.version + 1, before.base, task)
            try:
                said = self.store.put_version(
                    tenant, version, rows[len(old) :], expected=before.version, key=mark,
                    answer=json.dumps(_told(version, task)),
                )  # fmt: skip
                return dict(json.loads(said))
            except Conflict:
                if match is not None:
                    raise

    def remove(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """A new version that never saw these; older versions still hold them (see `forget`)."""
        before, old = self.store.version(tenant, model)
        _matching(match, before)
        missing = sorted(set(ids) - {row.id for row in old})
        if missing:
            raise NotFound(f"example {missing[0]!r} is not in version {before.version} of model {model}")
        task, _ = self._solved(
            before.base, *self._held(before, [r for r in old if r.id not in ids]), space=before.space
        )
        version = self._version(model, before.version + 1, before.base, task)
        self.store.put_version(tenant, version, [], expected=before.version)
        return _told(version, task)

    def forget(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """Leave nothing of examples, in no version and no file."""
        self._match(tenant, model, match)
        self.store.forget(tenant, model, ids, _space_left)
        self._drop(tenant, model)
        return self.show(tenant, model)

    def _match(self, tenant: str, model: str, match: int | None) -> None:
        """Raise NotFound where there is no such model, Conflict where it is at another version."""
        version = self.store.model(tenant, model)["version"]
        if match is not None and match != version:
            raise Conflict(f"model {model} is at version {version}, not {match}; read it again")

    def delete(self, tenant: str, model: str, *, match: int | None = None) -> None:
        """Delete a model and all that was stored of it."""
        self._match(tenant, model, match)
        self.store.drop(tenant, model)
        self._drop(tenant, model)

    def explain(self, tenant: str, model: str, value: Any) -> dict[str, Any]:
        """Which examples decided the answer to one input."""
        task, number = self.task(tenant, model, None)
        embedded = self.batcher.embed(task.learner, decoded(task.learner.encoder, [value], self.limits))
        return {**lessons.reasons(task, embedded), "version": number}

    def quality(self, tenant: str, model: str) -> dict[str, Any]:
        """How well the classes are told apart, see `lessons.quality`."""
        task, number = self.task(tenant, model, None)
        return {**lessons.quality(task), "version": number}

    def example(self, tenant: str, model: str, example: str) -> dict[str, Any]:
        """An example of the newest version, with its input as it would be posted. Raises NotFound."""
        told, rows = self.store.version(tenant, model)
        for row in rows:
            if row.id == example:
                value = self._base(told.base).encoder.to_json(_unpacked(row.input))
                return {"id": row.id, "label": json.loads(row.label), "input": value}
        raise NotFound(f"example {example!r} is not in version {told.version} of model {model}")

    def restore(
        self, tenant: str, model: str, version: int, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version with the examples of an older one: undo. Raises NotFound, Conflict."""
        mark = (key, _digest("restore", model, version, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        before, _ = self.store.version(tenant, model)
        _matching(match, before)
        older, rows = self.store.version(tenant, model, version)
        task, _ = self._solved(older.base, *self._held(older, rows), space=older.space)
        fresh = self._version(model, before.version + 1, older.base, task)
        answer = json.dumps(_told(fresh, task))
        said = self.store.put_version(tenant, fresh, [], expected=before.version, key=mark, answer=answer)
        return dict(json.loads(said))

    def relabel(
        self, tenant: str, model: str, old: Any, new: Any, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version in which class `old` is called `new`; where there is a `new` already the two become one.

        Its examples get new ids, because those of older versions stay as they were.
        """  # fmt: skip
        mark = (key, _digest("relabel", model, old, new, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        before, rows = self.store.version(tenant, model)
        _matching(match, before)
        held, labels = self._held(before, rows)
        if old not in labels:
            raise NotFound(f"model {model} has no class {old!r}")
        first, moved = self.store.next_id(tenant, model), [k for k, y in enumerate(labels) if y == old]
        for place, k in enumerate(moved):
            held[k], labels[k] = (f"e{first + place}", *held[k][1:]), label_of(new, self.limits)
        task, made = self._solved(before.base, held, labels, space=before.space)
        version = self._version(model, before.version + 1, before.base, task)
        said = self.store.put_version(
            tenant, version, [made[k] for k in moved], expected=before.version, key=mark,
            answer=json.dumps(_told(version, task)),
        )  # fmt: skip
        return dict(json.loads(said))

    def bundle(self, tenant: str, model: str) -> bytes:
        """The newest version as a .kshot file with its base inside, for `kshot.load`."""
        return storage.pack(*task_record(self.task(tenant, model, None)[0], include_base=True))

    def rename(self, tenant: str, model: str, name: str, *, match: int | None = None) -> dict[str, Any]:
        """Give a model another name. Raises NotFound, Conflict."""
        self._match(tenant, model, match)
        self.store.rename(tenant, model, name_of(name, self.limits))
        return self.show(tenant, model)

    def check(self, tenant: str, model: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How many of these examples are answered as labelled."""
        number = self.store.model(tenant, model)["version"]
        answers = self.predict(tenant, model, [e["input"] for e in examples], version=number)["predictions"]
        wrong = [
            place
            for place, (e, a) in enumerate(zip(examples, answers, strict=True))
            if a["label"] != e["label"]
        ]
        return {
            "right": len(examples) - len(wrong),
            "total": len(examples),
            "wrong": wrong,
            "version": number,
        }

    def rebase(
        self, tenant: str, model: str, base: str, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version of the same examples on another base, computed from the inputs."""
        mark = (key, _digest("rebase", model, base, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        before, old = self.store.version(tenant, model)
        _matching(match, before)
        learner = self._base(base)
        items = [_unpacked(row.input) for row in old]
        embedded = self.batcher.embed(learner, learner.encoder.read(items))
        made = [(row.id, item, x) for row, item, x in zip(old, items, embedded, strict=True)]
        task, _ = self._solved(base, made, [json.loads(row.label) for row in old], space=before.space)
        version = self._version(model, before.version + 1, base, task)
        answer = json.dumps(_told(version, task))
        said = self.store.put_version(tenant, version, [], expected=before.version, key=mark, answer=answer)
        return dict(json.loads(said))

    def show(self, tenant: str, model: str, version: int | None = None) -> dict[str, Any]:
        """What there is to know of a model."""
        about = self.store.model(tenant, model)
        task, number = self.task(tenant, model, version)
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
        """A stored version as a value, from the cache or from its rows."""
        number = self.store.model(tenant, model)["version"] if version is None else version
        place = (tenant, model, number)
        with self._lock:
            if place in self._cache:
                self._cache.move_to_end(place)
                return self._cache[place], number
            drops = self._drops
        told, rows = self.store.version(tenant, model, number)
        task, _ = self._solved(told.base, *self._held(told, rows), space=told.space)
        with self._lock:
            if drops == self._drops:  # else it may hold what was forgotten while it was made
                self._cache[place] = task
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return task, number

    def _drop(self, tenant: str, model: str) -> None:
        with self._lock:
            self._drops += 1
            for place in [p for p in self._cache if p[:2] == (tenant, model)]:
                del self._cache[place]

    def _base(self, name: str) -> Learner:
        if name not in self.bases:
            raise NotFound(f"base {name!r} is not served; served are {sorted(self.bases)}")
        return self.bases[name]

    def _read(
        self, learner: Learner, examples: Sequence[Mapping[str, Any]], first: int
    ) -> tuple[list[tuple[str, Any, Tensor]], list[Any]]:
        """New examples as (id, raw input, embedding), and their labels."""
        if not 0 < len(examples) <= self.limits.examples:
            raise TooLarge(f"{len(examples)} examples; a request holds 1 to {self.limits.examples}")
        labels = [label_of(example["label"], self.limits) for example in examples]
        read = decoded(learner.encoder, [example["input"] for example in examples], self.limits)
        embedded = _rounded(learner, self.batcher.embed(learner, read))
        items = zip(read, embedded, strict=True)
        return [(f"e{first + k}", item, row) for k, (item, row) in enumerate(items)], labels

    def _held(self, version: Version, rows: Sequence[Row]) -> tuple[list[tuple[str, Any, Tensor]], list[Any]]:
        """Stored examples; what has no features of this base is encoded again."""
        learner, own = self._base(version.base), self.fingerprints[version.base]
        if own != version.fingerprint:
            raise DataError(
                f"base {version.base!r} has other weights than when {version.model} was taught; rebase it"
            )
        items = [_unpacked(row.input) for row in rows]
        if all(row.features is not None and row.fingerprint == own for row in rows):
            embedded = [
                torch.frombuffer(bytearray(row.features or b""), dtype=torch.float16).float() for row in rows
            ]
        else:
            found = self.batcher.embed(learner, learner.encoder.read(items))
            embedded = list(_rounded(learner, found))
        made = zip(rows, items, embedded, strict=True)
        return [(row.id, item, x) for row, item, x in made], [json.loads(row.label) for row in rows]

    def _solved(
        self, base: str, made: Sequence[tuple[str, Any, Tensor]], labels: list[Any], space: str | None = None
    ) -> tuple[Adapted, list[Row]]:
        learner = self._base(base)
        if len(made) > self.limits.examples:
            raise TooLarge(f"{len(made)} examples; a model holds at most {self.limits.examples}")
        answers = (
            learner.guess_space(labels)
            if space is None
            else space_of(space_from_json(json.loads(space)), labels)
        )
        learner.check_space(answers)
        each_class(answers, labels)
        if getattr(answers, "size", 0) > self.limits.classes:
            raise TooLarge(f"{len(set(labels))} classes; a model holds at most {self.limits.classes}")
        raw = learner.encoder.read([item for _, item, _ in made])
        embedded = torch.stack([x for _, _, x in made])
        task = Adapted.of_embedded(learner, answers, raw, labels, tuple(n for n, _, _ in made), embedded)
        rows = [
            Row(name, json.dumps(label), _packed(item), _features(learner, x), self.fingerprints[base])
            for (name, item, x), label in zip(made, labels, strict=True)
        ]
        return task, rows

    def _version(self, model: str, number: int, base: str, task: Adapted) -> Version:
        return Version(
            model, number, base, self.fingerprints[base], json.dumps(task.space.to_json()), task.ids
        )


def _packed(item: Any) -> bytes:
    if isinstance(item, Tensor):
        return storage.pack({"what": "example"}, {"input": item})
    return json.dumps(item).encode()


def _unpacked(blob: bytes) -> Any:
    if blob[:1] in (b'"', b"[", b"{"):
        return json.loads(blob)
    return storage.unpack(blob, "a stored example")[1]["input"]


def _keeps(learner: Learner, x: Tensor) -> bool:
    return (
        not learner.inner_gradient
        and x.ndim == 1
        and x.dtype == torch.float32
        and bool((x.abs() < 6e4).all())
    )


def _features(learner: Learner, x: Tensor) -> bytes | None:
    return x.half().numpy().tobytes() if _keeps(learner, x) else None


def _rounded(learner: Learner, embedded: Tensor) -> Tensor:
    """Embeddings as the cache gives them back, so that a task is the same before and after a restart."""
    return torch.stack([x.half().float() if _keeps(learner, x) else x for x in embedded])


def _told(version: Version, task: Adapted) -> dict[str, Any]:
    return {
        "id": version.model, "version": version.version, "base": version.base, "classes": _classes(task),
        "n_examples": len(task), "examples": list(task.ids),
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


def _space_left(rows: Sequence[Row], space: str) -> str | None:
    """The space of these examples alone: a class that is gone leaves no name. None: too few are left."""
    labels = [json.loads(row.label) for row in rows]
    try:
        left = space_of(space_from_json(json.loads(space)), labels)
        each_class(left, labels)
    except DataError:
        return None
    return json.dumps(left.to_json()) if labels else None
