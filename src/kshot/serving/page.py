"""The page at /: static files of this package, under a strict content-security policy, and what it asks."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi import Path as PathParam
from pydantic import BaseModel, Field

from kshot.errors import UserError
from kshot.serving import lessons
from kshot.serving.faults import NotFound
from kshot.serving.service import Service

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOLDER = resources.files("kshot.serving") / "static"
_FILES = frozenset(file.name for file in _FOLDER.iterdir() if file.is_file())


class Renamed(BaseModel):
    """A new name for a model."""

    name: str = Field(max_length=200)


class Relabelled(BaseModel):
    """A class and its new name."""

    old: str = Field(alias="from", max_length=200)
    new: str = Field(alias="to", max_length=200)


def add_page(app: FastAPI, service: Service, allowed: Callable[[str], Any]) -> None:
    """Put the page and what it needs into an application.

    Args:
        allowed: a scope to the FastAPI dependency that gives the tenant, or refuses.
    """
    _static(app)
    _reading(app, service, allowed("read"), allowed("predict"))
    _changing(app, service, allowed("adapt"))


def _static(app: FastAPI) -> None:
    def file(name: str) -> Response:
        if name not in _FILES:
            raise NotFound(f"there is no file {name!r}")
        kind = {".mjs": "text/javascript"}.get(name[-4:]) or mimetypes.guess_type(name)[0] or "text/plain"
        head = {
            "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin", "Permissions-Policy": "camera=(self), microphone=()",
            "Cache-Control": "no-cache",
        }  # fmt: skip
        return Response((_FOLDER / name).read_bytes(), media_type=kind, headers=head)

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return file("index.html")

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        return file(name)


def _reading(app: FastAPI, service: Service, reading: Any, asking: Any) -> None:
    @app.get("/v1/bases")
    def bases(tenant: str = reading) -> dict[str, Any]:
        return {"bases": lessons.bases(service)}

    @app.get("/v1/models/{model}/examples/{example}")
    def example(model: str, example: str, tenant: str = reading) -> dict[str, Any]:
        return service.example(tenant, model, example)

    @app.get("/v1/models/{model}/quality")
    def quality(model: str, tenant: str = asking) -> dict[str, Any]:
        return service.quality(tenant, model)

    @app.get("/v1/models/{model}/export")
    def export(model: str, tenant: str = reading, format: str = "kshot") -> Response:
        known = {"kshot": service.bundle}
        if format not in known:
            raise UserError(f"format is {format!r}; choose one of {', '.join(known)}")
        head = {"Content-Disposition": f'attachment; filename="{model}.{format}"'}
        return Response(known[format](tenant, model), media_type="application/octet-stream", headers=head)


def _changing(app: FastAPI, service: Service, teaching: Any) -> None:
    @app.patch("/v1/models/{model}")
    def rename(model: str, body: Renamed, tenant: str = teaching) -> dict[str, Any]:
        return service.rename(tenant, model, body.name)

    @app.post("/v1/models/{model}/classes/rename", status_code=201)
    def relabel(model: str, body: Relabelled, tenant: str = teaching) -> dict[str, Any]:  # fmt: skip
        return service.relabel(tenant, model, body.old, body.new)

    @app.post("/v1/models/{model}/versions/{version}/restore", status_code=201)
    def restore(
        model: str, version: Annotated[int, PathParam(ge=1, le=2**31 - 1)], tenant: str = teaching
    ) -> dict[str, Any]:
        return service.restore(tenant, model, version)

    @app.delete("/v1/models/{model}/examples")
    def remove(model: str, id: Annotated[list[str], Query(min_length=1, max_length=1000)], tenant: str = teaching, forget: bool = False) -> dict[str, Any]:  # fmt: skip
        return service.forget(tenant, model, id) if forget else service.remove(tenant, model, id)
