"""Reports to files: JSON, Markdown or HTML, by the suffix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kshot.errors import SettingError
from kshot.evaluation import html, markdown
from kshot.evaluation.table import Row
from kshot.storage import replace_file

SUFFIXES = (".json", ".md", ".html")


def write_report(rows: Sequence[Row], path: str | Path, *, title: str = "Evaluation") -> Path:
    """Write rows of results to `path`, in the form its suffix names: .json, .md or .html.

    Raises:
        SettingError: another suffix.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{file} ends in {file.suffix or 'nothing'!r}; a report is {', '.join(SUFFIXES)}")
    if file.suffix.lower() == ".json":
        text = json.dumps({"title": title, "rows": [row.to_json() for row in rows]}, indent=2) + "\n"
    else:
        maker = html if file.suffix.lower() == ".html" else markdown
        text = maker.document(title, rows)
    return replace_file(file, text.encode())
