"""Every refusal as problem+json (RFC 9457), also those of the framework."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from kshot.errors import KshotError, UserError
from kshot.serving.faults import Busy, NotFound, ServingError

_LOG = logging.getLogger("kshot.serving")
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What every refusal looks like."""

    type: str = Field(description="about:blank, or a name of the kind of problem", examples=["about:blank"])
    title: str = Field(description="the kind of problem", examples=["NotFound"])
    status: int = Field(examples=[404])
    detail: str = Field(description="the value, the rule and the fix")
    field: str | None = Field(None, description="the part of the request that is wrong, where it is known")
    request_id: str = Field(description="to find it in the log")


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Refused", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}},
    422: {"description": "Refused", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}},
}  # fmt: skip
"""For every route's OpenAPI; 422 stands there to replace the framework's own."""


def problem(error: Exception, scope: Scope, status: int | None = None, field: str | None = None) -> Response:
    """The answer to a request that is refused because of `error`."""
    usual = 422 if isinstance(error, KshotError | ValueError) else 500
    code = status or (error.status if isinstance(error, ServingError) else usual)
    about = {
        "type": "about:blank", "title": type(error).__name__, "status": code, "detail": str(error),
        "field": field, "request_id": scope.get("state", {}).get("request_id", ""),
    }  # fmt: skip
    body = json.dumps({name: value for name, value in about.items() if value is not None})  # plain ASCII
    return Response(body, code, _headers(error, code), media_type=MEDIA_TYPE)


def _headers(error: Exception, code: int) -> dict[str, str]:
    if isinstance(error, HTTPException) and error.headers:
        return dict(error.headers)
    if code == 401:
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Busy):
        return {"Retry-After": str(max(1, round(error.seconds)))}
    return {"Retry-After": "1"} if code in (409, 503) else {}


def add_problems(app: FastAPI) -> None:
    """Answer whatever goes wrong in an application as problem+json."""
    for kind in (KshotError, ValueError):
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, KshotError) or type(error) is ValueError:
        return problem(error, request.scope)
    # a ValueError that nobody meant: its text may show more of the inside than of the request
    _LOG.warning("refused %s: %r", request.scope["state"].get("request_id"), error)
    return problem(UserError(f"the request cannot be used ({type(error).__name__})"), request.scope, 422)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if any(fault["loc"][0] == "path" for fault in error.errors()):  # no id looks like this, so there is none
        return problem(NotFound(f"nothing is at {_shown(request.url.path)!r}"), request.scope)
    place = ".".join(str(part) for part in first["loc"])
    told = f"{place}: {first['msg']}"
    if first["loc"] == ("body",) and first["type"] != "missing" and "json" not in _kind(request):
        told = f"the body came as {_kind(request) or 'no kind'!r}; send JSON with the header Content-Type: application/json"
    if first["type"] == "json_invalid":
        told = f"the body is no JSON ({first['ctx']['error']} at character {first['loc'][-1]})"
    return problem(UserError(told), request.scope, 422, place)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused_by_framework(error, request.scope)


def refused_by_framework(error: HTTPException, scope: Scope) -> Response:
    """No such route, no such verb and the like, with the status as the title."""
    phrase = HTTPStatus(error.status_code).phrase
    found = type(phrase.replace(" ", ""), (UserError,), {})(
        f"{scope['method']} {_shown(scope['path'])}: {error.detail}"
    )
    answer = problem(found, scope, error.status_code)
    answer.headers.update(error.headers or {})
    if error.status_code == 405 and "app" in scope:
        answer.headers["Allow"] = ", ".join(sorted(_verbs(scope)))
    return answer


def _verbs(scope: Scope) -> set[str]:
    """What may be done at a path; the framework itself names only the first route's."""
    routes = [route for route in scope["app"].routes if route.matches(scope)[0] != Match.NONE]
    return set().union(*(route.methods or () for route in routes))


def _shown(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}..."


async def _broken(request: Request, error: Exception) -> Response:
    return problem(
        RuntimeError("the server failed; the log says more under this request_id"), request.scope, 500
    )
