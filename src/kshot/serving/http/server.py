"""Runs the application until it is told to stop, and then answers on until nobody asks any more."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kshot.serving.http.app import App
from kshot.serving.http.gate import Gate
from kshot.serving.limits import Limits

_HEAD_BYTES = 64 * 1024
_KEEP_ALIVE = 65
_QUIET = 0.5
_AFTER = 4
_DOOR = 1.0


def serve(app: App, host: str, port: int) -> None:
    """Answer at host:port until SIGTERM or Ctrl-C; returns when the last answer is out.

    From the signal on /readyz says no and every answer closes its connection; when nobody has asked for half a
    second, or `drain_seconds` have passed, no more is accepted, and what is in work is finished.
    """
    limits = app.desk.limits

    class Connection(Watched):
        silence = limits.silence_seconds

    config = uvicorn.Config(
        app, host=host, port=port, http=Connection, log_level="warning", access_log=False, lifespan="on",
        server_header=False, proxy_headers=False, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_AFTER,
    )  # fmt: skip
    gc.collect()
    gc.freeze()  # the bases stay for good; looking through them again and again costs the slowest answers
    Draining(config, app.gate, limits).run()


def log_requests() -> None:
    """One JSON line per request on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("kshot.access")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class Draining(uvicorn.Server):
    """A server that on the first signal lets clients go before it closes the door, so that none is cut off."""

    def __init__(self, config: uvicorn.Config, gate: Gate, limits: Limits) -> None:
        super().__init__(config)
        self._gate, self._seconds, self._told = gate, limits.drain_seconds, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal starts draining, a second one ends it."""
        if self._gate.draining:
            self.should_exit = self.force_exit = True
        else:
            self._gate.draining, self._told = True, time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it time to go?"""
        if self._gate.draining:
            now = time.monotonic()
            idle = not self._gate.inside and now - max(self._told, self._gate.last) > _QUIET
            self.should_exit |= idle or now - self._told > self._seconds
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door first, and let those in it ask: a connection that is dropped with a request on its way is
        reset."""  # fmt: skip
        await self._last()
        await asyncio.sleep(_DOOR)
        await super().shutdown(sockets)

    async def _last(self) -> None:
        """Close the door behind those whom the system has let in, though nobody has received them: closing a listening
        socket resets them. On a busy machine there are some."""
        doors = [held.dup() for listener in self.servers for held in listener.sockets]
        for listener in self.servers:
            listener.close()
        late: list[socket.socket] = []
        for door in doors:
            door.setblocking(False)
            with contextlib.suppress(OSError):  # BlockingIOError: that was the last
                while True:
                    late.append(door.accept()[0])
            door.close()
        for one in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, one)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


class Watched(HttpToolsProtocol):
    """A connection that is closed when it sends no whole request head in time, or an endless one."""

    silence = 10.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._alarm: Any = None
        self._head = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._alarm is None and (self.cycle is None or self.cycle.response_complete):
            self._arm()
        if self._alarm is not None:
            self._head += len(data)
        super().data_received(data)
        if self._alarm is not None and self._head > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head is over {_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _arm(self) -> None:
        self._head = 0
        self._alarm = self.loop.call_later(self.silence, self._silent)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _silent(self) -> None:
        self._alarm = None
        if not self.transport.is_closing():
            self.transport.close()
