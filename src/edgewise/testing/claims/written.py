"""Parts of models written out: plain matrices and loops over edges, with our parameters by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgewise.testing.claims.claim import Weights

__all__ = [
    "attended",
    "batch_norm",
    "layer_norm",
    "linear",
    "post_norm",
    "projected_heads",
    "two_linear",
]


def linear(given: Weights, name: str, x: Tensor) -> Tensor:
    """A map with a bias."""
    return x @ given[f"{name}.weight"].T + given[f"{name}.bias"]


def two_linear(given: Weights, name: str, x: Tensor) -> Tensor:
    """An MLP with ReLU."""
    return linear(given, f"{name}.down_proj", linear(given, f"{name}.up_proj", x).relu())


def batch_norm(given: Weights, name: str, x: Tensor) -> Tensor:
    """Over all rows, as in training."""
    mean, var = x.mean(0), x.var(0, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt() * given[f"{name}.weight"] + given[f"{name}.bias"]


def layer_norm(given: Weights, name: str, x: Tensor) -> Tensor:
    """Over the features of every row."""
    return F.layer_norm(x, x.shape[-1:], given[f"{name}.weight"], given[f"{name}.bias"])


def post_norm(given: Weights, prefix: str, x: Tensor, found: Tensor) -> Tensor:
    """What was found, then an MLP, each with residual and batch norm."""
    x = batch_norm(given, f"{prefix}mixer_norm", x + found)
    return batch_norm(given, f"{prefix}mlp_norm", x + two_linear(given, f"{prefix}mlp", x))


def projected_heads(given: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """A projection, dealt out to heads: ``[N, heads, head_dim]``."""
    return linear(given, name, x).unflatten(-1, (heads, -1))


def attended(score: list[Tensor], value: Tensor, pairs: list[list[int]]) -> Tensor:
    """Softmax over the edges ``[source, target]`` that enter a node, head by head: ``[N, dim]``."""
    rows: list[Tensor] = []
    for i in range(len(value)):
        entering = [(e, source) for e, (source, target) in enumerate(pairs) if target == i]
        total = sum((score[e].exp() for e, _ in entering), torch.zeros_like(value[0, :, 0]))
        row = torch.zeros_like(value[0])
        for e, j in entering:
            row = row + (score[e].exp() / total)[:, None] * value[j]
        rows.append(row.flatten())
    return torch.stack(rows)
