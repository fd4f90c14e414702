"""The Open Inference Protocol, version 2, over predict: a model's id is its name there.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version as installed
from itertools import chain
from typing import Annotated, Any

from fastapi import FastAPI, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from kshot.errors import DataError
from kshot.serving.http import bodies as b
from kshot.serving.http.desk import Desk
from kshot.serving.http.health import Readiness
from kshot.serving.http.plainly import as_json
from kshot.serving.service import Service

_NUMBERS = ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")


class Tensor(BaseModel):
    """An input tensor: BYTES [n] or [n, 1] of texts or base64 images, or numbers [n, columns]."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(max_length=200)
    shape: list[Annotated[int, Field(ge=0, le=2**31)]] = Field(min_length=1, max_length=2)
    datatype: str = Field(max_length=20)
    data: list[Any]


class Infer(BaseModel):
    """An inference request."""

    model_config = ConfigDict(extra="allow")
    id: str | None = Field(None, max_length=200)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


class Inferred(b.Told):
    """An inference answer."""

    model_name: str
    model_version: str
    outputs: list[dict[str, Any]]


class Live(BaseModel):
    """Alive."""

    live: bool


class Ready(BaseModel):
    """Ready."""

    ready: bool


Version = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,8}$")]


def add_oip(app: FastAPI, desk: Desk, allowed: Any, draining: Any) -> None:
    """Put /v2 into an application."""
    _server(app, desk.service, allowed("predict"), draining)
    _models(app, desk, allowed("predict"))


def _server(app: FastAPI, service: Service, predicts: Any, draining: Any) -> None:
    readiness = Readiness(service)

    @app.get("/v2")
    async def server(tenant: str = predicts) -> dict[str, Any]:
        """The server's name and what it can beside the protocol."""
        return {"name": "kshot", "version": installed("kshot"), "extensions": ["kshot_adapt"]}

    @app.get("/v2/health/live", response_model=Live)
    async def live(tenant: str = predicts) -> dict[str, bool]:
        """Alive."""
        return {"live": True}

    @app.get("/v2/health/ready", response_model=Ready)
    async def ready(response: Response, tenant: str = predicts) -> dict[str, bool]:
        """Ready to be asked."""
        found = not draining() and await readiness.ask()
        response.status_code = 200 if found else 503
        return {"ready": found}


def _models(app: FastAPI, desk: Desk, predicts: Any) -> None:
    @app.get("/v2/models/{model}")
    async def about(model: b.ModelId, tenant: str = predicts) -> Response:
        """A model's tensors."""
        return await desk.ask(metadata, desk.service, tenant, model, None)

    @app.get("/v2/models/{model}/versions/{version}")
    async def about_at(model: b.ModelId, version: Version, tenant: str = predicts) -> Response:
        """The tensors of a version."""
        return await desk.ask(metadata, desk.service, tenant, model, int(version))

    @app.get("/v2/models/{model}/ready")
    async def model_ready(model: b.ModelId, tenant: str = predicts) -> Response:
        """Can the model be asked?"""
        return await desk.ask(ready, desk.service, tenant, model, None)

    @app.get("/v2/models/{model}/versions/{version}/ready")
    async def version_ready(model: b.ModelId, version: Version, tenant: str = predicts) -> Response:
        """Can the version be asked?"""
        return await desk.ask(ready, desk.service, tenant, model, int(version))

    @app.post("/v2/models/{model}/infer", response_model=Inferred)
    async def infer_newest(model: b.ModelId, body: Infer, tenant: str = predicts) -> Response:
        """Answer inputs with the newest version."""
        return await desk.ask(infer, desk.service, tenant, model, None, body)

    @app.post("/v2/models/{model}/versions/{version}/infer", response_model=Inferred)
    async def infer_at(model: b.ModelId, version: Version, body: Infer, tenant: str = predicts) -> Response:
        """Answer inputs with a version."""
        return await desk.ask(infer, desk.service, tenant, model, int(version), body)


