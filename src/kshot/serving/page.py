"""The page at /: static files of this package, under a strict content-security policy."""

from __future__ import annotations

import mimetypes
from importlib import resources

from fastapi import FastAPI, Response

from kshot.serving.faults import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOLDER = resources.files("kshot.serving") / "static"
_FILES = frozenset(file.name for file in _FOLDER.iterdir() if file.is_file())


def add_page(app: FastAPI) -> None:
    """Put the page into an application."""
    _static(app)


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
