"""`kshot keys` and what `kshot serve` refuses before it listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from commands import call
from kshot.commandline.serving import named
from kshot.errors import SettingError


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    key = call("keys", "create", "acme", "--data-dir", tmp_path).output.strip()
    assert key.startswith("ks_")
    listed = call("keys", "list", "--data-dir", tmp_path).output
    assert key[:11] in listed
    assert "acme" in listed
    assert key[11:] not in listed
    call("keys", "revoke", key[:11], "--data-dir", tmp_path)
    assert "no keys" in call("keys", "list", "--data-dir", tmp_path).output
    assert "no key starts" in call("keys", "revoke", key[:11], "--data-dir", tmp_path, code=2).output


def test_the_world_is_served_only_with_keys(tmp_path: Path) -> None:
    words = ("serve", "--base", "desk=hash:ngram", "--host", "0.0.0.0", "--data-dir", tmp_path)
    assert "no keys" in call(*words, code=2).output


def test_a_port_in_use_is_told_before_anything_is_said_to_be_served(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = call("serve", "--base", "desk=hash:ngram", "--port", port, "--data-dir", tmp_path, code=2)
    assert f"127.0.0.1:{port} cannot be listened at" in found.output
    assert "--port" in found.output
    assert "kshot serves" not in found.output


@pytest.mark.parametrize("bases", [["a b=glyphs"], ["=glyphs"], ["glyphs", "glyphs=hash:ngram"], ["../x"]])
def test_names_of_bases_are_checked(bases: list[str]) -> None:
    with pytest.raises(SettingError, match="--base"):
        named(bases)


def test_a_file_is_called_by_its_name() -> None:
    assert named(["folder/mine.kshot", "hash:ngram"]) == [
        ("mine", "folder/mine.kshot"),
        ("hash:ngram", "hash:ngram"),
    ]
