"""The command `kshot`. Thin: parse, call one function, print.

Which commands there are stands here; a command is imported when it is called, for torch takes more than a second to import,
and who asks for help or mistypes a name need not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

COMMANDS = {
    "demo": ("demonstrating", "See it all once: train, learn, compare, explain, save."),
    "check": ("learn", "Say what data are, and what is wrong with them."),
    "train": ("learn", "Meta-train a base of your own."),
    "evaluate": ("evaluating", "Measure a base on random tasks, or a saved task on examples."),
    "calibrate": ("calibration", 'Measure when a base should say "unknown", on your data.'),
    "adapt": ("use", "Teach a base new classes from a few examples each."),
    "choose": ("choosing", "Compare heads and adapters on your own few examples."),
    "add": ("use", "Teach a saved task further examples, also of new classes."),
    "remove": ("forgetting", "Take examples out of a saved task."),
    "restore": ("forgetting", "Bring examples back that kshot remove took out."),
    "forget": ("forgetting", "Leave nothing of examples in a saved task."),
    "retune": ("forgetting", "Choose the scalars of a saved task's head anew."),
    "predict": ("predicting", "Answer inputs with a saved task or bank of answers."),
    "explain": ("explaining", "Say which of the taught examples decided an answer."),
    "export": ("exporting", "Write encoder and adapted head as an ONNX file."),
    "suggest": ("labelling", "Say which inputs to label next."),
    "show": ("use", "Say what a saved file is."),
    "diff": ("golden", "Show what two versions of a task answer differently."),
    "rebase": ("gathered", "Move saved tasks to another base."),
    "encoders": ("catalogue", "List the networks that are there, or could be had."),
    "get": ("catalogue", "Download a network trained on photos."),
    "version": ("version", "Print the version of kshot."),
    "serve": ("serving", "Serve bases over HTTP: post examples, get a model, ask it."),
    "keys": ("serving", "Keys of the service."),
    "db": ("database", "The database of the service."),
}
"""By name: the module in `kshot.commandline` whose function (or group of commands) of this name it is, and what help lists."""

_STYLE: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class Later(Mapping[str, Any]):
    """The commands, each imported when it is taken out."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        found = getattr(import_module(f"kshot.commandline.{COMMANDS[name][0]}"), name)
        holder = typer.Typer(**_STYLE)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
            return get_command(holder).commands[name]  # type: ignore[attr-defined]
        holder.command(name)(found)
        return get_command(holder)


class Commands(TyperGroup):
    """The group of all commands; to list them imports none."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Later()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])


app = typer.Typer(
    cls=Commands,
    help="Teaches software by example: train once, then learn a new task from a handful of examples. "
    "Start with: kshot demo",
    no_args_is_help=True,
    **_STYLE,
)


def _version(asked: bool) -> None:
    if asked:
        import kshot

        typer.echo(kshot.__version__)
        raise typer.Exit


@app.callback()
def _kshot(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of kshot.")
    ] = False,
) -> None:
    """Options of kshot itself."""


def main() -> None:
    """Entry point of the command `kshot`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that the terminal lacks must not end a long run
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
