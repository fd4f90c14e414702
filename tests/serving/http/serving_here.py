"""A real server on a real port, in a thread of the test's process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from kshot.serving.http import App
from kshot.serving.http.server import Draining, Watched


@contextlib.contextmanager
def served(app: App, silence: float = 10.0) -> Iterator[tuple[int, Draining]]:
    """Port and server; it is told to stop at the end."""

    class Connection(Watched):
        pass

    Connection.silence = silence
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http=Connection, log_level="critical", access_log=False,
        lifespan="on", timeout_keep_alive=65, timeout_graceful_shutdown=4,
    )  # fmt: skip
    server = Draining(config, app.gate, app.desk.limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port, server
    finally:
        server.handle_exit(15, None)
        thread.join(12)
        assert not thread.is_alive(), "the server did not end within 12 s"


def raw(port: int, *pieces: bytes, pause: float = 0.0, wait: float = 5.0) -> bytes:
    """What comes back for these bytes, sent one after the other; all until the server closes or is silent."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(pause)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := line.recv(65536):
                found += part
    return found


def head(path: str, size: int, *more: str, verb: str = "POST") -> bytes:
    """A request's head."""
    lines = [
        f"{verb} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", f"content-length: {size}", *more,
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
