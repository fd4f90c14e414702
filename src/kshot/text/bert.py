"""The encoder stack of BERT and its relatives, in PyTorch, to run weights that are saved under their usual names.

Devlin et al. (2019), "BERT"; Liu et al. (2019), "RoBERTa"; Conneau et al. (2020), "XLM-R"; Sanh et al. (2019),
"DistilBERT"; Song et al. (2020), "MPNet". Only what sentence encoders use: no pooler, no decoder, no dropout.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Families that count positions from the padding token's id + 1."""

FAMILIES = ("bert", "distilbert", *_OFFSET)

_NAMES = (
    (r"^(bert|roberta|distilbert|mpnet|model|0\.auto_model)\.", ""),
    (r"^transformer\.layer\.", "encoder.layer."),
    (r"\.attention\.q_lin\.|\.attention\.self\.query\.|\.attention\.attn\.q\.", ".query."),
    (r"\.attention\.k_lin\.|\.attention\.self\.key\.|\.attention\.attn\.k\.", ".key."),
    (r"\.attention\.v_lin\.|\.attention\.self\.value\.|\.attention\.attn\.v\.", ".value."),
    (r"\.attention\.out_lin\.|\.attention\.output\.dense\.|\.attention\.attn\.o\.", ".mixed."),
    (r"\.sa_layer_norm\.|\.attention\.output\.LayerNorm\.|\.attention\.LayerNorm\.", ".first_norm."),
    (r"\.ffn\.lin1\.|\.intermediate\.dense\.", ".widen."),
    (r"\.ffn\.lin2\.|\.output\.dense\.", ".narrow."),
    (r"\.output_layer_norm\.|\.output\.LayerNorm\.", ".second_norm."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^embeddings\.word_embeddings\.", "words."),
    (r"^embeddings\.position_embeddings\.", "positions."),
    (r"^embeddings\.token_type_embeddings\.", "types."),
    (r"^encoder\.relative_attention_bias\.", "relative."),
    (r"^encoder\.layer\.", "layers."),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
)
"""Names in saved files to names here."""

_UNUSED = re.compile(r"^(pooler|cls|lm_head|classifier|vocab_\w+)\.|position_ids$|token_type_ids$")


class Bert(nn.Module):
    """Token ids [n, t] to hidden states [n, t, width].

    Args:
        config: of `config.json`: model_type, vocab_size, hidden_size, num_hidden_layers, num_attention_heads,
            intermediate_size, max_position_embeddings, ...

    Raises:
        UnsupportedError: a family, or a kind of positions or activation, that is not built here.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = _sizes(config)
        self.family, self.heads, width = size["family"], size["heads"], size["width"]
        self.words = nn.Embedding(size["vocabulary"], width)
        self.positions = nn.Embedding(size["positions"], width)
        types = 0 if self.family in ("distilbert", "mpnet") else int(config.get("type_vocab_size", 2))
        self.types = nn.Embedding(types, width) if types else None
        self.norm = nn.LayerNorm(width, eps=size["eps"])
        self.layers = nn.ModuleList(
            Layer(width, size["inner"], self.heads, size["eps"], size["activation"])
            for _ in range(size["layers"])
        )
        buckets = int(config.get("relative_attention_num_buckets", 32))
        self.relative = nn.Embedding(buckets, self.heads) if self.family == "mpnet" else None
        self.first = int(config.get("pad_token_id", 1)) + 1 if self.family in _OFFSET else 0
        self.width, self.longest = width, size["positions"] - self.first

    def forward(self, ids: Int[Tensor, "n t"], mask: Int[Tensor, "n t"]) -> Float[Tensor, "n t {self.width}"]:
        x = self.embed(ids)
        bias = self.bias(mask, x.dtype)
        for layer in self.layers:
            x = layer(x, bias)
        return x

    def embed(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n t {self.width}"]:
        """What the first layer is given."""
        places = torch.arange(ids.shape[1], device=ids.device) + self.first
        x = self.words(ids) + self.positions(places)
        out: Tensor = self.norm(x if self.types is None else x + self.types.weight[0])
        return out

    def bias(self, mask: Int[Tensor, "n t"], kind: torch.dtype) -> Float[Tensor, "n h t t"]:
        """What is added to attention: minus infinity for padding, and MPNet's term for distances."""
        bias = torch.zeros(mask.shape[0], 1, 1, mask.shape[1], dtype=kind, device=mask.device)
        bias = bias.masked_fill(mask[:, None, None, :] == 0, torch.finfo(kind).min)
        if self.relative is None:
            return bias
        places = torch.arange(mask.shape[1], device=mask.device)
        buckets = _buckets(places[None, :] - places[:, None], self.relative.num_embeddings)
        far: Tensor = self.relative(buckets).permute(2, 0, 1)
        return bias + far


Change = Callable[[str, Tensor], Tensor]


class Layer(nn.Module):
    """Self-attention, then two linear layers, each with its input added and normalised afterwards."""

    def __init__(self, width: int, inner: int, heads: int, eps: float, activation: str) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mixed = (nn.Linear(width, width) for _ in range(4))
        self.first_norm, self.second_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.heads, self.approximate = heads, "none" if activation == "gelu" else "tanh"
        self.relu = activation == "relu"

    def forward(
        self, x: Float[Tensor, "n t d"], bias: Float[Tensor, "n h s t"], change: Change | None = None
    ) -> Float[Tensor, "n t d"]:
        """`change` gives what is added to a linear map's output, by the map's name and its input."""

        def mapped(name: str, given: Tensor) -> Any:
            own = getattr(self, name)(given)
            return own if change is None else own + change(name, given)

        q, k, v = (
            mapped(name, x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        x = self.first_norm(x + mapped("mixed", read))
        wide = mapped("widen", x)
        wide = F.relu(wide) if self.relu else F.gelu(wide, approximate=self.approximate)
        out: Tensor = self.second_norm(x + mapped("narrow", wide))
        return out


def load_weights(network: Bert, found: Mapping[str, Tensor], where: str) -> None:
    """Put saved weights into the network, whatever their family calls them.

    Raises:
        DataError: weights are missing, or of another shape.
    """
    renamed = {name_here(name): t.float() for name, t in found.items() if not _UNUSED.search(name)}
    own = network.state_dict()
    kept = {name: t for name, t in renamed.items() if name in own}
    missing = sorted(set(own) - set(kept))
    shapes = [name for name in kept if kept[name].shape != own[name].shape]
    if missing or shapes:
        raise DataError(
            f"{where} does not fit its config.json: {len(missing)} weights are missing and {len(shapes)} of another "
            f"shape, for example {(missing + shapes)[0]!r}; fetch the folder again"
        )
    network.load_state_dict(kept, assign=True)


def name_here(name: str) -> str:
    """A weight's name in this file.

    >>> name_here("bert.encoder.layer.0.attention.self.query.weight")
    'layers.0.query.weight'
    """
    for pattern, here in _NAMES:
        name = re.sub(pattern, here, name)
    return name


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    family = config.get("model_type")
    positions = config.get("position_embedding_type", "absolute")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if family not in FAMILIES or positions != "absolute" or activation not in ("gelu", "relu", "gelu_new"):
        raise UnsupportedError(
            f"a text model of type {family!r} ({positions} positions, {activation}) is not built in; known are "
            f"{', '.join(FAMILIES)}: export it to ONNX and use onnx:FILE"
        )
    try:
        return {
            "family": family,
            "vocabulary": int(config["vocab_size"]),
            "width": int(config.get("hidden_size", config.get("dim", 768))),
            "layers": int(config.get("num_hidden_layers", config.get("n_layers", 6))),
            "heads": int(config.get("num_attention_heads", config.get("n_heads", 12))),
            "inner": int(config.get("intermediate_size", config.get("hidden_dim", 3072))),
            "positions": int(config["max_position_embeddings"]),
            "eps": float(config.get("layer_norm_eps", 1e-12)),
            "activation": activation,
        }
    except (KeyError, TypeError, ValueError) as cause:
        raise DataError(
            f"config.json of this {family} lacks or garbles {cause}; fetch the folder again"
        ) from None


def _buckets(distance: Tensor, count: int, most: int = 128) -> Tensor:
    """MPNet's buckets of distances: one each while near, then logarithmic, each side its own half."""
    n = -distance
    half = count // 2
    side, n = (n < 0).long() * half, n.abs()
    exact = half // 2
    far = exact + (torch.log(n.float().clamp(min=1) / exact) / math.log(most / exact) * (half - exact)).long()
    return side + torch.where(n < exact, n, far.clamp(max=half - 1))
