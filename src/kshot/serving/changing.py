"""What a service learns: new versions made from examples, and from versions before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kshot.errors import DataError
from kshot.learners import Adapted, Learner
from kshot.serving.deferred import Deferred
from kshot.serving.faults import Conflict, NotFound
from kshot.serving.inputs import label_of
from kshot.serving.keeping import Embedded, joined, rounded, taken
from kshot.serving.solving import Solving, digest, features_of, matching, may_be_golden
from kshot.serving.store import Block, Stored

Changed = tuple[Adapted, Block | None, Sequence[int]]
"""A task, the examples that are new to the store, and the numbers of all its golden ones."""


class Held(NamedTuple):
    """The examples of a version, to be changed."""

    learner: Learner
    inputs: Deferred
    labels: list[Any]
    embedded: Embedded


class Changing(Solving):
    """Methods that make a new version from the newest."""

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
        mark = (key, digest(model, list(examples), match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        golden = frozenset(place for place, one in enumerate(examples) if one.get("golden"))
        made: tuple[Learner, list[Any], Any, Embedded] | None = None

        def change(before: Stored, held: Held) -> Changed:
            nonlocal made
            if made is None or made[0] is not held.learner:
                made = (held.learner, *self._read(held.learner, examples))
            learner, labels, read, embedded = made
            fresh = range(before.next, before.next + len(labels))
            rest = [place for place in range(len(labels)) if place not in golden]
            both = (
                joined(held.embedded, taken(embedded, rest) if golden else embedded)
                if rest
                else held.embedded
            )
            items = Deferred(len(held.labels) + len(rest), lambda: [*held.inputs, *(read[p] for p in rest)])
            task = self._solved(
                learner,
                [*before.version.numbers, *(fresh[p] for p in rest)],
                items,
                [*held.labels, *(labels[p] for p in rest)],
                both,
                before.version.space,
            )
            guards = [*before.version.golden, *(fresh[p] for p in may_be_golden(task, labels, golden))]
            own = features_of(learner, embedded)
            return task, Block(tuple(fresh), labels, list(read), own), guards

        return self._changed(tenant, model, match, change, mark)

    def remove(
        self, tenant: str, model: str, ids: Sequence[str], *, match: int | None = None
    ) -> dict[str, Any]:
        """A new version that never saw these; older versions still hold them (see `forget`)."""

        def change(before: Stored, held: Held) -> Changed:
            known = [f"e{n}" for n in before.version.numbers]
            guards = [n for n in before.version.golden if f"e{n}" not in ids]
            missing = sorted(set(ids) - set(known) - {f"e{n}" for n in before.version.golden})
            if missing:
                raise NotFound(
                    f"example {missing[0]!r} is not in version {before.version.version} of model {model}"
                )
            keep = [place for place, name in enumerate(known) if name not in ids]
            return self._solved(
                held.learner, [before.version.numbers[p] for p in keep],
                Deferred(len(keep), lambda: [held.inputs[p] for p in keep]), [held.labels[p] for p in keep],
                taken(held.embedded, keep), before.version.space,
            ), None, guards  # fmt: skip

        return self._changed(tenant, model, match, change)

    def restore(
        self, tenant: str, model: str, version: int, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version with the examples of an older one: undo. Raises NotFound, Conflict."""
        mark = (key, digest("restore", model, version, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))

        while True:
            before = self.store.version(tenant, model)
            matching(match, before.version)
            older = self.store.version(tenant, model, version)
            task = self.tasks.of(tenant, older)
            guards = older.version.golden
            fresh = self._version(model, before.version.version + 1, older.version.base, task, guards)
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
        mark = (key, digest("relabel", model, old, new, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))

        def change(before: Stored, held: Held) -> Changed:
            if old not in held.labels:
                raise NotFound(f"model {model} has no class {old!r}")
            guards = self._golden(tenant, before)
            if any(label == old for _, label, _ in guards):
                raise DataError(
                    f"golden examples of model {model} are called {old!r}; remove them, rename the class, add them again"
                )
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
                features_of(held.learner, own),
            ), before.version.golden  # fmt: skip

        return self._changed(tenant, model, match, change, mark)

    def rebase(
        self, tenant: str, model: str, base: str, *, match: int | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new version of the same examples on another base, computed from the inputs."""
        mark = (key, digest("rebase", model, base, match)) if key else None
        if mark and (found := self.store.answered(tenant, *mark)) is not None:
            return dict(json.loads(found))
        self.tasks.base(base)
        before = self.store.version(tenant, model)
        matching(match, before.version)
        return self.put_moved(tenant, before, base, self.moved(tenant, before, base), mark)

    def put_moved(
        self, tenant: str, before: Stored, base: str, task: Adapted, mark: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Store what `moved` made as a new version. Raises Conflict where the model has changed since `before`."""
        model = before.version.model
        version = self._version(model, before.version.version + 1, base, task, before.version.golden)
        told = self._put(tenant, version, None, task, before, mark)
        if (features := features_of(task.learner, task.embedded)) is not None:
            kept = dict(zip(version.numbers, features, strict=True))
            self.store.put_features(tenant, model, version.fingerprint, kept)
        return told

    def moved(self, tenant: str, stored: Stored, base: str) -> Adapted:
        """A version's examples on another base, encoded anew; nothing is stored."""
        learner, inputs = self.tasks.base(base), self.tasks.inputs(tenant, stored)
        read = learner.encoder.read(inputs.all())
        embedded = rounded(learner, self.batcher.embed(learner, read))
        version = stored.version
        return self._solved(learner, version.numbers, read, list(stored.labels), embedded, version.space)

    def _changed(
        self,
        tenant: str,
        model: str,
        match: int | None,
        change: Callable[[Stored, Held], Changed],
        mark: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """A new version made from the newest; again where another was first, unless the caller wants to `match`."""
        while True:
            before = self.store.version(tenant, model)
            matching(match, before.version)
            inputs = self.tasks.inputs(tenant, before)
            held = Held(
                self.tasks.own_base(before),
                inputs,
                list(before.labels),
                self.tasks.embedded(tenant, before, inputs),
            )
            task, block, golden = change(before, held)
            version = self._version(model, before.version.version + 1, before.version.base, task, golden)
            try:
                return self._put(tenant, version, block, task, before, mark)
            except Conflict:  # another was first: `_matching` tells those who mind
                continue
