"""Encoders from torchvision by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

import kshot
from kshot.bundles import load
from kshot.encoders import TorchVision, normalising
from kshot.errors import DataError, SettingError

SMALL = ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "resnet18", "mnasnet0_5"]


@pytest.mark.parametrize("name", SMALL)
def test_features_are_counted_and_the_classifier_is_gone(name: str) -> None:
    encoder = TorchVision(name, size=64).eval()
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, encoder.features)
    assert not any(1000 in p.shape for p in encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", kshot.encoders.torchvision_models.model_names())
def test_every_model_of_torchvision_works(name: str) -> None:
    needs = {"vit_h_14": 98, "maxvit_t": 224}  # patches of 14 pixels; windows that only fit its usual size
    encoder = TorchVision(name, size=needs.get(name, 96)).eval()
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, encoder.size, encoder.size)).shape == (1, encoder.features)


def test_features_equal_torchvisions_own_before_its_classifier(tmp_path: Path) -> None:
    theirs = torchvision.models.mobilenet_v3_small().eval()
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, tmp_path / "w.safetensors")
    encoder = TorchVision("mobilenet_v3_small", 64, pretrained=tmp_path / "w.safetensors").eval()
    x = torch.rand(2, 3, 64, 64)
    theirs.classifier[3] = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), theirs(x))


def test_grey_and_colour_pictures_are_normalised_as_imagenet() -> None:
    white = Image.new("L", (70, 50), 255)
    seen = TorchVision("squeezenet1_1", 64).prepare(TorchVision("squeezenet1_1", 64).read([white]))
    expected = [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    torch.testing.assert_close(seen[0, :, 3, 3], torch.tensor(expected))
    grey = TorchVision("squeezenet1_1", 64, channels=1).eval()
    assert grey(grey.prepare(grey.read([white]))).shape == (1, 512)


def test_two_calls_in_training_mode_agree_because_nothing_in_it_is_random() -> None:
    encoder = TorchVision("mobilenet_v3_small", 64).train()
    x = torch.rand(4, 3, 64, 64)
    assert torch.equal(encoder(x), encoder(x))


def test_under_a_gradient_learner_running_statistics_are_used_and_stay() -> None:
    encoder = TorchVision("resnet18", 32).train()
    before = {k: v.clone() for k, v in encoder.named_buffers()}
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        with normalising("batch"):
            seen = encoder(x)
        assert all(torch.equal(v, before[k]) for k, v in encoder.named_buffers())
        torch.testing.assert_close(seen, encoder.eval()(x))
    learner = kshot.learners.maml(encoder, steps=1)
    pictures = torch.rand(4, 3, 32, 32)
    task = learner.adapt(pictures, ["a", "a", "b", "b"])
    assert len(task.predict(pictures).labels) == 4
    assert all(torch.equal(v, before[k]) for k, v in learner.encoder.named_buffers())


def test_a_learner_with_it_is_saved_and_loaded(tmp_path: Path) -> None:
    learner = kshot.learners.ProtoNet(TorchVision("squeezenet1_1", 32)).eval()
    kshot.learners.records.save_learner(learner, tmp_path / "l.kshot", {})
    again = load(tmp_path / "l.kshot")
    assert isinstance(again, kshot.Learner)
    assert again.encoder.fingerprint() == learner.encoder.fingerprint()


def test_what_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"'resnet19' is no model of torchvision; among its names are resnet"
    ):
        TorchVision("resnet19")
    with pytest.raises(SettingError, match="size is 8; resnet18 needs at least 32"):
        TorchVision("resnet18", 8)
    with pytest.raises(SettingError, match="vit_b_16 cannot be made for size 50"):
        TorchVision("vit_b_16", 50)
    with pytest.raises(DataError, match="does not exist"):
        TorchVision("squeezenet1_1", 32, pretrained=tmp_path / "no.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match="is no whole safetensors file"):
        TorchVision("squeezenet1_1", 32, pretrained=tmp_path / "bad.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"another model or size \(\d+ missing, 1 unknown"):
        TorchVision("squeezenet1_1", 32, pretrained=tmp_path / "other.safetensors")
