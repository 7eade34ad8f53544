"""Attention with a dense mask in plain torch operators, for tracers: sizes are no constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["dense_attention"]


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    position: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    r"""Attention with a dense mask, for any sizes.

    Args:
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        value: ``[B, G, K, Dv]``.
        mask: ``[B | 1, H | 1, Q, K]``, bool (True for an edge) or numbers that are added.
        position: The same of numbers, added too.
        scale: Factor of the scores; ``1 / sqrt(D)`` when None.
        softcap: Limit of the scores.
        sinks: ``[H]``, one more score for each head, without a value.
        dropout: Share of weights dropped.
        weights: Whether to return them.

    Returns:
        ``[B, H, Q, Dv]``, zeros for queries without an edge, and ``[B, H, Q, K]`` or None.
    """
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    added = _sum(mask, position, query.dtype)
    if softcap is None and sinks is None and not weights:
        groups = bool(query.shape[1] != key.shape[1])
        return (
            nn.functional.scaled_dot_product_attention(
                query, key, value, added, dropout, scale=scale, enable_gqa=groups
            ),
            None,
        )
    repeats = query.shape[1] // key.shape[1]
    key, value = (table.repeat_interleave(repeats, 1) for table in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if added is not None and added.dtype == torch.bool:
        scores = scores.masked_fill(~added, -torch.inf)
    elif added is not None:
        scores = scores + added
    if sinks is not None:
        sink = sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sink], -1)
    alpha = torch.softmax(scores, -1)
    # Weights of a query without an edge are zeros, not NaN.
    alpha = alpha.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0.0)
    alpha = alpha[..., : key.shape[-2]].to(query.dtype)
    out = nn.functional.dropout(alpha, dropout, training=dropout > 0) @ value
    return out, alpha if weights else None


def _sum(mask: Tensor | None, position: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None or position is None:
        return mask if position is None else position.to(dtype)
    if mask.dtype == torch.bool:
        return position.to(dtype).masked_fill(~mask, -torch.inf)
    return mask + position.to(dtype)
