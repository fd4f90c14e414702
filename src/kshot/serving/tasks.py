"""Stored versions as values: out of a bounded cache, or solved again from what is stored."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any

from kshot.errors import DataError
from kshot.learners import Adapted, Learner
from kshot.learners.records import fingerprint
from kshot.learners.self_knowledge import Cell, Gauge, known, settings_of
from kshot.serving.answerer import Answerer
from kshot.serving.deferred import Deferred
from kshot.serving.faults import Busy, Conflict, NotFound, ServingError, StoreFull
from kshot.serving.keeping import Embedded, keeps, kept_of, kept_state, rounded
from kshot.serving.observing import Observed
from kshot.serving.sheets import Kept
from kshot.serving.states import size_of, unpack_state
from kshot.serving.store import Store, Stored
from kshot.tasks.spaces import Classes, OutputSpace, space_from_json

_LOG = logging.getLogger("kshot.serving")
_ROOM = 64 * 2**20
_REMEMBERED = 4096
"""Models of which it is known that they were asked, though they are not kept."""
_LOOKERS = 3
"""Threads that wait for another database's network; a fourth waiting is who asks."""
_TOGETHER = 16
"""Models that are looked up by one statement."""
_SHORT = 512
"""Characters of a space up to which it is remembered."""
_EACH = 4096  # what a task weighs beside its tensors


class Coming:
    """A version on its way out of the store; see `Tasks.coming`.

    Attributes:
        rows: what was looked up of it. looked: the same, once that thread is done; None: nothing is on its way.
        learner: its base, where that is known already.
    """

    __slots__ = ("learner", "looked", "model", "rows", "tenant", "version")

    def __init__(self, tenant: str, model: str, version: int | None) -> None:
        self.tenant, self.model, self.version = tenant, model, version
        self.rows: list[Any] | None = None
        self.looked: Future[list[Any]] | None = None
        self.learner: Learner | None = None


