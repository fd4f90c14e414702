"""The file format: whole or not there, and one flipped byte is noticed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kshot import storage
from kshot.errors import BundleError
from kshot.storage import files

TENSORS = {
    "half": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "scalar": torch.tensor(-0.0, dtype=torch.float64),
    "none": torch.zeros(0, 4),
    "truth": torch.tensor([True, False]),
}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = {
        "what": "test",
        "text": 'naïve 漢字 \ud800 "quoted" kshot":"',
        "deep": {"a": [1, None, True, 0.1]},
    }
    path = storage.write(tmp_path / "new" / "folder" / "a.kshot", manifest, TENSORS)
    read, tensors = storage.read(path)
    assert read == {**manifest, "format": storage.FORMAT}
    assert sorted(tensors) == sorted(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert storage.peek(path) == read
    assert load_file(path)["half"].shape == (2, 3)  # any safetensors tool opens it


def test_equal_content_gives_equal_bytes() -> None:
    first = storage.pack({"b": 1, "a": 2}, TENSORS)
    again = storage.pack({"a": 2, "b": 1}, dict(reversed(TENSORS.items())))
    assert first == again


def test_every_flipped_byte_is_noticed() -> None:
    blob = storage.pack({"what": "test", "labels": ["a", "b"]}, TENSORS)
    chance = random.Random(0)
    for place in range(len(blob)):
        # one bit, all bits, and a byte that keeps JSON and hexadecimal digits plausible
        for byte in {blob[place] ^ 1 << chance.randrange(8), blob[place] ^ 255, ord("1"), ord("a")} - {
            blob[place]
        }:
            changed = blob[:place] + bytes([byte]) + blob[place + 1 :]
            with pytest.raises(BundleError, match="the file"):
                storage.unpack(changed, "the file")


def test_every_truncation_and_addition_is_noticed() -> None:
    blob = storage.pack({"what": "test"}, TENSORS)
    for length in range(len(blob)):
        with pytest.raises(BundleError, match="the file"):
            storage.unpack(blob[:length], "the file")
    with pytest.raises(BundleError, match="the file"):
        storage.unpack(blob + b"\0", "the file")


@pytest.mark.parametrize(
    "header", [b"[]", b"{}", b'{"__metadata__":7}', b'{"__metadata__":{"kshot":[]}}', b"[" * 100_000]
)
def test_foreign_headers_are_an_error_and_no_crash(header: bytes, tmp_path: Path) -> None:
    blob = len(header).to_bytes(8, "little") + header
    with pytest.raises(BundleError, match="the file"):
        storage.unpack(blob, "the file")
    (tmp_path / "a.kshot").write_bytes(blob)
    assert storage.peek(tmp_path / "a.kshot") is None


def test_newer_formats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FORMAT", 2)
    blob = storage.pack({"what": "test"}, {})
    monkeypatch.setattr(files, "FORMAT", 1)
    with pytest.raises(BundleError, match=r"has format 2; this kshot reads up to 1: upgrade"):
        storage.unpack(blob, "the file")


def test_a_view_does_not_drag_its_storage_along() -> None:
    secret = torch.full((1000,), 42, dtype=torch.uint8)
    secret[:10] = 7
    blob = storage.pack({}, {"view": secret[:10]})
    assert bytes([42] * 8) not in blob
    assert len(blob) < 500


def test_missing_files_and_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        storage.read(tmp_path / "none.kshot")
    with pytest.raises(BundleError, match="cannot be read"):
        storage.read(tmp_path)
    with pytest.raises(BundleError, match="cannot be written"):
        storage.write(tmp_path, {}, {})
    assert list(tmp_path.parent.glob(".kshot*")) == []


def test_what_is_no_json_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be saved"):
        storage.write(tmp_path / "a.kshot", {"labels": [object()]}, {})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = storage.replace_file(tmp_path / "a.kshot", b"old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_saved_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = storage.replace_file(tmp_path / "a.kshot", b"")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_names_at_the_length_limit_can_be_written(tmp_path: Path) -> None:
    path = storage.replace_file(tmp_path / ("n" * 249 + ".kshot"), b"x")
    assert path.read_bytes() == b"x"


def test_leftovers_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".kshot-part-0123456789abcdef").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("mine")
    storage.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
