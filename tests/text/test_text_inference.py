"""Text models optimised for inference: windows of any length, and eight bits that leave no trace in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_text_models as tiny
import torch

import kshot
from kshot.exporting import optimize_for_inference


def test_texts_run_elsewhere_with_any_length(tmp_path: Path) -> None:
    base = kshot.text.classifier(kshot.text.encoder(f"path:{tiny.folder(tmp_path)}"))
    base.encoder.cache = None
    texts = ["one two three", "four", "one two three four five six seven " * 9]
    fast = optimize_for_inference(base, texts, how="onnx")
    assert fast.encoder.runner.way == "onnx"
    one, other = base.encoder.encode(texts[::-1]), fast.encoder.encode(texts[::-1])
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_eight_bits_only_when_asked_and_never_cached(tmp_path: Path) -> None:
    base = kshot.text.classifier(kshot.text.encoder(f"path:{tiny.folder(tmp_path)}"))
    fast = optimize_for_inference(base, ["one two", "three"], how="int8")
    assert (fast.encoder.runner.way, fast.encoder.runner.exact, fast.encoder.cache) == ("int8", False, None)
