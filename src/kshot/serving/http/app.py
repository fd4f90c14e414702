"""The application: the service's rooms behind one gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from kshot.serving.http.desk import Desk
from kshot.serving.http.exporting import add_export
from kshot.serving.http.figures import Figures
from kshot.serving.http.gate import Gate
from kshot.serving.http.health import add_health
from kshot.serving.http.keys import Authority, scopes
from kshot.serving.http.models import add_models
from kshot.serving.http.oip import add_oip
from kshot.serving.http.problems import RESPONSES, Problem, add_problems
from kshot.serving.http.questions import add_questions
from kshot.serving.limits import Limits
from kshot.serving.page import add_page
from kshot.serving.service import Service

ABOUT = """Teach by request: post a few examples, get a model, ask it, add examples later, forget one.

Every refusal is an `application/problem+json` (RFC 9457). Changing verbs take `If-Match`, changing POSTs an
`Idempotency-Key`. Pages follow one another by `cursor`."""


class App(FastAPI):
    """The application; every request passes its gate.

    Attributes:
        gate: the door; set `gate.draining` when the process is to end.
        desk: who runs the service's methods.
    """

    gate: Gate
    desk: Desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.gate(scope, receive, send)

    def openapi(self) -> dict[str, object]:
        """The description of the interface; made once."""
        if not self.openapi_schema:
            found = super().openapi()
            parts = found.setdefault("components", {}).setdefault("schemas", {})
            parts["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for name in ("HTTPValidationError", "ValidationError"):
                parts.pop(name, None)
        return self.openapi_schema or {}


def create_app(
    service: Service, *, keys: bool, limits: Limits | None = None, hosts: Collection[str] | None = None
) -> App:
    """The application.

    Args:
        keys: False: everybody is one tenant; only for this machine alone.
        limits: how much may be asked; the service's own if not given.
        hosts: names in the Host header that are answered; None: all.
    """
    limits = service.limits if limits is None else limits
    figures, desk = Figures(service), Desk(service, limits)
    authority = Authority(service, limits, keys=keys)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = App(
        title="kshot", version=version("kshot"), description=ABOUT, docs_url=None, redoc_url=None, lifespan=life,
        responses=RESPONSES, redirect_slashes=False,
    )  # fmt: skip
    inner = super(App, app).__call__
    app.gate = Gate(inner, authority=authority, limits=limits, figures=figures, hosts=hosts)
    app.desk = desk
    allowed = scopes(authority)
    add_problems(app)
    add_models(app, desk, allowed)
    add_questions(app, desk, allowed)
    add_export(app, desk, allowed)
    add_oip(app, desk, allowed, lambda: app.gate.draining)
    add_health(app, service, figures, app.gate, allowed)
    add_page(app)
    return app
