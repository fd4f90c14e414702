"""Text models of random weights, made from a configuration: every adaptor's code runs without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WIDTH, LAYERS = 16, 2


def bert_config(family: str = "bert", **more: Any) -> dict[str, Any]:
    """A `config.json` of two layers, as the family writes it."""
    common = {
        "model_type": family,
        "vocab_size": len(vocabulary()),
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    if family == "distilbert":
        return {**common, "dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 24, **more}
    own = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    return {**common, **own, "type_vocab_size": 2, "hidden_act": "gelu", **more}


def vocabulary() -> dict[str, int]:
    pieces = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS)]
    return {piece: place for place, piece in enumerate(pieces)}


def tokenizer() -> Tokenizer:
    """Word pieces of one letter each."""
    made = Tokenizer(models.WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=10_000))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_truncation(8)  # published files have it, and it must not cut here
    return made


def weights(family: str = "bert", seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names that the family's files use."""
    g = torch.Generator().manual_seed(seed)
    w, i = WIDTH, 24
    names = _NAMES[family]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(vocabulary()), w),
        "embeddings.position_embeddings.weight": (40, w),
        "embeddings.LayerNorm.weight": (w,),
        "embeddings.LayerNorm.bias": (w,),
    }
    if family in ("bert", "roberta"):
        shapes["embeddings.token_type_embeddings.weight"] = (2, w)
    if family == "mpnet":
        shapes["encoder.relative_attention_bias.weight"] = (32, 2)
    for layer in range(LAYERS):
        for name in names["square"]:
            shapes |= {
                f"{names['layer']}.{layer}.{name}.weight": (w, w),
                f"{names['layer']}.{layer}.{name}.bias": (w,),
            }
        wide, narrow = names["wide"]
        shapes |= {
            f"{names['layer']}.{layer}.{wide}.weight": (i, w),
            f"{names['layer']}.{layer}.{wide}.bias": (i,),
        }
        shapes |= {
            f"{names['layer']}.{layer}.{narrow}.weight": (w, i),
            f"{names['layer']}.{layer}.{narrow}.bias": (w,),
        }
        for name in names["norms"]:
            shapes |= {
                f"{names['layer']}.{layer}.{name}.weight": (w,),
                f"{names['layer']}.{layer}.{name}.bias": (w,),
            }
    return {
        name: torch.randn(shape, generator=g) * 0.3 + ("Norm" in name or "norm" in name)
        for name, shape in shapes.items()
    }


_BERT = {
    "layer": "encoder.layer",
    "square": [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    ],
    "wide": ["intermediate.dense", "output.dense"],
    "norms": ["attention.output.LayerNorm", "output.LayerNorm"],
}
_NAMES: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": {
        "layer": "transformer.layer",
        "square": ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"],
        "wide": ["ffn.lin1", "ffn.lin2"],
        "norms": ["sa_layer_norm", "output_layer_norm"],
    },
    "mpnet": {
        "layer": "encoder.layer",
        "square": ["attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"],
        "wide": ["intermediate.dense", "output.dense"],
        "norms": ["attention.LayerNorm", "output.LayerNorm"],
    },
}


def folder(
    place: Path, family: str = "bert", *, seed: int = 0, pooling: str = "mean", length: int | None = None
) -> Path:
    """A text model's folder, as they are published."""
    (place / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(bert_config(family)))
    tokenizer().save(str(place / "tokenizer.json"))
    save_file(weights(family, seed), place / "model.safetensors")
    modes = {
        f"pooling_mode_{name}": name.startswith(pooling)
        for name in ("cls_token", "mean_tokens", "max_tokens")
    }
    (place / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    if length:
        (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    return place


def onnx_model(place: Path) -> Path:
    """A model that looks up a row of a table for every token: hidden states [n, t, 4]."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    place.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(0).normal(size=(len(vocabulary()), 4)).astype(np.float32)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"])
    out = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["n", "t", 4])
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"])]
    graph = helper.make_graph(nodes, "tiny", [ids, mask], [out], [numpy_helper.from_array(rows, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(place / "model.onnx"))
    tokenizer().save(str(place / "tokenizer.json"))
    return place / "model.onnx"
