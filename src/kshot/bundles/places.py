"""Where saved files lie: by path, in the folder that KSHOT_HOME names, and with the package."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from kshot.errors import BundleError

SUFFIX = ".kshot"


def bundled() -> list[str]:
    """Names of the bases that travel with the package."""
    folder = resources.files("kshot") / "bases"
    return sorted(f.name.removesuffix(SUFFIX) for f in folder.iterdir() if f.name.endswith(SUFFIX))


def find(name: str | Path) -> Path:
    """The file of this path, or of the base of this name.

    Raises:
        BundleError: there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    for folder in homes():
        candidate = folder / f"{path.name.removesuffix(SUFFIX)}{SUFFIX}"
        if len(path.parts) == 1 and candidate.is_file():
            return candidate
    raise BundleError(
        f"{str(name)!r} is neither a file nor a base by name; bundled bases are {bundled()}: check the path, "
        "or set KSHOT_HOME to the folder that holds it; for texts give an encoder (hash:ngram, path:DIR, hf:OWNER/MODEL) to "
        "kshot adapt or kshot.text.classifier"
    )


def homes() -> list[Path]:
    """Folders in which bases are looked for by name."""
    home = os.environ.get("KSHOT_HOME")
    return [*([Path(home)] if home else []), Path(str(resources.files("kshot") / "bases"))]


def candidates(name: str, path: Path) -> list[Path]:
    """Files that may hold the base of this name for the task at `path`, the likeliest first."""
    folders = [path.parent, *homes()]
    files = [
        f for folder in folders if folder.is_dir() for f in sorted(folder.glob(f"*{SUFFIX}")) if f != path
    ]
    return sorted(files, key=lambda f: f.stem != name)