def metadata(service: Service, tenant: str, model: str, version: int | None) -> dict[str, Any]:
    """Names, types and shapes of a model's tensors; -1 is any size."""
    task, _ = service.tasks.get(tenant, model, version)
    rows = task.learner.encoder.modality == "vector"
    columns = getattr(task.learner.encoder, "inputs", -1)
    given = {
        "name": "input",
        "datatype": "FP32" if rows else "BYTES",
        "shape": [-1, columns] if rows else [-1],
    }
    if task.space.kind == "classes":
        outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP64", "shape": [-1, task.space.size]},
            {"name": "unknown", "datatype": "BOOL", "shape": [-1]},
        ]
    elif task.space.kind == "numbers":
        outputs = [{"name": "value", "datatype": "FP64", "shape": [-1, task.space.size]}]
    else:
        outputs = [{"name": "answer", "datatype": "BYTES", "shape": [-1]}]
    return {
        "name": model, "versions": [str(v) for v in service.store.versions(tenant, model)],
        "platform": f"kshot_{task.learner.kind}", "inputs": [given], "outputs": outputs,
    }  # fmt: skip


def ready(service: Service, tenant: str, model: str, version: int | None) -> dict[str, Any]:
    """Whether the model can be read and made. Raises NotFound."""
    service.tasks.get(tenant, model, version)
    return {"name": model, "ready": True}


def infer(service: Service, tenant: str, model: str, version: int | None, body: Infer) -> dict[str, Any]:
    """Predict for one input tensor.

    Raises:
        DataError: a tensor whose data do not fit its shape or type.
    """
    inputs = _rows(body.inputs[0])
    answer = service.predict(tenant, model, inputs, version=version)
    told = {
        "model_name": model,
        "model_version": str(answer["version"]),
        "outputs": _tensors(answer["predictions"]),
    }
    return {**told, "id": body.id} if body.id is not None else told


def _rows(tensor: Tensor) -> list[Any]:
    count, width = tensor.shape[0], math.prod(tensor.shape[1:])
    flat: list[Any] = []
    for item in tensor.data:
        flat.extend(item) if isinstance(item, list) else flat.append(item)
    if len(flat) != count * width:
        raise DataError(
            f"tensor {tensor.name!r} has shape {tensor.shape} and {len(flat)} elements; make them fit"
        )
    if tensor.datatype == "BYTES":
        if width != 1:
            raise DataError(f"tensor {tensor.name!r} of BYTES has shape {tensor.shape}; give [n] or [n, 1]")
        return flat
    if tensor.datatype not in _NUMBERS:
        raise DataError(
            f"tensor {tensor.name!r} has datatype {tensor.datatype!r}; send BYTES or one of {_NUMBERS}"
        )
    return [flat[place : place + width] for place in range(0, len(flat), width)] if width else []


def _tensors(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    count = len(answers)
    if "probabilities" in answers[0]:
        scores = [list(a["probabilities"].values()) for a in answers]
        return [
            {
                "name": "label",
                "datatype": "BYTES",
                "shape": [count],
                "data": [str(a["label"]) for a in answers],
            },
            {
                "name": "scores",
                "datatype": "FP64",
                "shape": [count, len(scores[0])],
                "data": list(chain(*scores)),
            },
            {
                "name": "unknown",
                "datatype": "BOOL",
                "shape": [count],
                "data": [a["unknown"] for a in answers],
            },
        ]
    if "value" in answers[0]:
        values = [list(a["value"]) for a in answers]
        return [
            {
                "name": "value",
                "datatype": "FP64",
                "shape": [count, len(values[0])],
                "data": list(chain(*values)),
            }
        ]
    return [
        {
            "name": "answer",
            "datatype": "BYTES",
            "shape": [count],
            "data": [as_json(a).decode() for a in answers],
        }
    ]
