"""Claims about attention and layers of `torch.nn`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights, without
from edgewise.graphs import Complete
from edgewise.nn import DotAttention

__all__ = ["TORCH_NN"]

_B, _N, _DIM, _HEADS = 2, 11, 24, 4


def _attention(dtype: torch.dtype) -> tuple[DotAttention, dict[str, Tensor]]:
    layer = DotAttention(_DIM, heads=_HEADS).to(dtype)
    return layer, dict(layer.state_dict()) | {"x": torch.randn(_B, _N, _DIM, dtype=dtype)}


def _multi_head(dtype: torch.dtype) -> Sides:
    layer, weights = _attention(dtype)
    original = nn.MultiheadAttention(_DIM, _HEADS, batch_first=True, dtype=dtype)

    def expected(given: Weights) -> Tensor:
        projections = [given[f"{name}_proj.weight"] for name in "qkv"]
        biases = [given[f"{name}_proj.bias"] for name in "qkv"]
        parameters = {
            "in_proj_weight": torch.cat(projections),
            "in_proj_bias": torch.cat(biases),
            "out_proj.weight": given["out_proj.weight"],
            "out_proj.bias": given["out_proj.bias"],
        }
        x = given["x"]
        return functional_call(original, parameters, (x, x, x), {"need_weights": False})[0]

    return Sides(weights, _computed(layer), expected)


def _edge_by_edge(dtype: torch.dtype) -> Sides:
    layer, weights = _attention(dtype)

    def expected(given: Weights) -> Tensor:
        x = given["x"]
        size = _DIM // _HEADS
        query, key, value = (
            (x @ given[f"{name}_proj.weight"].T + given[f"{name}_proj.bias"]).unflatten(
                -1, (_HEADS, size)
            )
            for name in "qkv"
        )
        rows: list[Tensor] = []
        for i in range(_N):
            messages: list[Tensor] = []
            scores: list[Tensor] = []
            for j in range(_N):
                scores.append((query[:, i] * key[:, j]).sum(-1) / size**0.5)
                messages.append(value[:, j])
            weight = torch.stack(scores).exp()
            weight = weight / weight.sum(0)
            rows.append((weight[..., None] * torch.stack(messages)).sum(0).flatten(-2))
        return torch.stack(rows, 1) @ given["out_proj.weight"].T + given["out_proj.bias"]

    return Sides(weights, _computed(layer), expected)


def _computed(layer: DotAttention):
    def computed(given: Weights) -> Tensor:
        parameters = without(given, "x")
        return functional_call(layer, parameters, (given["x"], Complete(_N)))

    return computed


_VASWANI = "Vaswani et al. 2017, arXiv:1706.03762, section 3.2"

TORCH_NN = (
    Claim(
        "multi-head attention", "transformer", "torch.nn.MultiheadAttention", _multi_head, _VASWANI
    ),
    Claim(
        "multi-head attention",
        "transformer",
        "message passing, edge by edge",
        _edge_by_edge,
        _VASWANI,
    ),
)
