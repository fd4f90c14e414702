"""What runs kshot elsewhere: the container's file, the unit of systemd, and the browser that opens by itself."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from kshot.cli import app
from kshot.commandline.serving import open_soon

ROOT = Path(__file__).parent.parent.parent
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}  # fmt: skip


def steps() -> list[tuple[str, str]]:
    """Instructions of the Containerfile with their arguments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_every_instruction_is_one_and_every_source_is_there() -> None:
    assert {name for name, _ in steps()} <= KNOWN
    stages = [rest.split(" AS ")[-1] for name, rest in steps() if name == "FROM" and " AS " in rest]
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    for name, rest in steps():
        if name != "COPY":
            continue
        *sources, _ = [part for part in rest.split() if not part.startswith("--")]
        if "--from=" in rest:
            assert re.search(r"--from=(\S+)", rest)[1] in stages  # type: ignore[index]
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, f"{source} is not let through by .containerignore"
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()


def test_it_is_not_root_and_writes_to_one_place() -> None:
    users = [rest for name, rest in steps() if name == "USER"]
    assert users == ["10001:10001"]
    assert [rest for name, rest in steps() if name == "VOLUME"] == ["/data"]
    assert any("/readyz" in rest for name, rest in steps() if name == "HEALTHCHECK")


def test_its_extras_and_its_command_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    asked = next(
        re.search(r"'\.\[(.*?)\]'", rest) for name, rest in steps() if name == "RUN" and "'.[" in rest
    )
    assert asked is not None
    assert set(asked[1].split(",")) <= set(extras)
    command = next(rest for name, rest in steps() if name == "CMD")
    told = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for option in re.findall(r"--[a-z-]+", command):
        assert option in told, option


def test_the_unit_starts_a_command_that_exists() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(re.search(r"```\n(\[Unit\].*?)```", page, re.S)[1])  # type: ignore[index]
    _, command, *options = shlex.split(unit["Service"]["ExecStart"])
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in told for option in options if option.startswith("--"))


def test_the_browser_opens_when_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    server = HTTPServer(("127.0.0.1", 0), Alive)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    open_soon(address).join(10)
    server.shutdown()
    server.server_close()
    assert opened == [address]
    open_soon(address, patience=0.3).join(
        10
    )  # nobody answers any more: nothing opens, and nothing waits for ever
    assert opened == [address]
