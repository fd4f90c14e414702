"""Running kshot's commands in this process, for tests."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from kshot.cli import app


def call(*words: object, code: int = 0) -> Result:
    """Run a command in this process; its exit code must be `code`."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def figures(result: Result) -> dict[str, Any]:
    """The JSON object of the last line; it is flat."""
    found: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    assert not any(isinstance(value, dict) for value in found.values())
    return found
