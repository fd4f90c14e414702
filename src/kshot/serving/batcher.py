"""Inputs of requests that wait at the same time are encoded together, whatever task they ask."""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

from kshot.learners import Learner
from kshot.learners.learner import evaluating
from kshot.serving.faults import Busy

_MOST = 8
_Item = tuple[Learner, Tensor, "Future[Tensor]"]


class Batcher:
    """One thread that encodes. It never waits for company: it takes what has gathered, at most 8 requests."""

    def __init__(self, room: int = 1024) -> None:
        self._queue: queue.Queue[_Item | None] = queue.Queue(room)
        self._thread = threading.Thread(target=self._run, name="kshot-encoder", daemon=True)
        self._thread.start()

    def embed(self, learner: Learner, read: Any) -> Tensor:
        """Embeddings of inputs as read, [n, ...]; equal to encoding them alone within 1e-5.

        Raises:
            Busy: too many requests wait.
        """
        done: Future[Tensor] = Future()
        try:
            self._queue.put_nowait((learner, learner.prepared(read), done))
        except queue.Full:
            raise Busy(f"{self._queue.maxsize} requests wait already; try again in a second") from None
        return done.result()

    def close(self) -> None:
        """Encode what waits, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MOST:
                    batch.append(self._queue.get_nowait())
            stopping = any(item is None for item in batch)
            groups: dict[int, list[_Item]] = {}
            for item in batch:
                if item is not None:
                    groups.setdefault(id(item[0]), []).append(item)
            for group in groups.values():
                _encode(group)


def _encode(group: list[_Item]) -> None:
    learner = group[0][0]
    try:
        with torch.no_grad(), evaluating(learner):
            found = learner.embed(learner.encoder.join([prepared for _, prepared, _ in group]))
        parts = torch.split(found, [len(prepared) for _, prepared, _ in group])
    except Exception as cause:
        if len(group) == 1:
            group[0][2].set_exception(cause)
        else:  # one bad input must not fail its neighbours
            for item in group:
                _encode([item])
        return
    for (_, _, done), part in zip(group, parts, strict=True):
        done.set_result(part)
