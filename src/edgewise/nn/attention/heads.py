"""Between nodes ``[*batch, N, heads * head_dim]`` and heads ``[*batch, heads, N, head_dim]``."""

from __future__ import annotations

from torch import Tensor, nn

from edgewise.nn.checks import check_edge, check_rate, check_size
from edgewise.nn.layer import Layer

__all__ = ["HeadsLayer", "edge_heads", "leading", "merge_heads", "reset_linear", "split_heads"]


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


class HeadsLayer(Layer):
    """Base of layers whose ``out_dim`` is the features of one head, concatenated or averaged.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of each head after.
        heads: Heads ``H``.
        concat: Whether heads are concatenated; otherwise they are averaged.
        edge_dim: Features of every edge; None for none.
        dropout: Share of attention weights dropped in training.

    Raises:
        ArgumentError: a size or share out of range.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int,
        *,
        concat: bool,
        edge_dim: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.in_dim = check_size(owner, "in_dim", in_dim)
        self.out_dim = check_size(owner, "out_dim", out_dim)
        self.heads = check_size(owner, "heads", heads)
        self.concat = concat
        self.edge_dim = None if edge_dim is None else check_size(owner, "edge_dim", edge_dim)
        self.dropout = check_rate(owner, "dropout", dropout)

    @property
    def result_dim(self) -> int:
        """Features of every node after: of all heads, or of one where they are averaged."""
        return self.heads * self.out_dim if self.concat else self.out_dim

    def combined(self, out: Tensor) -> Tensor:
        """Heads ``[*batch, H, T, D]`` concatenated or averaged: ``[*batch, T, result_dim]``."""
        return merge_heads(out) if self.concat else out.mean(-3)

    def extra_repr(self) -> str:
        slope = getattr(self, "negative_slope", None)
        return (
            f"{self.in_dim}, {self.out_dim}, heads={self.heads}, concat={self.concat}, "
            f"{'' if slope is None else f'negative_slope={slope}, '}"
            f"edge_dim={self.edge_dim}, dropout={self.dropout}"
        )