class Tasks:
    """What a service knows of its bases and of tasks on them.

    Args:
        embed: embeddings of inputs as read, by the service's batcher.
        observed: where hits of the cache are counted.
    """

    def __init__(
        self,
        store: Store,
        bases: Mapping[str, Learner],
        embed: Callable[[Learner, Any], Embedded],
        observed: Observed | None = None,
    ) -> None:
        self.store, self.bases, self._embed = store, dict(bases), embed
        self._observed = observed or Observed()
        self.fingerprints = {name: fingerprint(base) for name, base in bases.items()}
        self._cache: OrderedDict[tuple[str, str, int, int], tuple[Adapted | Answerer, int]] = OrderedDict()
        self._held = 0
        self._asked: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()
        self._models: Counter[tuple[str, str]] = Counter()
        self._knowledge: dict[tuple[str, int, int], Cell | None] = {}
        self._bare: dict[str, dict[str, Any]] = {}
        self._sheets: set[str] = set()
        self._lookers = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="kshot-look")

    def close(self) -> None:
        """Wait for who still looks."""
        self._lookers.shutdown()

    def base(self, name: str) -> Learner:
        """A base by name. Raises NotFound."""
        if name not in self.bases:
            raise NotFound(f"base {name!r} is not served; served are {sorted(self.bases)}")
        return self.bases[name]

    def coming(self, asked: Sequence[tuple[str, str, int | None]]) -> list[Coming]:
        """Begin to read several models (tenant, id, version) at once, for `come`: what waits for a disk or a network waits
        together, and while inputs are encoded.
        """
        found = [Coming(*one) for one in asked]
        cold = [one for one in found if (one.tenant, one.model) not in self._models]
        if self.store.shelf is None:
            for one in cold[1:]:  # the first is read by who asks
                one.looked = self._lookers.submit(self.store.look, one.tenant, one.model)
            return found
        for tenant in {one.tenant for one in cold}:
            own = [one for one in cold if one.tenant == tenant]
            for start in range(0, len(own), _TOGETHER):
                self._look(tenant, own[start : start + _TOGETHER])
        return found

    def _look(self, tenant: str, cold: Sequence[Coming]) -> None:
        try:
            if len(cold) == 1:
                looked = {cold[0].model: self.store.look(tenant, cold[0].model)}
            else:
                looked = self.store.look_together(tenant, [one.model for one in cold])
        except ServingError:  # `come` tells why, and to whom it belongs
            return
        for one in cold:
            one.rows = looked[one.model]
            if one.rows and one.version is None:
                one.learner = self.bases.get(one.rows[0].base)

    def get(self, tenant: str, model: str, version: int | None = None) -> tuple[Adapted, int]:
        """A stored version; its inputs are read when looked at.

        The cache is asked by the model's sealing key too, so what was forgotten, here or in another process, is never
        answered from.
        """
        held = self._recalled(tenant, model, version)
        if held is not None and isinstance(held[0], Adapted):
            self._observed.cache_hits.inc()
            return held[0], held[1]
        self._observed.cache_misses.inc()
        return self._loaded(tenant, model, version, None)

    def come(self, coming: Coming) -> tuple[Adapted | Answerer, int]:
        """What answers questions, of what `coming` began to read; otherwise as `get`."""
        tenant, model, version = coming.tenant, coming.model, coming.version
        held = self._recalled(tenant, model, version)
        if held is not None:
            self._observed.cache_hits.inc()
            return held
        self._observed.cache_misses.inc()
        rows = coming.rows if coming.looked is None else coming.looked.result()
        found = self.store.on_sheet(tenant, model, version, rows)
        if found is None or not found.sheet.kept.solved:
            return self._loaded(tenant, model, version, rows)
        sheet = found.sheet
        learner = self._own_base(model, sheet.base, found.fingerprint)
        space = _space(sheet.space) if len(sheet.space) <= _SHORT else _space.__wrapped__(sheet.space)
        known = self._known(learner, sheet.base, space, len(sheet.numbers))
        settings = self._settings(learner, sheet.base, space, sheet.kept, known)
        answerer = Answerer(learner, space, sheet.kept, found.features, settings)
        self._keep((tenant, model, sheet.version, found.slot), answerer, answerer.weight)
        return answerer, sheet.version

    def _settings(
        self, learner: Learner, base: str, space: OutputSpace, kept: Kept, known: Cell | None
    ) -> dict[str, Any]:
        """Settings for `space.decode`; those of a base that was never calibrated are the same for all its tasks."""
        if kept.gauge is not None and known is not None:
            return settings_of(learner, space, Gauge(*kept.gauge), known)
        if base not in self._bare:
            self._bare[base] = settings_of(learner, space, None, None)
        return self._bare[base]

    def _recalled(
        self, tenant: str, model: str, version: int | None
    ) -> tuple[Adapted | Answerer, int] | None:
        """What is in memory of a version, with its number; None: nothing."""
        if (tenant, model) not in self._models:  # then one look at the store is enough
            return None
        newest, slot = self.store.head(tenant, model)
        number = newest if version is None else version
        place = (tenant, model, number, slot)
        with self._lock:
            held = self._cache.get(place)
            if held is not None:
                self._cache.move_to_end(place)
        return None if held is None else (held[0], number)

    def _loaded(
        self, tenant: str, model: str, version: int | None, rows: list[Any] | None
    ) -> tuple[Adapted, int]:
        """A version out of the store; `rows` are what was looked up of it."""
        stored = self.store.quick(tenant, model, version, rows)
        number = stored.version.version
        task = self.of(tenant, stored)
        if stored.kept is None and version is None and (kept := kept_of(task)) is not None:
            self._sheet_later(tenant, stored, kept)
        # what was kept of a state is an eighth of the features at most, or very small, and they are the same tensor there
        other = size_of(task.state) if stored.kept is None else 0
        self._keep((tenant, model, number, stored.slot), task, size_of(task.embedded) * 9 // 8 + other)
        return task, number

    def whole(self, tenant: str, model: str, version: int | None) -> tuple[Adapted, int]:
        """As `get`, with the inputs read."""
        task, number = self.get(tenant, model, version)
        if isinstance(task.inputs, Deferred):
            task = replace(task, inputs=task.learner.encoder.read(task.inputs.all()))
        return task, number

    def drop(self, tenant: str, model: str) -> None:
        """Keep nothing of a model."""
        with self._lock:
            for place in [p for p in self._cache if p[:2] == (tenant, model)]:
                self._gone(place, self._cache.pop(place)[1])

    def of(self, tenant: str, stored: Stored) -> Adapted:
        """A version as a value. Features or a state that are not kept are made again, and kept."""
        version = stored.version
        learner = self.own_base(stored)
        space = space_from_json(json.loads(version.space))
        inputs = self.inputs(tenant, stored)
        embedded = self.embedded(tenant, stored, inputs)
        ids = _names(version.numbers)
        if stored.state is not None:
            state = unpack_state(learner, stored.state)
            return Adapted(learner, space, inputs, stored.labels, ids, embedded, state)
        if stored.kept is not None:
            return self._grown(learner, space, inputs, stored, ids, embedded, stored.kept)
        task = Adapted.of_embedded(learner, space, inputs, stored.labels, ids, embedded)
        if (state := kept_state(task)) is not None:
            self._cached_again(lambda: self.store.put_state(tenant, stored, state))
        return task

    def _grown(
        self,
        learner: Learner,
        space: OutputSpace,
        inputs: Deferred,
        stored: Stored,
        ids: tuple[str, ...],
        embedded: Embedded,
        kept: Kept,
    ) -> Adapted:
        """A version from what was kept of it. What the task would compute when it first answers is filled in."""
        if kept.solved:
            state = learner.grown(kept.solved, embedded.numpy(force=True))
            task = Adapted(learner, space, inputs, stored.labels, ids, embedded, state)
        else:
            task = Adapted.of_embedded(learner, space, inputs, stored.labels, ids, embedded)
        if not isinstance(space, Classes):
            return task
        known = self._known(learner, stored.version.base, space, len(ids))
        return task.remembering(None if kept.gauge is None else Gauge(*kept.gauge), known)

    def _known(self, learner: Learner, base: str, space: OutputSpace, count: int) -> Cell | None:
        """What a base knows about tasks of this space with so many examples."""
        if not isinstance(space, Classes):
            return None
        size = (base, space.size, count)
        if size not in self._knowledge:
            self._knowledge[size] = known(learner, space.size, count / space.size)
        return self._knowledge[size]

    def own_base(self, stored: Stored) -> Learner:
        """The base of a version, with the weights it was taught on.

        Raises:
            NotFound: it is not served. DataError: its weights have changed.
        """
        version = stored.version
        return self._own_base(version.model, version.base, version.fingerprint)

    def _own_base(self, model: str, base: str, mark: str) -> Learner:
        learner = self.base(base)
        if self.fingerprints[base] != mark:
            raise DataError(f"base {base!r} has other weights than when {model} was taught; rebase it")
        return learner

    def inputs(self, tenant: str, stored: Stored) -> Deferred:
        """The inputs of a version's examples."""
        version = stored.version
        return Deferred(
            len(version.numbers), lambda: self.store.inputs(tenant, version.model, version.numbers)
        )

    def embedded(self, tenant: str, stored: Stored, inputs: Deferred) -> Embedded:
        """Embeddings of a version's examples: as kept, or made again from the inputs."""
        learner = self.own_base(stored)
        if stored.features is not None:
            return stored.features.float()
        made = rounded(learner, self._embed(learner, learner.encoder.read(inputs.all())))
        if keeps(learner, made):
            version = stored.version
            self._cached_again(
                lambda: self.store.put_features(
                    tenant,
                    version.model,
                    version.fingerprint,
                    dict(zip(version.numbers, made.half(), strict=True)),
                )
            )
        return made

    def _sheet_later(self, tenant: str, stored: Stored, kept: Kept) -> None:
        """Have a sheet written, once. Who asked is answered meanwhile: a commit takes as long as several answers."""
        model = stored.version.model
        with self._lock:
            if model in self._sheets:
                return
            self._sheets.add(model)

        def written(done: Future[None]) -> None:
            self._sheets.discard(model)
            fault = done.exception()
            if fault is not None and not isinstance(fault, StoreFull | Busy | Conflict):
                _LOG.warning("%s: its sheet was not kept (%s)", model, fault)

        try:
            self.store.put_sheet(tenant, stored, kept).add_done_callback(written)
        except Busy:  # the store is being closed
            self._sheets.discard(model)

    @staticmethod
    def _cached_again(write: Callable[[], Any]) -> None:
        try:
            write()
        except (StoreFull, Busy, Conflict):  # only a cache: answers go on without
            return

    def _keep(self, place: tuple[str, str, int, int], task: Adapted | Answerer, tensors: int) -> None:
        """Keep a task in memory; where that is full, only one that was asked before, not long ago. So traffic over more
        tasks than it holds neither drives out those that are asked often, nor pays for moving others in and out.
        """
        size, owner = _EACH + tensors, place[:2]
        with self._lock:
            if self._held + size > _ROOM and owner not in self._asked:
                self._asked[owner] = None
                if len(self._asked) > _REMEMBERED:
                    self._asked.popitem(last=False)
                return
            self._asked.pop(owner, None)
            if place in self._cache:
                self._gone(place, self._cache.pop(place)[1])
            self._cache[place] = (task, size)
            self._held += size
            self._models[owner] += 1
            while self._held > _ROOM and len(self._cache) > 1:
                oldest, (_, weight) = self._cache.popitem(last=False)
                self._gone(oldest, weight)

    def _gone(self, place: tuple[str, str, int, int], size: int) -> None:
        self._held -= size
        self._models[place[:2]] -= 1
        if not self._models[place[:2]]:
            del self._models[place[:2]]


@lru_cache(1024)
def _names(numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Ids of examples; many tasks have the same."""
    return tuple(f"e{n}" for n in numbers)


@lru_cache(1024)
def _space(told: str) -> OutputSpace:
    """A space out of its JSON; it is never changed, and many tasks have the same."""
    return space_from_json(json.loads(told))
