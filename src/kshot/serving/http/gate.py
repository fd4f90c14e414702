"""The door that every request passes: identity, limits, security headers, figures and the log.

Plain ASGI around the application, so that a body is counted while it streams in and nothing is buffered here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kshot.serving.faults import Busy, Denied, Forbidden, ServingError, TooLarge
from kshot.serving.http.figures import Figures
from kshot.serving.http.keys import Authority, bearer
from kshot.serving.http.problems import problem, refused_by_framework
from kshot.serving.limits import Limits

_LOG = logging.getLogger("kshot.access")
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Kept out of figures and log: machines ask them all day."""
OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/"})
"""Need no key: they tell nothing about anybody."""
OPEN_FOLDER = "/static/"
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
]


class Gate:
    """Around an ASGI application.

    Args:
        authority: who may come in. hosts: names in the Host header that are answered; None: all.

    Attributes:
        draining: answers tell the client to go elsewhere, and /readyz says so.
        inside: requests in work. last: when one came, by `time.monotonic`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authority: Authority,
        limits: Limits,
        figures: Figures,
        hosts: Collection[str] | None,
    ) -> None:
        self.app, self.authority, self.limits, self.figures = app, authority, limits, figures
        self.hosts = None if hosts is None else frozenset(hosts)
        self.draining, self.inside, self.last, self.read_now = False, 0, 0.0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = Visit(self, scope, receive, send)
        self.inside, self.last = self.inside + 1, time.monotonic()
        try:
            await visit.run()
        finally:
            self.inside -= 1
            self.read_now -= visit.read
            visit.note()


class Visit:
    """One request on its way through the gate."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self._receive, self._send = gate, scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _ID.match(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.id
        self.begun, self.status, self.read, self.sent = time.perf_counter(), 0, 0, 0
        self.path: str = scope["path"]

    async def run(self) -> None:
        """Let it in, or say why not; whatever happens, one whole answer is sent."""
        try:
            self._welcome()
            await self._identify()
            async with asyncio.timeout(self.gate.limits.request_seconds):
                await self.gate.app(self.scope, self.receive, self.send)
        except ServingError as refused:
            await self._refuse(refused)
        except HTTPException as refused:
            if not self.status:
                await refused_by_framework(refused, self.scope)(self.scope, self.receive, self.send)
        except TimeoutError:
            seconds = self.gate.limits.request_seconds
            await self._refuse(Busy(f"this took longer than {seconds:g} s; send less at once, or later"))
        except Exception:
            logging.getLogger("kshot.serving").exception("request %s failed", self.id)
            if not self.status:
                told = RuntimeError("the server failed; the log says more under this request_id")
                await problem(told, self.scope, 500)(self.scope, self.receive, self.send)

    async def _refuse(self, refused: ServingError) -> None:
        if not self.status:
            await problem(refused, self.scope)(self.scope, self.receive, self.send)

    def _welcome(self) -> None:
        gate = self.gate
        if gate.inside > gate.limits.queue and self.path not in QUIET:
            raise Busy(f"{gate.limits.queue} requests are in work already; try again in a second")
        if gate.hosts is not None:
            host = self.headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
            if name not in gate.hosts:  # a page of a foreign name that points here (DNS rebinding)
                raise Forbidden(
                    f"the Host {host[:100]!r} is not served; without keys it is {sorted(gate.hosts)}"
                )
            if self.headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and self.path.startswith(
                "/v"
            ):
                raise Forbidden(
                    f"a page of another site asked for {self.path[:100]!r}; without keys only this one may"
                )
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > gate.limits.body_bytes:
            raise self._too_large()

    async def _identify(self) -> None:
        if self.path in OPEN or self.path.startswith(OPEN_FOLDER):
            return
        caller = await self.gate.authority.caller(bearer(self.headers.get(b"authorization", b"")))
        if caller is None:
            raise Denied("no valid key came with the request; send Authorization: Bearer KEY")
        self.scope["state"]["caller"] = caller

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over {self.gate.limits.body_bytes} bytes; send less at once")

    async def receive(self) -> Message:
        """A piece of the body, counted; silence and too much of it end the request."""
        waiting = self._receive()
        if self.status:
            return await waiting
        try:
            message = (
                await asyncio.wait_for(waiting, self.gate.limits.silence_seconds)
                if self._more()
                else await waiting
            )
        except TimeoutError:
            raise HTTPException(
                408, f"no byte of the body came for {self.gate.limits.silence_seconds:g} s"
            ) from None
        size = len(message.get("body", b""))
        self.read += size
        self.gate.read_now += size
        if self.read > self.gate.limits.body_bytes:
            raise HTTPException(413, str(self._too_large()))
        if self.gate.read_now > self.gate.limits.bodies_bytes:
            raise HTTPException(
                503, "too many bodies are being read; try again in a second", {"Retry-After": "1"}
            )
        self._done = not message.get("more_body", False)
        return message

    def _more(self) -> bool:
        return not getattr(self, "_done", False)

    async def send(self, message: Message) -> None:
        """A piece of the answer, with what every answer carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message["headers"]}
            more = [pair for pair in _SECURITY if pair[0] not in own]
            more.append((b"x-request-id", self.id.encode()))
            if self.path.startswith(("/v1", "/v2")):
                more.append((b"cache-control", b"no-store"))
            if self.gate.draining or self.status in (408, 413):
                more.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *more]}
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    def note(self) -> None:
        """Count it and write its line: never contents, never keys."""
        if self.path in QUIET:
            return
        seconds = time.perf_counter() - self.begun
        route = str(getattr(self.scope.get("route"), "path_format", "none"))
        self.gate.figures.answered(route, self.status, seconds)
        if _LOG.isEnabledFor(logging.INFO):
            caller = self.scope["state"].get("caller")
            line = {
                "time": round(time.time(), 3), "request_id": self.id, "method": self.scope["method"],
                "route": route, "status": self.status, "ms": round(1000 * seconds, 2),
                "bytes_in": self.read, "bytes_out": self.sent, "tenant": caller.tenant if caller else None,
            }  # fmt: skip
            _LOG.info(json.dumps(line))
