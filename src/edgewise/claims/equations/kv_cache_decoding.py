"""Claims about language models: caches, and heads that share keys and values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.module_pair import ModuleCall, called, drawn
from edgewise.graphs import Causal
from edgewise.models import LanguageModel, gpt2, llama
from edgewise.nn import DotAttention
from edgewise.nn.attention.heads import merge_heads, split_heads

__all__ = ["LANGUAGE"]

_B, _N, _DIM, _HEADS = 2, 9, 24, 4


def _gpt2() -> LanguageModel:
    return gpt2(31, dim=_DIM, heads=_HEADS, layers=2, max_positions=16, dropout=0.0)


def _llama() -> LanguageModel:
    return llama(31, dim=_DIM, heads=_HEADS, kv_heads=2, layers=2, hidden=40)


def _step_by_step(
    dtype: torch.dtype, *, build: Callable[[], LanguageModel], steps: tuple[int, ...]
) -> Sides:
    model = build()
    tokens = torch.randint(31, (_B, _N))

    def stepwise(call: ModuleCall, given: Weights) -> Tensor:
        caches = model.caches()
        return torch.cat([call(part, caches=caches) for part in given["tokens"].split(steps, 1)], 1)

    return Sides(
        {**drawn(model, dtype), "tokens": tokens},
        called(model, ["tokens"], stepwise),
        called(model, ["tokens"], lambda call, given: call(given["tokens"])),
    )


def _shared(dtype: torch.dtype, *, kv_heads: int) -> Sides:
    layer = DotAttention(_DIM, _HEADS, kv_heads=kv_heads)
    peer = nn.MultiheadAttention(_DIM, _HEADS, batch_first=True, dtype=dtype)
    later = torch.ones(_N, _N, dtype=torch.bool).triu(1)

    def repeated(weight: Tensor) -> Tensor:
        heads = weight.unflatten(0, (kv_heads, _DIM // _HEADS))
        return heads.repeat_interleave(_HEADS // kv_heads, 0).flatten(0, 1)

    def expected(given: Weights) -> Tensor:
        def stacked(part: str) -> Tensor:
            query, key, value = (given[f"{each}_proj.{part}"] for each in "qkv")
            return torch.cat([query, repeated(key), repeated(value)])

        parameters = {f"in_proj_{part}": stacked(part) for part in ("weight", "bias")}
        parameters |= {name: given[name] for name in ("out_proj.weight", "out_proj.bias")}
        x = given["x"]
        mask = {"attn_mask": later, "need_weights": False}
        return functional_call(peer, parameters, (x, x, x), mask)[0]

    return Sides(
        {**drawn(layer, dtype), "x": torch.randn(_B, _N, _DIM, dtype=dtype)}, _over(layer), expected
    )


def _gqa(dtype: torch.dtype) -> Sides:
    layer = DotAttention(_DIM, _HEADS, kv_heads=2)

    def expected(given: Weights) -> Tensor:
        def projected(each: str, heads: int) -> Tensor:
            weight, bias = given[f"{each}_proj.weight"], given[f"{each}_proj.bias"]
            return split_heads(F.linear(given["x"], weight, bias), heads)

        heads = F.scaled_dot_product_attention(
            projected("q", _HEADS),
            projected("k", 2),
            projected("v", 2),
            is_causal=True,
            enable_gqa=True,
        )
        return F.linear(merge_heads(heads), given["out_proj.weight"], given["out_proj.bias"])

    return Sides(
        {**drawn(layer, dtype), "x": torch.randn(_B, _N, _DIM, dtype=dtype)}, _over(layer), expected
    )


def _over(layer: DotAttention):
    return called(layer, ["x"], lambda call, given: call(given["x"], Causal(_N)))


_VASWANI = "Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3"
_AINSLIE = "Ainslie et al. 2023, arXiv:2305.13245, section 2.2"

LANGUAGE = (
    Claim(
        "language model with caches, one node at a time",
        "language model",
        "all nodes at once",
        partial(_step_by_step, build=_gpt2, steps=(1,) * _N),
        _VASWANI,
    ),
    Claim(
        "the same with grouped queries and rotary positions",
        "language model",
        "all nodes at once",
        partial(_step_by_step, build=_llama, steps=(1,) * _N),
        _AINSLIE,
    ),
    Claim(
        "the same, some nodes at a time",
        "language model",
        "all nodes at once",
        partial(_step_by_step, build=_llama, steps=(4, 1, 3, 1)),
        _AINSLIE,
    ),
    Claim(
        "four heads, one of keys and values",
        "language model",
        "torch.nn.MultiheadAttention with repeated heads",
        partial(_shared, kv_heads=1),
        "Shazeer. 2019, arXiv:1911.02150, section 3",
    ),
    Claim(
        "four heads, two of keys and values",
        "language model",
        "torch.nn.MultiheadAttention with repeated heads",
        partial(_shared, kv_heads=2),
        _AINSLIE,
    ),
    Claim(
        "four heads, two of keys and values",
        "language model",
        "torch scaled_dot_product_attention(enable_gqa=True)",
        _gqa,
        _AINSLIE,
    ),
)
