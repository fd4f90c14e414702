"""Is it alive, is it ready, and what has it done."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import FastAPI, Response

from kshot.serving.http.figures import Figures
from kshot.serving.http.gate import Gate
from kshot.serving.service import Service

_FRESH = 1.0


class Readiness:
    """Whether the store can write, asked at most once a second."""

    def __init__(self, service: Service) -> None:
        self._service, self._at, self._ready = service, float("-inf"), False

    async def ask(self) -> bool:
        """Can something be taught now?"""
        if time.monotonic() - self._at > _FRESH:
            loop = asyncio.get_running_loop()
            self._ready = await loop.run_in_executor(None, self._service.store.writable)
            self._at = time.monotonic()
        return self._ready


def add_health(app: FastAPI, service: Service, figures: Figures, gate: Gate, allowed: Any) -> None:
    """Put /livez, /readyz and /metrics into an application."""
    readiness = Readiness(service)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, bool]:
        return {"live": True}

    @app.get("/readyz", include_in_schema=False)
    async def readyz(response: Response) -> dict[str, bool]:
        ready = not gate.draining and await readiness.ask()
        response.status_code = 200 if ready else 503
        return {"ready": ready}

    @app.get("/metrics", include_in_schema=False)
    async def metrics(tenant: str = allowed("admin")) -> Response:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(None, figures.text)
        return Response(text, media_type="text/plain; version=0.0.4")
