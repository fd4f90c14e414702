"""A client of `kshot serve`, of the standard library alone.

    from kshot.client import Client

    client = Client("http://127.0.0.1:8000")
    model = client.teach("desk", [("where is my card?", "card"), ("send money to Ann", "transfer")])
    model.predict(["my card is lost"])[0]["label"]
    model.add([("block my card", "card")])

Requests that change something carry an idempotency key of their own, so a retry never does a thing twice.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import secrets
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from kshot.errors import KshotError, SettingError

__all__ = ["Answer", "Client", "Model", "Refused", "Unreachable"]

Examples = Iterable[tuple[Any, Any]]
_AGAIN = (429, 503)
_LONGEST = 8.0


class Answer(TypedDict, total=False):
    """One prediction: `label`, `unknown`, `probabilities` and `set` for classes; `value` and `deviation` for numbers."""

    label: Any
    unknown: bool
    probabilities: dict[str, float]
    set: list[Any]
    value: list[float]
    deviation: list[float] | None


class Refused(KshotError):
    """The server refused a request.

    Attributes:
        status: of HTTP. title: the kind. field: the part of the request that is wrong, or None.
        request_id: to find it in the server's log.
    """

    def __init__(self, status: int, about: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {about.get('detail') or about.get('title') or 'refused'}")
        self.status, self.title = status, str(about.get("title", ""))
        self.field, self.request_id = about.get("field"), str(about.get("request_id", ""))


class Unreachable(KshotError):
    """No whole answer came from the server, however often it was asked."""


class Client:
    """A server, asked over one connection per thread.

    Args:
        url: where it is. key: from `kshot keys create`; by default the environment's KSHOT_KEY.
        timeout: seconds for one answer. retries: how often to ask again after 429, 503 or a broken connection.

    >>> Client("http://127.0.0.1:8000").url
    'http://127.0.0.1:8000'
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 4) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError(f"url is {url!r}; give one like http://127.0.0.1:8000")
        self.url, self.timeout, self.retries = url.rstrip("/"), timeout, retries
        self._parts, self._key = parts, key or os.environ.get("KSHOT_KEY", "")
        self._mine = threading.local()
        self._lines: list[http.client.HTTPConnection] = []
        self._chance = secrets.SystemRandom()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; it may be used again."""
        self._mine = threading.local()
        while self._lines:
            self._lines.pop().close()

    def teach(self, base: str, examples: Examples, *, name: str = "") -> Model:
        """A new model from (input, label) pairs. Inputs are texts, rows of numbers, or images as bytes, paths or PIL."""
        return Model(
            self, self._post("/v1/models", {"base": base, "examples": posted(examples), "name": name})
        )

    def take_in(self, path: str | Path) -> Model:
        """A new model from a file that `task.save` wrote; its base must be served there."""
        return Model(self, self._post("/v1/models/import", Path(path).read_bytes()))

    def model(self, name: str) -> Model:
        """A model by its id."""
        return Model(self, self.ask("GET", f"/v1/models/{urllib.parse.quote(name, safe='')}"))

    def models(self) -> Iterator[dict[str, Any]]:
        """All your models: id, name, base, version."""
        return self._pages("/v1/models", "models")

    def bases(self) -> list[dict[str, Any]]:
        """What may be taught."""
        return list(self.ask("GET", "/v1/bases")["bases"])

    def ready(self) -> bool:
        """Can the server be taught now?"""
        try:
            return bool(self.ask("GET", "/readyz", retries=0)["ready"])
        except KshotError:
            return False

    def _pages(self, path: str, what: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = ""
        while cursor is not None:
            page = self.ask("GET", f"{path}?limit=200&cursor={cursor}")
            yield from page[what]
            cursor = page["cursor"]

    def _post(self, path: str, body: Any, *, match: int | None = None) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("POST", path, body, match=match, key=secrets.token_hex(16)))

    def ask(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        match: int | None = None,
        key: str | None = None,
        retries: int | None = None,
    ) -> Any:
        """One request, asked again where that is safe; the JSON of the answer, bytes, or None.

        Raises:
            Refused: the server says no. Unreachable: it says nothing.
        """
        data, head = self._head(body, match, key)
        left = self.retries if retries is None else retries
        pause = 0.2
        while True:
            try:
                status, kind, answer, wait = self._once(verb, path, data, head)
            except (OSError, http.client.HTTPException) as cause:
                if not left:
                    raise Unreachable(
                        f"{self.url} does not answer {verb} {path} ({cause}); is it running?"
                    ) from cause
                status, wait = 0, 0.0
            if status and (status not in _AGAIN or not left):
                break
            left -= 1
            time.sleep(max(wait, pause) * self._chance.uniform(1.0, 1.5))
            pause = min(_LONGEST, 2 * pause)
        if status >= 400:
            raise Refused(
                status, json.loads(answer) if "json" in kind else {"detail": answer[:200].decode("latin-1")}
            )
        return json.loads(answer) if "json" in kind else answer or None

    def _head(self, body: Any, match: int | None, key: str | None) -> tuple[bytes | None, dict[str, str]]:
        head = {"Accept": "application/json"}
        if self._key:
            head["Authorization"] = f"Bearer {self._key}"
        if match is not None:
            head["If-Match"] = f'"{match}"'
        if key is not None:
            head["Idempotency-Key"] = key
        if isinstance(body, bytes):
            return body, {**head, "Content-Type": "application/octet-stream"}
        if body is None:
            return None, head
        return json.dumps(body).encode(), {**head, "Content-Type": "application/json"}

    def _once(
        self, verb: str, path: str, data: bytes | None, head: dict[str, str]
    ) -> tuple[int, str, bytes, float]:
        line: http.client.HTTPConnection | None = getattr(self._mine, "line", None)
        if line is None:
            line = self._mine.line = self._connect()
            self._lines.append(line)
        try:
            line.request(verb, self._parts.path.rstrip("/") + path, data, head)
            response = line.getresponse()
            answer = response.read()
        except BaseException:
            line.close()
            self._mine.line = None
            self._lines.remove(line)
            raise
        wait = response.getheader("Retry-After", "")
        return (
            response.status,
            response.getheader("Content-Type", ""),
            answer,
            float(wait) if wait.isdigit() else 0.0,
        )

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, port, timeout=self.timeout)


class Model:
    """A model on a server, as it was when it was last read or changed.

    Attributes:
        id, version, base, classes: what it is.
        told: all that the server said.
    """

    def __init__(self, client: Client, told: Mapping[str, Any]) -> None:
        self._client, self._path = client, f"/v1/models/{told['id']}"
        self.id: str = told["id"]
        self._take(told)

    def _take(self, told: Mapping[str, Any]) -> Model:
        self.told = dict(told)
        self.version: int = told["version"]
        self.base: str = told.get("base", "")
        self.classes: list[Any] = list(told.get("classes", ()))
        return self

    def __repr__(self) -> str:
        return f"Model({self.id!r}, version={self.version}, classes={self.classes})"

    def predict(self, inputs: Sequence[Any], *, version: int | None = None) -> list[Answer]:
        """One answer per input, by the newest version or another; a str is one input."""
        inputs = [inputs] if isinstance(inputs, str | bytes) else inputs
        path = self._path if version is None else f"{self._path}/versions/{version}"
        told = self._client.ask("POST", f"{path}/predict", {"inputs": [sendable(x) for x in inputs]})
        return list(told["predictions"])

    def add(self, examples: Examples, *, match: bool = False, golden: bool = False) -> Model:
        """Teach more. With `match` only if nobody else changed the model since it was read (else Refused, 412).

        With `golden` they are not learned from: they are kept with the model and must stay right, see `check`.
        """
        body = {"examples": [{**one, "golden": True} if golden else one for one in posted(examples)]}
        return self._take(self._client._post(f"{self._path}/examples", body, match=self._match(match)))

    def remove(self, ids: Sequence[str], *, forget: bool = False, match: bool = False) -> Model:
        """A version without these examples; with `forget` nothing of them stays on the server."""
        query = urllib.parse.urlencode([("id", name) for name in ids] + [("forget", str(forget).lower())])
        told = self._client.ask("DELETE", f"{self._path}/examples?{query}", match=self._match(match))
        return self._take(told)

    def feedback(
        self, value: Any, *, label: Any = None, answer: Any = None, good: bool | None = None
    ) -> dict[str, Any]:
        """Say what is right for an input, or whether an answer was; what is right becomes an example."""
        body = {"input": sendable(value), "label": label, "answer": answer, "good": good}
        told = self._client._post(f"{self._path}/feedback", body)
        self.version = told["version"]
        return told

    def explain(self, value: Any) -> dict[str, Any]:
        """Which examples decided the answer to one input."""
        return dict(self._client.ask("POST", f"{self._path}/explain", {"input": sendable(value)}))

    def check(self, examples: Examples | None = None) -> dict[str, Any]:
        """How many of these are answered as labelled; None: of the golden ones that the model carries."""
        body = None if examples is None else {"examples": posted(examples)}
        return dict(self._client.ask("POST", f"{self._path}/check", body))

    def label_next(self, inputs: Sequence[Any], count: int = 10) -> list[dict[str, Any]]:
        """Which of these inputs to label first, the most useful first; `place` says which."""
        body = {"inputs": [sendable(x) for x in inputs], "count": count}
        return list(self._client.ask("POST", f"{self._path}/label-next", body)["suggestions"])

    def examples(self) -> Iterator[dict[str, Any]]:
        """Ids and labels of the examples."""
        return self._client._pages(f"{self._path}/examples", "examples")

    def versions(self) -> Iterator[dict[str, Any]]:
        """The versions, the newest first."""
        return self._client._pages(f"{self._path}/versions", "versions")

    def restore(self, version: int) -> Model:
        """A new version with the examples of an older one: undo."""
        return self._take(self._client._post(f"{self._path}/versions/{version}/restore", None))

    def rebase(self, base: str) -> Model:
        """A new version of the same examples on another base."""
        return self._take(self._client._post(f"{self._path}/rebase", {"base": base}))

    def export(self, path: str | Path, *, format: str = "kshot") -> Path:
        """Save the newest version as a file, which `kshot.load` opens."""
        Path(path).write_bytes(self._client.ask("GET", f"{self._path}/export?format={format}"))
        return Path(path)

    def delete(self) -> None:
        """Delete the model with everything that was stored of it."""
        self._client.ask("DELETE", self._path)

    def _match(self, match: bool) -> int | None:
        return self.version if match else None


def posted(examples: Examples) -> list[dict[str, Any]]:
    """Pairs as the server takes them.

    >>> posted([([0.5, 1.0], "low")])
    [{'input': [0.5, 1.0], 'label': 'low'}]
    """
    return [{"input": sendable(value), "label": sendable(label)} for value, label in examples]


def sendable(value: Any) -> Any:
    """An input as JSON: bytes, paths and PIL images become base64, arrays become lists.

    >>> sendable(b"abc")
    'YWJj'
    """
    if isinstance(value, Path):
        value = value.read_bytes()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "save") and hasattr(value, "mode"):
        written = io.BytesIO()
        value.save(written, "PNG")
        return base64.b64encode(written.getvalue()).decode()
    return value.tolist() if hasattr(value, "tolist") else value
