"""The command export: a task as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.output import JSON_HELP, finish, guarded, say
from kshot.commandline.use import BaseOption, TaskArgument


@guarded
def export(
    task: TaskArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to save; TASK.onnx by default.")
    ] = None,
    inputs: Annotated[
        str, typer.Option(help="raw: the graph holds the encoder; features: the head alone.")
    ] = "raw",
    base: BaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Write encoder and adapted head as an ONNX file, which needs neither kshot nor PyTorch.

    The file is asked the task's own examples in ONNX Runtime first; it is written where it answers as the task does.

    Example:  kshot export stamps.kshot -o stamps.onnx
    """
    from kshot.exporting import OPSET

    path = out or Path(task).with_suffix(".onnx")
    sources.task_of(task, base).export(path, inputs=inputs)
    size = path.stat().st_size
    say(f"Written: {path} ({size / 1e6:.1f} MB, opset {OPSET}), checked against the task in ONNX Runtime.")
    say("Run it anywhere: see examples/run_onnx.py and docs/deploy.md.")
    finish({"kshot": str(path), "bytes": size, "opset": OPSET}, as_json)
