"""Takes a request to the service and its answer back: threads, JSON, ETags, idempotency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from fastapi import Response

from kshot.errors import UserError
from kshot.serving.faults import Conflict, Corrupt, MatchMissing, StillRunning, StoreFull, TooLarge
from kshot.serving.http.keys import Caller
from kshot.serving.http.line import Line
from kshot.serving.http.plainly import as_json
from kshot.serving.limits import Limits
from kshot.serving.service import Asked, Service

_PATIENCE = 10.0
_ASKING, _TEACHING = 2, 4
_LIGHT, _LARGE = 8, 200_000
"""Inputs, and characters of one, of a request that is answered together with others."""


class Desk:
    """Runs the service's methods in threads, so that slow lessons leave room for questions.

    Args:
        service: whose methods are run. limits: whether changes must name the version they are meant for.
    """

    def __init__(self, service: Service, limits: Limits) -> None:
        self.service, self.limits = service, limits
        self._asking = ThreadPoolExecutor(_ASKING, "kshot-ask")
        self._teaching = ThreadPoolExecutor(_TEACHING, "kshot-teach")
        self._line = Line(service)
        self._running: dict[tuple[str, str], list[Any]] = {}

    def close(self) -> None:
        """Let the threads go when their work is done."""
        self._line.close()
        self._asking.shutdown(wait=False)
        self._teaching.shutdown(wait=False)

    async def ask(self, method: Callable[..., Any], *given: Any, **named: Any) -> Response:
        """The answer of a method that changes nothing."""
        work = partial(_answered, self._watched(method), given, named, 200)
        return await asyncio.get_running_loop().run_in_executor(self._asking, work)

    async def predict(
        self, tenant: str, model: str, inputs: list[Any], version: int | None = None
    ) -> Response:
        """The answer of the service's predict; small requests are answered together, in one thread."""
        if len(inputs) > _LIGHT or any(isinstance(x, str) and len(x) > _LARGE for x in inputs):
            return await self.ask(self.service.predict, tenant, model, inputs, version=version)
        told = await self._line.answer(Asked(tenant, model, inputs, version, time.perf_counter()))
        return Response(told, 200, media_type="application/json")

    async def study(self, method: Callable[..., Any], *given: Any, **named: Any) -> Response:
        """As `ask`, for what may take long."""
        work = partial(_answered, self._watched(method), given, named, 200)
        return await asyncio.get_running_loop().run_in_executor(self._teaching, work)

    async def change(
        self,
        tenant: str,
        key: str | None,
        method: Callable[..., Any],
        *given: Any,
        status: int = 201,
        **named: Any,
    ) -> Response:
        """The answer of a method that changes a model; one request at a time for one idempotency key, which the
        method gets too.

        Raises:
            StillRunning: the first request with this key is not done after ten seconds.
        """
        named = named if key is None else {**named, "key": key}
        work = partial(_answered, self._adapting(method), given, named, status)
        if key is None:
            return await asyncio.get_running_loop().run_in_executor(self._teaching, work)
        turn = self._running.setdefault((tenant, key), [asyncio.Lock(), 0])
        turn[1] += 1
        try:
            await asyncio.wait_for(turn[0].acquire(), _PATIENCE)
        except TimeoutError:
            raise StillRunning(
                f"the first request with Idempotency-Key {key!r} still runs; ask again later"
            ) from None
        finally:
            turn[1] -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._teaching, work)
        finally:
            turn[0].release()
            if not turn[1]:
                self._running.pop((tenant, key), None)

    async def room(self, caller: Caller) -> None:
        """Raise TooLarge where the caller's tenant has as many models as it may have."""
        if caller.limited:
            loop, count = asyncio.get_running_loop(), self.service.store.count
            if await loop.run_in_executor(self._asking, count, caller.tenant) >= self.limits.models:
                raise TooLarge(
                    f"tenant {caller.tenant!r} has {self.limits.models} models; delete some of them first"
                )

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, with failures of the store counted."""

        def work(*given: Any, **named: Any) -> Any:
            try:
                return method(*given, **named)
            except (Corrupt, StoreFull):
                self.service.observed.store_errors.inc()
                raise

        return work

    def _adapting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, watched and timed under the learner that it adapted."""
        watched = self._watched(method)

        def work(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            told = watched(*given, **named)
            if isinstance(told, dict) and told.get("base") in self.service.bases:
                kind = self.service.bases[told["base"]].kind
                self.service.observed.adapt_seconds.labels(kind).observe(time.perf_counter() - began)
            return told

        return work

    def match(self, if_match: str | None) -> int | None:
        """The version that an If-Match header names; None: any.

        Raises:
            MatchMissing: there must be one. Conflict: a weak ETag, which never matches. UserError: no ETag at all.
        """
        if if_match is None:
            if self.limits.match_required:
                raise MatchMissing(
                    "this server changes a model only with If-Match; send the ETag you read, or *"
                )
            return None
        value = if_match.strip()
        if value == "*":
            return None
        if value.startswith("W/"):
            raise Conflict(f"If-Match is {if_match!r}; a weak ETag never matches: send it as it came")
        number = value.strip('"')
        if not number.isdecimal() or len(number) > 9:
            raise UserError(
                f"If-Match is {if_match!r}; send the ETag of the model, a version number in quotes"
            )
        return int(number)


def _answered(
    method: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any], status: int
) -> Response:
    told = method(*given, **named)
    if isinstance(told, Response):
        return told
    if told is None:
        return Response(status_code=204)
    response = Response(as_json(told), status, media_type="application/json")
    if "id" in told and "version" in told:
        response.headers["ETag"] = f'"{told["version"]}"'
        if status == 201:
            response.headers["Location"] = f"/v1/models/{told['id']}"
    return response
