"""What one would write without kshot's service: one task, one route, the same encoder and head."""

from __future__ import annotations

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving.fill import EXAMPLES, WAYS, base, sentences


class Inputs(BaseModel):
    """Texts."""

    inputs: list[str]


def main() -> None:
    """Serve at the port given."""
    torch.set_num_threads(1)
    texts = sentences(EXAMPLES, seed=3)
    task = base().adapt(texts, [f"intent {k % WAYS}" for k in range(EXAMPLES)])
    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict")
    def predict(body: Inputs) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = task.predict(body.inputs).to_json()
        return found

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
