"""Routes that make, list and change models."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from kshot.serving import lessons, moving, teaching
from kshot.serving.http import bodies as b
from kshot.serving.http.desk import Desk


def add_models(app: FastAPI, desk: Desk, allowed: Any) -> None:
    """Put the routes of models, versions and examples into an application."""
    _making(app, desk, allowed("adapt"))
    _listing(app, desk, allowed("read"))
    _changing(app, desk, allowed("adapt"))
    _correcting(app, desk, allowed("adapt"))


def _given(examples: list[b.Example]) -> list[dict[str, Any]]:
    return [{"input": e.input, "label": e.label, **({"golden": True} if e.golden else {})} for e in examples]


def _making(app: FastAPI, desk: Desk, adapt: Any) -> None:
    service = desk.service

    @app.post("/v1/models", status_code=201, response_model=b.Taught)
    async def teach(request: Request, body: b.Teach, tenant: str = adapt, key: b.Key = None) -> Response:
        """Make a model from examples; durable when answered."""
        await desk.room(request.state.caller)
        return await desk.change(
            tenant, key, service.teach, tenant, body.base, _given(body.examples), name=body.name
        )

    @app.post("/v1/models/import", status_code=201, response_model=b.Taught, openapi_extra={"requestBody": {
        "required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
    async def take_in(request: Request, tenant: str = adapt, key: b.Key = None) -> Response:
        """Make a model from the bytes of a saved task, a .kshot file; its base must be served here."""
        await desk.room(request.state.caller)
        data = await request.body()
        return await desk.change(tenant, key, moving.take_in, service, tenant, data)


def _listing(app: FastAPI, desk: Desk, read: Any) -> None:
    service = desk.service

    @app.get("/v1/bases")
    async def bases(tenant: str = read) -> Response:
        """What may be taught: each base's name, what it takes, what it answers."""
        return await desk.ask(lambda: {"bases": lessons.bases(service)})

    @app.get("/v1/models", response_model=b.Models)
    async def models(tenant: str = read, cursor: b.After = "", limit: b.Limit = 50) -> Response:
        """Your models, in the order of their ids."""
        return await desk.ask(service.models, tenant, cursor, limit)

    @app.get("/v1/models/{model}")
    async def show(model: b.ModelId, tenant: str = read) -> Response:
        """A model in its newest version."""
        return await desk.ask(service.show, tenant, model)

    @app.get("/v1/models/{model}/versions", response_model=b.Versions)
    async def versions(
        model: b.ModelId, tenant: str = read, cursor: b.After = "", limit: b.Limit = 50
    ) -> Response:
        """The versions there are, the newest first."""
        return await desk.ask(teaching.versions, service, tenant, model, cursor, limit)

    @app.get("/v1/models/{model}/versions/{version}")
    async def show_at(model: b.ModelId, version: b.Number, tenant: str = read) -> Response:
        """A model as it was in a version."""
        return await desk.ask(service.show, tenant, model, version)

    @app.get("/v1/models/{model}/examples", response_model=b.ShownExamples)
    async def examples(
        model: b.ModelId, tenant: str = read, cursor: b.After = "", limit: b.Limit = 50
    ) -> Response:
        """The examples of the newest version."""
        return await desk.ask(teaching.examples, service, tenant, model, cursor, limit)

    @app.get("/v1/models/{model}/examples/{example}", response_model=b.Shown)
    async def example(model: b.ModelId, example: b.ExampleId, tenant: str = read) -> Response:
        """An example with its input as it would be posted."""
        return await desk.ask(service.example, tenant, model, example)


def _changing(app: FastAPI, desk: Desk, adapt: Any) -> None:
    service = desk.service

    @app.delete("/v1/models/{model}", status_code=204)
    async def drop(model: b.ModelId, tenant: str = adapt, if_match: b.IfMatch = None) -> Response:
        """Delete a model with everything that was stored of it."""
        return await desk.change(tenant, None, service.delete, tenant, model, match=desk.match(if_match))

    @app.patch("/v1/models/{model}")
    async def rename(
        model: b.ModelId, body: b.Renamed, tenant: str = adapt, if_match: b.IfMatch = None
    ) -> Response:
        """Give a model another name."""
        match = desk.match(if_match)
        return await desk.change(
            tenant, None, service.rename, tenant, model, body.name, match=match, status=200
        )

    @app.post("/v1/models/{model}/examples", status_code=201, response_model=b.Taught)
    async def add(model: b.ModelId, body: b.Examples, tenant: str = adapt, if_match: b.IfMatch = None, key: b.Key = None) -> Response:  # fmt: skip
        """A new version that has seen these examples too."""
        match = desk.match(if_match)
        return await desk.change(tenant, key, service.add, tenant, model, _given(body.examples), match=match)

    @app.delete("/v1/models/{model}/examples/{example}", response_model=b.Taught)
    async def remove(model: b.ModelId, example: b.ExampleId, tenant: str = adapt, forget: bool = False, if_match: b.IfMatch = None) -> Response:  # fmt: skip
        """A new version that never saw this example; with `forget` nothing of it stays, in no version and no file."""
        match = desk.match(if_match)
        method = service.forget if forget else service.remove
        return await desk.change(tenant, None, method, tenant, model, [example], match=match, status=200)

    @app.delete("/v1/models/{model}/examples", response_model=b.Taught)
    async def remove_some(model: b.ModelId, id: b.ExampleIds, tenant: str = adapt, forget: bool = False, if_match: b.IfMatch = None) -> Response:  # fmt: skip
        """As for one example, for several at once."""
        match = desk.match(if_match)
        method = service.forget if forget else service.remove
        return await desk.change(tenant, None, method, tenant, model, id, match=match, status=200)


def _correcting(app: FastAPI, desk: Desk, adapt: Any) -> None:
    service = desk.service

    @app.post("/v1/models/{model}/feedback", response_model=b.Told)
    async def feedback(model: b.ModelId, body: b.Feedback, tenant: str = adapt, if_match: b.IfMatch = None, key: b.Key = None) -> Response:  # fmt: skip
        """Say whether an answer was right. A right label becomes an example, so a new version."""
        match = desk.match(if_match)
        return await desk.change(
            tenant,
            key,
            teaching.feedback,
            service,
            tenant,
            model,
            body.model_dump(),
            match=match,
            status=200,
        )

    @app.post("/v1/models/{model}/rebase", status_code=201, response_model=b.Taught)
    async def rebase(model: b.ModelId, body: b.BaseName, tenant: str = adapt, if_match: b.IfMatch = None, key: b.Key = None) -> Response:  # fmt: skip
        """A new version of the same examples on another base."""
        match = desk.match(if_match)
        return await desk.change(tenant, key, service.rebase, tenant, model, body.base, match=match)

    @app.post("/v1/models/{model}/versions/{version}/restore", status_code=201, response_model=b.Taught)
    async def restore(model: b.ModelId, version: b.Number, tenant: str = adapt, if_match: b.IfMatch = None, key: b.Key = None) -> Response:  # fmt: skip
        """A new version with the examples of an older one: undo."""
        match = desk.match(if_match)
        return await desk.change(tenant, key, service.restore, tenant, model, version, match=match)

    @app.post("/v1/models/{model}/classes/rename", status_code=201, response_model=b.Taught)
    async def relabel(model: b.ModelId, body: b.Relabelled, tenant: str = adapt, if_match: b.IfMatch = None, key: b.Key = None) -> Response:  # fmt: skip
        """A new version in which a class has another name; where there is one of that name the two become one."""
        match = desk.match(if_match)
        return await desk.change(tenant, key, service.relabel, tenant, model, body.old, body.new, match=match)
