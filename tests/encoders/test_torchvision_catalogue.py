"""Getting encoders: over a real connection, from a server in this process."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from kshot.encoders import TorchVision, catalogue
from kshot.encoders.catalogue import Source
from kshot.errors import DataError, SettingError

NAME = "squeezenet1_1"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server of a folder on 127.0.0.1, and KSHOT_HOME elsewhere; its address and folder."""
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def offer(folder: Path, what: Any) -> tuple[str, str]:
    """Store `what` as torchvision would; file name and the first digits of its hash."""
    torch.save(what, folder / "w.pth")
    digest = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()
    (folder / "w.pth").rename(folder / f"{NAME}-{digest[:8]}.pth")
    return f"{NAME}-{digest[:8]}.pth", digest[:8]


def test_weights_are_fetched_checked_kept_and_used(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    network = torchvision.models.squeezenet1_1()
    file, prefix = offer(folder, network.state_dict())
    monkeypatch.setattr(catalogue, "official", lambda name: Source(f"{address}/{file}", prefix))
    received: list[tuple[int, int]] = []
    entry = catalogue.get(NAME, progress=lambda done, total: received.append((done, total)))
    size = (folder / file).stat().st_size
    assert received[-1] == (size, size)
    assert entry.state == "downloaded"
    assert entry.parameters == sum(v.numel() for v in network.state_dict().values())
    kept = load_file(str(entry.path))
    assert all(torch.equal(kept[k], v) for k, v in network.state_dict().items())
    encoder = TorchVision(NAME, 32, pretrained=True)
    assert torch.equal(encoder.network.features[0].weight, network.features[0].weight)
    assert next(e for e in catalogue.listing() if e.name == NAME).state == "downloaded"
    (folder / file).unlink()
    assert catalogue.get(NAME) == entry  # it is there: nothing is fetched again


def test_a_wrong_hash_is_refused_before_anything_is_read_or_kept(
    served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    file, prefix = offer(folder, {"x": torch.zeros(2)})
    changed = bytearray((folder / file).read_bytes())
    changed[-30] ^= 1
    (folder / file).write_bytes(changed)
    monkeypatch.setattr(catalogue, "official", lambda name: Source(f"{address}/{file}", prefix))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unchecked bytes were read"))
    with pytest.raises(DataError, match=rf"has SHA-256 [0-9a-f]{{16}}\.\.\., not {prefix}"):
        catalogue.get(NAME)
    assert not list((tmp_path / "home").rglob("*"))


def test_bytes_with_the_right_hash_that_are_no_tensors_are_refused(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    file, prefix = offer(folder, {"x": 3})
    monkeypatch.setattr(catalogue, "official", lambda name: Source(f"{address}/{file}", prefix))
    with pytest.raises(DataError, match="no plain table of tensors"):
        catalogue.get(NAME)


def test_no_file_and_no_server_are_said(served: tuple[str, Path]) -> None:
    address, _ = served
    with pytest.raises(DataError, match=r"cannot be fetched .*404"):
        catalogue.fetch(Source(f"{address}/none.pth", "00000000"))
    with pytest.raises(DataError, match="cannot be fetched"):
        catalogue.fetch(Source("http://127.0.0.1:9/none.pth", "00000000"))


def test_a_folder_that_cannot_be_written_keeps_nothing(
    served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = served
    file, prefix = offer(folder, {"x": torch.zeros(2)})
    monkeypatch.setattr(catalogue, "official", lambda name: Source(f"{address}/{file}", prefix))
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        catalogue.get(NAME)


def test_the_listing_names_everything_with_hash_and_size_and_asks_no_network(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    entries = {e.name: e for e in catalogue.listing()}
    assert {e.state for e in entries.values()} == {"built in", "available"}
    resnet = entries["resnet18"]
    assert resnet.parameters == 11_689_512
    assert resnet.megabytes is not None
    assert 40 < resnet.megabytes < 50
    source = catalogue.official("resnet18")
    assert source.url.startswith("https://")
    assert source.url.endswith(f"-{source.prefix}.pth")
    assert len(source.prefix) >= 8


def test_names_that_cannot_be_had_are_said(served: tuple[str, Path]) -> None:
    with pytest.raises(SettingError, match="'resnet19' is not in the catalogue"):
        catalogue.get("resnet19")
    with pytest.raises(SettingError, match="conv4 is built in"):
        catalogue.get("conv4")
    with pytest.raises(DataError, match="get them once with: kshot get resnet18"):
        TorchVision("resnet18", 32, pretrained=True)
