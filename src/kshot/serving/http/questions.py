"""Routes that ask a model and change nothing."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response

from kshot.serving import teaching
from kshot.serving.http import bodies as b
from kshot.serving.http.desk import Desk


def add_questions(app: FastAPI, desk: Desk, allowed: Any) -> None:
    """Put predict, explain, check and label-next into an application."""
    service, predicts = desk.service, allowed("predict")

    @app.post("/v1/models/{model}/predict", response_model=b.Predicted)
    async def predict(model: b.ModelId, body: b.Inputs, tenant: str = predicts) -> Response:
        """Answer inputs with the newest version."""
        return await desk.predict(tenant, model, body.inputs)

    @app.post("/v1/models/{model}/versions/{version}/predict", response_model=b.Predicted)
    async def predict_at(
        model: b.ModelId, version: b.Number, body: b.Inputs, tenant: str = predicts
    ) -> Response:
        """Answer inputs with a version."""
        return await desk.predict(tenant, model, body.inputs, version)

    @app.post("/v1/models/{model}/explain", response_model=b.Reasons)
    async def explain(model: b.ModelId, body: b.OneInput, tenant: str = predicts) -> Response:
        """Which examples decided the answer to one input."""
        return await desk.study(service.explain, tenant, model, body.input)

    @app.post("/v1/models/{model}/check", response_model=b.Checked)
    async def check(model: b.ModelId, body: b.Questions | None = None, tenant: str = predicts) -> Response:
        """How many of these examples are answered as labelled; without a body, of the model's golden ones."""
        asked = None if body is None else body.examples
        given = None if asked is None else [{"input": e.input, "label": e.label} for e in asked]
        return await desk.study(service.check, tenant, model, given)

    @app.post("/v1/models/{model}/label-next", response_model=b.Suggestions)
    async def label_next(model: b.ModelId, body: b.Pool, tenant: str = predicts) -> Response:
        """Which of these inputs to label first."""
        return await desk.study(teaching.label_next, service, tenant, model, body.inputs, body.count)

    @app.get("/v1/models/{model}/quality")
    async def quality(model: b.ModelId, tenant: str = predicts) -> Response:
        """How well the classes are told apart: each example asked of the model without it."""
        return await desk.study(service.quality, tenant, model)
