"""The service over HTTP: /v1 resources, problem+json, keys, health, metrics."""

from __future__ import annotations

import collections
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from kshot.errors import KshotError, UserError
from kshot.serving.faults import Denied, ServingError, TooLarge
from kshot.serving.page import add_page
from kshot.serving.service import Service

MOST_BODY = 20 * 2**20
Message = MutableMapping[str, Any]


class Example(BaseModel):
    """An input with its label."""

    input: Any
    label: str | bool | int | float | list[float]


class Teach(BaseModel):
    """What a model is made of."""

    base: str
    examples: list[Example] = Field(min_length=1, max_length=1000)
    name: str = Field("", max_length=200)


class Examples(BaseModel):
    """Labelled examples."""

    examples: list[Example] = Field(min_length=1, max_length=1000)


class Inputs(BaseModel):
    """Inputs to answer."""

    inputs: list[Any] = Field(min_length=1, max_length=256)


class OneInput(BaseModel):
    """An input to explain."""

    input: Any


class BaseName(BaseModel):
    """A base to move to."""

    base: str


class Limited:
    """Counts a body while it streams in and answers 413 as soon as it is too large."""

    def __init__(self, app: Any, most: int = MOST_BODY) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        seen, parts, more = 0, [], scope["type"] == "http"
        while more:
            message = await receive()
            body = message.get("body", b"")
            seen += len(body)
            if seen > self.most:
                response = problem(TooLarge(f"the body is over {self.most} bytes; send less at once"))
                await response(scope, receive, send)
                return
            parts.append(body)
            more = message["type"] == "http.request" and message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay if scope["type"] == "http" else receive, send)


def problem(error: Exception, status: int | None = None) -> JSONResponse:
    """An error as problem+json (RFC 9457)."""
    usual = 422 if isinstance(error, KshotError | ValueError) else 500
    code = status or (error.status if isinstance(error, ServingError) else usual)
    about = {"type": "about:blank", "title": type(error).__name__, "status": code, "detail": str(error)}
    headers = {"Retry-After": "1"} if code == 503 else {"WWW-Authenticate": "Bearer"} if code == 401 else None
    return JSONResponse(about, code, headers, media_type="application/problem+json")


def make_key(service: Service, tenant: str, scopes: str = "read,predict,adapt") -> str:
    """A new key of a tenant; only its hash is stored, so it is shown this once."""
    key = "ks_" + secrets.token_urlsafe(32)
    service.store.put_key(hashlib.sha256(key.encode()).hexdigest(), key[:11], tenant, scopes)
    return key


class Figures:
    """What /metrics tells of one application: requests by route and code, and how many models there are."""

    def __init__(self, service: Service) -> None:
        self._service, self._answered = service, collections.Counter[tuple[str, str]]()
        self._told = CollectorRegistry()
        self._told.register(self)

    def count(self, route: str, code: int) -> None:
        """One more request was answered."""
        self._answered[route, str(code)] += 1

    def collect(self) -> Iterator[Metric]:
        """The families, as the client library asks for them."""
        requests = CounterMetricFamily("kshot_requests", "Requests answered", labels=["route", "code"])
        for labels, count in self._answered.copy().items():
            requests.add_metric(labels, count)
        yield requests
        yield GaugeMetricFamily("kshot_models", "Models of all tenants", value=self._service.store.count())

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._told)


