"""Real server processes, quickly: one process imports everything, and forks a server at each line it reads.

python nursery.py            reads lines of JSON {"port", "folder", "database", "artifacts"}, writes the pid of each child
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class Nursery:
    """Starts servers and kills them."""

    def __init__(self) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.children: list[int] = []

    def start(self, **asked: Any) -> tuple[int, int]:
        """Pid and port of a server that answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps({"port": port, **{k: str(v) for k, v in asked.items()}}) + "\n")
        self.parent.stdin.flush()
        pid = int(self.parent.stdout.readline())
        self.children.append(pid)
        end = time.monotonic() + 900  # a machine may be frozen while somebody measures
        while time.monotonic() < end:
            with suppress(OSError):
                if ask(port, "GET", "/readyz")[0] == 200:
                    return pid, port
            time.sleep(0.005)
        raise AssertionError("the server did not become ready within 900 s")

    def kill(self, pid: int) -> None:
        """As the machine's out-of-memory killer would."""
        os.kill(pid, signal.SIGKILL)
        self.children.remove(pid)

    def close(self) -> None:
        """End them all."""
        for pid in list(self.children):
            with suppress(ProcessLookupError):
                self.kill(pid)
        self.parent.kill()
        self.parent.communicate()


def ask(port: int, verb: str, path: str, body: Any = None, **head: str) -> tuple[int, Any]:
    """Status and JSON of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(verb, path, data, {"Content-Type": "application/json", **head})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def _serve(asked: dict[str, str]) -> None:
    from kshot.serving.http import create_app, server
    from kshot.serving.service import Service
    from kshot.serving.store import Store

    artifacts = asked.get("artifacts")
    store = (
        Store(asked["database"], artifacts)
        if "database" in asked
        else Store.at(Path(asked["folder"]), artifacts)
    )
    app = create_app(Service(store, _BASES), keys=False)
    server.serve(app, "127.0.0.1", int(asked["port"]))


if __name__ == "__main__":
    import torch

    import kshot
    import kshot.serving.http
    import kshot.serving.service

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed children leave nothing behind
    _BASES = {
        "rows": kshot.learners.ProtoNet(kshot.encoders.identity(2)),
        "wide": kshot.learners.ProtoNet(kshot.encoders.identity(3000)),
    }
    for line in sys.stdin:
        if pid := os.fork():
            print(pid, flush=True)  # noqa: T201
            continue
        os.close(0)
        os.dup2(2, 1)
        # torch makes its thread pool anew at the first call after a fork, and two threads that come first fail there
        torch.set_num_threads(1)
        _serve(json.loads(line))
        os._exit(0)
