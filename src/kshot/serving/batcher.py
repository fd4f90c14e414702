"""Inputs of requests that wait at the same time are encoded together, whatever task they ask.

Nobody waits for company, and there is no thread in between: who comes while nothing is encoded encodes what has
gathered, its own first; who comes meanwhile is served by the next round, which the first of the waiting leads.
So a lone request changes no thread, and under load a round takes at most 8.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kshot.learners import Learner
from kshot.learners.eval_mode import evaluating
from kshot.serving.faults import Busy
from kshot.serving.observing import Observed

MOST = 8
"""Requests that are encoded together."""


class _Waiting:
    """One request's inputs on their way through the encoder."""

    def __init__(self, learner: Learner, prepared: Any, since: float | None = None) -> None:
        self.learner, self.prepared = learner, prepared
        self.turn = threading.Event()
        self.since = time.perf_counter() if since is None else since
        self.found: Any = None
        self.fault: Exception | None = None

    @property
    def done(self) -> bool:
        return self.found is not None or self.fault is not None

    @property
    def outcome(self) -> Tensor | Exception:
        found = self.fault if self.found is None else self.found
        assert found is not None
        return found


class Batcher:
    """Encodes for many threads.

    Args:
        room: requests that may wait. observed: where waiting times and batch sizes are counted.
    """

    def __init__(self, room: int = 1024, observed: Observed | None = None) -> None:
        self._room, self._observed = room, observed
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._led = False

    def embed(self, learner: Learner, read: Any) -> Any:
        """Embeddings of inputs as read (a tensor or a list of tensors); equal to encoding them alone within 1e-5.

        Raises:
            Busy: too many requests wait.
        """
        mine = _Waiting(learner, learner.prepared(read))
        with self._lock:
            if len(self._queue) >= self._room:
                raise Busy(f"{self._room} requests wait already; try again in a second")
            self._queue.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.turn.wait()
        if not mine.done:
            self._lead()
        found = mine.outcome
        if isinstance(found, Exception):
            raise found
        return found

    def embed_many(self, asked: Sequence[tuple[Learner, Any, float]]) -> list[Tensor | Exception]:
        """Embeddings for several requests (learner, inputs as read, waiting since), encoded together here and now.

        One that cannot be encoded gets its error as the value and harms no other.
        """
        batch: list[_Waiting | Exception] = []
        for learner, read, since in asked:
            try:
                batch.append(_Waiting(learner, learner.prepared(read), since))
            except Exception as cause:
                batch.append(cause)
        self._encode([one for one in batch if isinstance(one, _Waiting)])
        return [one.outcome if isinstance(one, _Waiting) else one for one in batch]

    def close(self) -> None:
        """Nothing is left to stop: the last request has taken its answer with it."""

    def _lead(self) -> None:
        """Encode what has gathered, hand it out, and pass the lead to the first of those that wait."""
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(MOST, len(self._queue)))]
        try:
            self._encode(batch)
        finally:
            with self._lock:
                following = self._queue[0] if self._queue else None
                self._led = following is not None
            for waiting in (*batch, following):
                if waiting is not None:
                    waiting.turn.set()

    def _encode(self, batch: list[_Waiting]) -> None:
        if self._observed is not None and batch:
            now = time.perf_counter()
            self._observed.batch_size.observe(len(batch))
            for waiting in batch:
                self._observed.queue_seconds.observe(now - waiting.since)
        groups: dict[int, list[_Waiting]] = {}
        for waiting in batch:
            groups.setdefault(id(waiting.learner), []).append(waiting)
        for group in groups.values():
            _together(group)


def _together(group: list[_Waiting]) -> None:
    learner = group[0].learner
    try:
        prepared = [waiting.prepared for waiting in group]
        with torch.no_grad(), evaluating(learner):
            found = learner.embed(prepared[0] if len(group) == 1 else learner.encoder.join(prepared))
        parts = _split(found, [len(one) for one in prepared])
    except Exception as cause:
        if len(group) == 1:
            group[0].fault = cause
        else:  # one bad input must not fail its neighbours
            for waiting in group:
                _together([waiting])
        return
    for waiting, part in zip(group, parts, strict=True):
        waiting.found = part


def _split(found: Any, counts: list[int]) -> list[Any]:
    """Embeddings back to the requests they came from; where they are of unequal size they are a list."""
    if isinstance(found, Tensor):
        return list(torch.split(found, counts))
    ends = list(itertools.accumulate(counts))
    return [found[end - count : end] for end, count in zip(ends, counts, strict=True)]
