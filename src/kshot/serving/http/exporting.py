"""The route that gives a model away as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response

from kshot.errors import UserError
from kshot.serving.http import bodies as b
from kshot.serving.http.desk import Desk
from kshot.serving.service import Service


def add_export(app: FastAPI, desk: Desk, allowed: Any) -> None:
    """Put export into an application."""

    @app.get("/v1/models/{model}/export", response_class=Response, responses={200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
    async def export(model: b.ModelId, tenant: str = allowed("read"), format: Annotated[str, Query(max_length=20)] = "kshot") -> Response:  # fmt: skip
        """The newest version as a file: `kshot`, with its base inside, or `onnx`, for ONNX Runtime."""
        return await desk.study(file, desk.service, tenant, model, format)


def file(service: Service, tenant: str, model: str, kind: str) -> Response:
    """A model as a file to download. Raises UserError for an unknown format."""
    known: dict[str, Callable[[str, str], bytes]] = {"kshot": service.bundle, "onnx": service.onnx}
    if kind not in known:
        raise UserError(f"format is {kind!r}; choose one of {', '.join(known)}")
    head = {"Content-Disposition": f'attachment; filename="{model}.{kind}"'}
    return Response(known[kind](tenant, model), media_type="application/octet-stream", headers=head)
