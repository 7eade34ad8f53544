"""Claims about positions of pairs: rotary embeddings, and biases of scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import scaled_dot_product_attention

from edgewise import RelativeBias, attention
from edgewise.claims.claim import BOUNDS, Claim, Sides, Weights
from edgewise.graphs import Causal, Complete, Graph
from edgewise.nn import Rotary, T5RelativeBias, alibi
from edgewise.ops.scores import Dot

__all__ = ["POSITION_BIASES"]

_B, _H, _N, _D = 2, 4, 40, 8


def _nodes(dtype: torch.dtype, heads: int = _H, targets: int = _N) -> dict[str, Tensor]:
    key, value = torch.randn(2, _B, heads, _N, _D, dtype=dtype)
    return {"query": torch.randn(_B, heads, targets, _D, dtype=dtype), "key": key, "value": value}


def _three(given: Weights) -> tuple[Tensor, Tensor, Tensor]:
    return given["query"], given["key"], given["value"]


def _later() -> Tensor:
    """True for sources that come after a target."""
    return torch.ones(_N, _N, dtype=torch.bool).triu(1)


# --- ALiBi ---------------------------------------------------------------------------------------


def _alibi(dtype: torch.dtype, heads: int) -> Sides:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    def expected(given: Weights) -> Tensor:
        table = build_alibi_tensor(torch.ones(_B, _N, dtype=torch.int64), heads, dtype)
        # A row has slope times source, which differs by a constant from slope times distance.
        mask = table.view(_B, heads, 1, _N).masked_fill(_later(), -torch.inf)
        return scaled_dot_product_attention(*_three(given), attn_mask=mask)

    def computed(given: Weights) -> Tensor:
        return attention(*_three(given), Causal(_N), bias=alibi(heads, _N, dtype=dtype))

    return Sides(_nodes(dtype, heads), computed, expected)


def _symmetric_alibi(dtype: torch.dtype) -> Sides:
    def expected(given: Weights) -> Tensor:
        position = torch.arange(_N, dtype=dtype)
        slope = torch.tensor([2.0 ** (-8 * h / _H) for h in range(1, _H + 1)], dtype=dtype)
        mask = -slope[:, None, None] * (position[:, None] - position).abs()
        return scaled_dot_product_attention(*_three(given), attn_mask=mask)

    def computed(given: Weights) -> Tensor:
        table = alibi(_H, _N, symmetric=True, dtype=dtype)
        return attention(*_three(given), Complete(_N), bias=table)

    return Sides(_nodes(dtype), computed, expected)


# --- T5 ------------------------------------------------------------------------------------------


def _t5(dtype: torch.dtype, graph: Graph, *, decoder: bool) -> Sides:
    """The bias of every edge, and attention with it; with distances beyond the last bucket."""
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    class T5Bias(nn.Module):
        """Bias of `T5Attention` as a module."""

        def __init__(self) -> None:
            super().__init__()
            config = T5Config(
                d_model=_H * _D,
                d_kv=_D,
                num_heads=_H,
                relative_attention_num_buckets=8,
                relative_attention_max_distance=20,
                is_decoder=decoder,
            )
            self.layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)

        def forward(self) -> Tensor:
            T, S = graph.num_targets, graph.num_sources
            return self.layer.compute_bias(T, S, past_seen_tokens=S - T)

    layer, original = (
        T5RelativeBias(_H, buckets=8, max_distance=20, bidirectional=not decoder).to(dtype),
        T5Bias(),
    )
    name = "relative_attention_bias.weight"
    target, source = torch.arange(graph.num_targets), torch.arange(graph.num_sources)
    held = graph.contains(target[:, None], source)
    shift = graph.num_sources - graph.num_targets

    def computed(given: Weights) -> tuple[Tensor, Tensor]:
        table: RelativeBias = functional_call(layer, {name: given[name]}, (graph,))
        out = attention(*_three(given), graph, score=Dot(scale=1.0), bias=table)
        every = table.shifted(shift).on_edges(target[:, None], source, None)
        return out, every.masked_fill(~held, 0.0)

    def expected(given: Weights) -> tuple[Tensor, Tensor]:
        every = functional_call(original, {f"layer.{name}": given[name]}, ())
        mask = every.masked_fill(~held, -torch.inf)
        out = scaled_dot_product_attention(*_three(given), attn_mask=mask, scale=1.0)
        return out, every[0].masked_fill(~held, 0.0)

    nodes = _nodes(dtype, targets=graph.num_targets)
    return Sides(nodes | dict(layer.state_dict()), computed, expected)


# --- Rotary --------------------------------------------------------------------------------------


def _turned(rotary: Rotary, given: Weights) -> tuple[Tensor, Tensor]:
    position = torch.arange(_N)
    return rotary(given["query"], position), rotary(given["key"], position)


def _rotary(dtype: torch.dtype) -> Sides:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    def expected(given: Weights) -> tuple[Tensor, Tensor]:
        step = 10000.0 ** (-torch.arange(0, _D, 2, dtype=dtype) / _D)
        angle = (torch.arange(_N, dtype=dtype)[:, None] * step).repeat(1, 2)[None]
        return apply_rotary_pos_emb(given["query"], given["key"], angle.cos(), angle.sin())

    return Sides(_nodes(dtype), lambda given: _turned(Rotary(_D), given), expected)


def _llama(dtype: torch.dtype) -> Sides:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import (
        LlamaRotaryEmbedding,
        apply_rotary_pos_emb,
    )

    embedding = LlamaRotaryEmbedding(LlamaConfig(hidden_size=_H * _D, num_attention_heads=_H))

    def expected(given: Weights) -> tuple[Tensor, Tensor]:
        query, key, value = _three(given)
        cos, sin = embedding(value, torch.arange(_N)[None])
        return apply_rotary_pos_emb(query, key, cos, sin)

    return Sides(_nodes(dtype), lambda given: _turned(Rotary(_D), given), expected)


def _rotary_of_the_paper(dtype: torch.dtype) -> Sides:
    def expected(given: Weights) -> tuple[Tensor, Tensor]:
        turned: list[Tensor] = []
        for x in (given["query"], given["key"]):
            columns: list[Tensor] = []
            for i in range(_D // 2):
                angle = torch.arange(_N, dtype=dtype) * 10000 ** (-2 * i / _D)
                a, b = x[..., 2 * i], x[..., 2 * i + 1]
                columns += [a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()]
            turned.append(torch.stack(columns, -1))
        return turned[0], turned[1]

    return Sides(
        _nodes(dtype), lambda given: _turned(Rotary(_D, interleaved=True), given), expected
    )


_HF = ("transformers",)
_PRESS = "Press, Smith, Lewis 2021, arXiv:2108.12409, section 3"
_RAFFEL = "Raffel et al. 2019, arXiv:1910.10683, section 2.1"
_SU = "Su et al. 2021, arXiv:2104.09864, section 3.2"

# The originals compute slopes or angles in float32, whatever the dtype of the model.
_IN_FLOAT32 = {torch.float32: BOUNDS[torch.float32], torch.float64: 2e-6}

POSITION_BIASES = (
    Claim(
        "ALiBi, 8 heads",
        "positions",
        "transformers' build_alibi_tensor (Bloom)",
        lambda dtype: _alibi(dtype, 8),
        _PRESS,
        needs=_HF,
    ),
    Claim(
        "ALiBi, 12 heads",
        "positions",
        "transformers' build_alibi_tensor (Bloom)",
        lambda dtype: _alibi(dtype, 12),
        _PRESS,
        needs=_HF,
        bounds=_IN_FLOAT32,
    ),
    Claim("ALiBi, symmetric", "positions", "the equation", _symmetric_alibi, _PRESS),
    Claim(
        "relative bias of T5's encoder",
        "positions",
        "transformers' T5Attention.compute_bias",
        lambda dtype: _t5(dtype, Complete(_N), decoder=False),
        _RAFFEL,
        needs=_HF,
    ),
    Claim(
        "relative bias of T5's decoder",
        "positions",
        "transformers' T5Attention.compute_bias",
        lambda dtype: _t5(dtype, Causal(_N), decoder=True),
        _RAFFEL,
        needs=_HF,
    ),
    Claim(
        "relative bias of T5's decoder, going on from a cache",
        "positions",
        "transformers' T5Attention.compute_bias",
        lambda dtype: _t5(dtype, Causal(3, _N), decoder=True),
        _RAFFEL,
        needs=_HF,
    ),
    Claim(
        "rotary positions",
        "positions",
        "transformers' apply_rotary_pos_emb (Llama)",
        _rotary,
        _SU,
        needs=_HF,
    ),
    Claim(
        "rotary positions",
        "positions",
        "transformers' LlamaRotaryEmbedding",
        _llama,
        _SU,
        needs=_HF,
        bounds=_IN_FLOAT32,
    ),
    Claim("rotary positions, interleaved", "positions", "the equation", _rotary_of_the_paper, _SU),
)