def create_app(service: Service, *, keys: bool) -> FastAPI:
    """The application. Without `keys` everybody is one tenant: only for this machine alone."""
    app = FastAPI(title="kshot", docs_url=None, redoc_url=None)
    app.add_middleware(Limited)
    figures = Figures(service)
    _errors(app)
    _models(app, service, keys)
    _questions(app, service, keys)
    add_page(app, service, lambda scope: Depends(_tenant(service, keys, scope)))

    @app.middleware("http")
    async def count(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        route = getattr(request.scope.get("route"), "path", "none")
        figures.count(route, response.status_code)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/livez", include_in_schema=False)
    def livez() -> dict[str, bool]:
        return {"live": True}

    @app.get("/readyz", include_in_schema=False)
    def readyz(response: Response) -> dict[str, bool]:
        ready = service.store.writable()
        response.status_code = 200 if ready else 503
        return {"ready": ready}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(figures.text(), media_type="text/plain; version=0.0.4")

    return app


def _errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> JSONResponse:
        return problem(error)

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return problem(UserError(f"{place}: {first['msg']}"), 422)

    async def broken(request: Request, error: Exception) -> JSONResponse:
        return problem(RuntimeError("the server failed"), 500)

    app.add_exception_handler(KshotError, refused)
    app.add_exception_handler(ValueError, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(Exception, broken)


def _tenant(service: Service, keys: bool, scope: str) -> Callable[..., Awaitable[str]]:
    async def tenant(authorization: Annotated[str, Header()] = "") -> str:
        if not keys:
            return "local"
        given = authorization.removeprefix("Bearer ").strip()
        found = await run_in_threadpool(service.store.key, hashlib.sha256(given.encode()).hexdigest())
        if found is None:
            raise Denied("no valid key; send Authorization: Bearer KEY")
        if scope not in found[1].split(","):
            denied = Denied(f"this key has the scopes {found[1]}; {scope!r} is needed")
            denied.status = 403
            raise denied
        return found[0]

    return tenant


def _match(if_match: str | None) -> int | None:
    if if_match is None:
        return None
    value = if_match.strip('"')
    if not value.isdigit():
        raise UserError(f"If-Match is {if_match!r}; send the ETag of the model, a version number in quotes")
    return int(value)


def _models(app: FastAPI, service: Service, keys: bool) -> None:
    reading = Depends(_tenant(service, keys, "read"))
    teaching = Depends(_tenant(service, keys, "adapt"))
    idempotency = Header(None, max_length=200)

    @app.post("/v1/models", status_code=201)
    def teach(body: Teach, response: Response, tenant: str = teaching, idempotency_key: str | None = idempotency) -> dict[str, Any]:  # fmt: skip
        examples = [e.model_dump() for e in body.examples]
        told = service.teach(tenant, body.base, examples, name=body.name, key=idempotency_key)
        response.headers["Location"], response.headers["ETag"] = (
            f"/v1/models/{told['id']}",
            f'"{told["version"]}"',
        )
        return told

    @app.get("/v1/models")
    def models(tenant: str = reading, cursor: str = "", limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:  # fmt: skip
        return service.models(tenant, cursor, limit)

    @app.get("/v1/models/{model}")
    def show(model: str, response: Response, tenant: str = reading) -> dict[str, Any]:
        told = service.show(tenant, model)
        response.headers["ETag"] = f'"{told["version"]}"'
        return told

    @app.delete("/v1/models/{model}", status_code=204)
    def drop(model: str, tenant: str = teaching) -> None:
        service.delete(tenant, model)

    @app.post("/v1/models/{model}/examples", status_code=201)
    def add(model: str, body: Examples, tenant: str = teaching, if_match: str | None = Header(None), idempotency_key: str | None = idempotency) -> dict[str, Any]:  # fmt: skip
        examples = [e.model_dump() for e in body.examples]
        return service.add(tenant, model, examples, match=_match(if_match), key=idempotency_key)

    @app.delete("/v1/models/{model}/examples/{example}")
    def remove(model: str, example: str, tenant: str = teaching, forget: bool = False, if_match: str | None = Header(None)) -> dict[str, Any]:  # fmt: skip
        if forget:
            return service.forget(tenant, model, [example])
        return service.remove(tenant, model, [example], match=_match(if_match))


def _questions(app: FastAPI, service: Service, keys: bool) -> None:
    asking = Depends(_tenant(service, keys, "predict"))
    teaching = Depends(_tenant(service, keys, "adapt"))

    @app.post("/v1/models/{model}/predict")
    def predict(model: str, body: Inputs, tenant: str = asking) -> dict[str, Any]:
        return service.predict(tenant, model, body.inputs)

    @app.post("/v1/models/{model}/versions/{version}/predict")
    def predict_at(model: str, version: Annotated[int, PathParam(ge=1, le=2**31 - 1)], body: Inputs, tenant: str = asking) -> dict[str, Any]:  # fmt: skip
        return service.predict(tenant, model, body.inputs, version=version)

    @app.post("/v1/models/{model}/explain")
    def explain(model: str, body: OneInput, tenant: str = asking) -> dict[str, Any]:
        return service.explain(tenant, model, body.input)

    @app.post("/v1/models/{model}/check")
    def check(model: str, body: Examples, tenant: str = asking) -> dict[str, Any]:
        return service.check(tenant, model, [e.model_dump() for e in body.examples])

    @app.post("/v1/models/{model}/rebase", status_code=201)
    def rebase(model: str, body: BaseName, tenant: str = teaching) -> dict[str, Any]:
        return service.rebase(tenant, model, body.base)
