"""Between nodes ``[*batch, N, heads * head_dim]`` and heads ``[*batch, heads, N, head_dim]``."""

from __future__ import annotations

from torch import Tensor, nn

from edgewise.nn.checks import check_edge

__all__ = ["edge_heads", "leading", "merge_heads", "reset_linear", "split_heads"]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Deal the features of every node out to the heads; a view, nothing is copied.

    >>> import torch
    >>> split_heads(torch.zeros(2, 5, 12), heads=3).shape
    torch.Size([2, 3, 5, 4])
    """
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """Put the features of all heads side by side again.

    >>> import torch
    >>> merge_heads(torch.zeros(2, 3, 5, 4)).shape
    torch.Size([2, 5, 12])
    """
    return x.transpose(-2, -3).flatten(-2)


def leading(x: Tensor, ndim: int) -> Tensor:
    """Add axes of size one in front until ``x`` has ``ndim`` of them: one for each batch axis.

    >>> import torch
    >>> leading(torch.zeros(7, 4), ndim=4).shape
    torch.Size([1, 1, 7, 4])
    """
    return x[(None,) * (ndim - x.ndim)]


def edge_heads(
    owner: str, projection: nn.Linear | None, edge: Tensor | None, heads: int, ndim: int
) -> Tensor | None:
    """Edge features dealt out to the heads, ``[*batch | 1, H, E, D]``, or None without any."""
    check_edge(owner, edge, None if projection is None else projection.in_features)
    if projection is None or edge is None:
        return None
    return leading(split_heads(projection(edge), heads), ndim)


def reset_linear(projection: nn.Linear) -> None:
    """Xavier (Glorot) uniform weights and a zero bias, as the papers on attention start."""
    nn.init.xavier_uniform_(projection.weight)
    if projection.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  # bias=False
        nn.init.zeros_(projection.bias)
