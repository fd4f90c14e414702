"""Where small questions wait, and how several of them are answered together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from kshot.serving.batcher import MOST
from kshot.serving.faults import Corrupt, StoreFull
from kshot.serving.http.plainly import as_json
from kshot.serving.service import Asked, Service


class Line:
    """Small questions in the order they came, answered by one thread, as many together as have gathered.

    One thread, because several that hold Python's lock in turn answer a third less in all than one does.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(1, "kshot-line")
        self._waiting: deque[tuple[Asked, asyncio.Future[bytes]]] = deque()
        self._lock, self._busy = threading.Lock(), False

    def close(self) -> None:
        """Let the thread go when its work is done."""
        self._thread.shutdown(wait=False)

    async def answer(self, asked: Asked) -> bytes:
        """The JSON of the answer to one question."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        with self._lock:
            self._waiting.append((asked, future))
            idle, self._busy = not self._busy, True
        if idle:
            self._thread.submit(self._run, loop)
        return await future

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
                self._busy = bool(batch)
            if not batch:
                return
            try:
                found = self._service.predict_many([asked for asked, _ in batch])
                told = [one if isinstance(one, Exception) else as_json(one) for one in found]
            except Exception as cause:
                told = [cause] * len(batch)
            for one in told:
                if isinstance(one, Corrupt | StoreFull):
                    self._service.observed.store_errors.inc()
            loop.call_soon_threadsafe(_hand_out, [future for _, future in batch], told)


def _hand_out(futures: list[asyncio.Future[bytes]], told: list[bytes | Exception]) -> None:
    for future, one in zip(futures, told, strict=True):
        if future.done():  # its client gave up
            continue
        if isinstance(one, Exception):
            future.set_exception(one)
        else:
            future.set_result(one)
