"""Attention in the layout of PyTorch Geometric: nodes first, then heads."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from edgewise.functional import attention, attention_state, weights
from edgewise.graphs import EdgeList
from edgewise.ops.scores import Score

__all__ = ["attend", "heads_joined"]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: EdgeList,
    score: Score,
    *,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    wants_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of ``[N, H, D]`` tensors, and the weights of all edges before dropout.

    Args:
        query: ``[T, H, D]``.
        key: ``[S, H, D]``.
        value: ``[S, H, C]``.
        graph: The edges.
        score: The score.
        edge_key: ``[E, H, D]``, added to keys.
        edge_value: ``[E, H, C]``, added to values.
        dropout: Share of weights dropped.
        wants_weights: Whether weights are computed; None is returned otherwise.

    Returns:
        ``[T, H, C]`` and ``[E, H]``.
    """
    given = (query, key, value, edge_key, edge_value)
    # Under autocast, products have a smaller dtype than sums; the original promotes them too.
    dtype = reduce(torch.promote_types, (part.dtype for part in given if part is not None))
    query, key, value = (part.to(dtype).transpose(0, 1) for part in (query, key, value))
    edge_key, edge_value = (
        None if part is None else part.to(dtype).transpose(0, 1) for part in (edge_key, edge_value)
    )
    if not wants_weights:
        out = attention(
            *(query, key, value, graph),
            score=score,
            edge_key=edge_key,
            edge_value=edge_value,
            dropout=dropout,
        )
        return out.transpose(0, 1), None
    state = attention_state(
        *(query, key, value, graph),
        score=score,
        edge_key=edge_key,
        edge_value=edge_value,
        dropout=dropout,
    )
    alpha = weights(query, key, graph, state.lse, score=score, edge_key=edge_key)
    return state.out.transpose(0, 1), alpha.transpose(0, 1).to(dtype)


def heads_joined(out: Tensor, *, concat: bool) -> Tensor:
    """``[N, H, C]`` with heads concatenated, or averaged."""
    return out.flatten(1) if concat or out.shape[1] == 1 else out.mean(1)
