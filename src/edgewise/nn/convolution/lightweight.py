"""Convolutions with attention's shape: weights of distances, fixed or predicted by the target."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn.attention.heads import merge_heads, reset_linear, split_heads
from edgewise.nn.checks import check_features, check_nodes, check_rate, check_size
from edgewise.nn.convolution.kernel_offsets import kernel_places
from edgewise.nn.layer import Layer, factory

__all__ = ["DynamicConvolution", "LightweightConvolution"]


class LightweightConvolution(Layer):
    r"""A weighted sum over a window whose weights belong to distances, one kernel for each head.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i)} w^h_{j - i} \, h_j^h, \qquad
        w^h = \mathrm{softmax}(W_h) \in \mathbb{R}^{\text{kernel}}

    The features are dealt out to the heads, and those of one head share a kernel. Weights are
    normalized over the whole kernel, as in the paper: at an end of the sequence, where sources
    are missing, they sum to less than 1.

    The graph defines the sources: ``Window(n, left=3, right=3)`` for an encoder and
    ``Window(n, left=6, right=0)`` for a language model are both for a kernel of 7; `Dilated` and
    disjoint unions of equal windows work alike. With ``left`` any graph will do whose distances
    lie in the kernel, and ``W_h`` then belongs to the distances from ``-left`` on.

    Args:
        dim: Features of every node, before and after.
        heads: Kernels ``H``, a divisor of ``dim``.
        kernel: Weights of each kernel: the sources of a target, itself included.
        left: Sources before the target that the kernel covers; that of the graph's window when
            left out.
        dropout: Share of normalized weights dropped in training (the paper's DropConnect).
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating.
        - source: ``[*batch, S, dim]``; the nodes of ``x`` when left out. Positions are counted
          from the end: ``Window(1, S, left=6, right=0)`` is a step of decoding.
        - result: ``[*batch, T, dim]``.

    Raises:
        ArgumentError: heads that do not divide, or a size or share out of range.
        GraphError: a distance does not lie in the kernel, or the graph is not written as a window
            and the layer was built without ``left``.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters.

    Complexity: O(E dim) time, and numbers for each edge and head, never for each edge and
        feature, wherever the native kernels run.

    Example:
        >>> from edgewise.graphs import Window
        >>> layer = LightweightConvolution(16, heads=4, kernel=7)
        >>> layer(torch.randn(2, 10, 16), Window(10, left=6, right=0)).shape
        torch.Size([2, 10, 16])

    References:
        Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019,
        arXiv:1901.10430, section 3.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kernel: int,
        *,
        left: int | None = None,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("LightweightConvolution", device, dtype)
        _check_settings("LightweightConvolution", dim, heads, kernel, left, dropout)
        self.dim, self.heads, self.kernel, self.left = dim, heads, kernel, left
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(heads, kernel, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new kernels (Xavier uniform)."""
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, graph: Graph, *, source: Tensor | None = None) -> Tensor:
        source = _checked("LightweightConvolution", self.dim, x, graph, source)
        place = _places(self, graph, source, of_targets=False)
        weight = F.dropout(self.weight.softmax(-1), self.dropout, self.training)
        weight = weight.gather(-1, place.expand(self.heads, -1))
        batch, size = source.shape[:-2], self.dim // self.heads
        count = prod(batch)  # numel() would make it a constant of a program
        value = source.reshape(count, source.shape[-2], self.heads, size)
        if torch.compiler.is_exporting():  # a program for any batch, and channels are constants
            return (
                aggregate(value.transpose(1, 2), graph, weight=weight)
                .transpose(1, 2)
                .reshape(*batch, graph.num_targets, self.dim)
            )
        # Kernels have no batch axis: as part of the features, the batch reads weights once.
        out = aggregate(value.permute(2, 1, 0, 3).flatten(-2), graph, weight=weight)
        out = out.unflatten(-1, (count, size)).permute(2, 1, 0, 3)
        return out.reshape(*batch, graph.num_targets, self.dim)

    def extra_repr(self) -> str:
        return _described(self)


class DynamicConvolution(Layer):
    r"""A weighted sum over a window whose weights are predicted from the target alone.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i)} w^h_{i, j - i} \, h_j^h, \qquad
        w^h_i = \mathrm{softmax}(W_h h_i) \in \mathbb{R}^{\text{kernel}}

    Like attention, every node has weights of its own; unlike attention, they do not depend on
    pairs. Windows, ``left``, heads and the ends of a sequence are as in `LightweightConvolution`.

    Args:
        dim: Features of every node, before and after.
        heads: Kernels ``H`` of every target, a divisor of ``dim``.
        kernel: Weights of each kernel: the sources of a target, itself included.
        left: Sources before the target that the kernel covers; that of the graph's window when
            left out.
        bias: Whether the prediction of the weights has a bias; the paper's has none.
        dropout: Share of normalized weights dropped in training (the paper's DropConnect).
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating; the targets predict the weights.
        - source: ``[*batch, S, dim]``; the nodes of ``x`` when left out.
        - result: ``[*batch, T, dim]``.

    Raises:
        ArgumentError: heads that do not divide, or a size or share out of range.
        GraphError: a distance does not lie in the kernel, or the graph is not written as a window
            and the layer was built without ``left``.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters.

    Complexity: O(N dim H kernel) for the prediction and O(E dim) for the sum, with numbers for
        each edge and head, never for each edge and feature, wherever the native kernels run.

    Example:
        >>> from edgewise.graphs import Window
        >>> layer = DynamicConvolution(16, heads=4, kernel=7)
        >>> layer(torch.randn(2, 10, 16), Window(10, left=3, right=3)).shape
        torch.Size([2, 10, 16])

    References:
        Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019,
        arXiv:1901.10430, section 4.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kernel: int,
        *,
        left: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("DynamicConvolution", device, dtype)
        _check_settings("DynamicConvolution", dim, heads, kernel, left, dropout)
        self.dim, self.heads, self.kernel, self.left = dim, heads, kernel, left
        self.dropout = dropout
        self.kernel_proj = nn.Linear(dim, heads * kernel, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Xavier uniform) and set the bias to zero."""
        reset_linear(self.kernel_proj)

    def forward(self, x: Tensor, graph: Graph, *, source: Tensor | None = None) -> Tensor:
        source = _checked("DynamicConvolution", self.dim, x, graph, source)
        place = _places(self, graph, source, of_targets=True)
        # With the targets last, the softmax runs over them in step: [*batch, H, kernel, T].
        weight = self.kernel_proj(x).mT.unflatten(-2, (self.heads, self.kernel)).softmax(-2)
        weight = F.dropout(weight, self.dropout, self.training).flatten(-2)
        weight = weight.gather(-1, place.expand(*weight.shape[:-1], -1))
        return merge_heads(aggregate(split_heads(source, self.heads), graph, weight=weight))

    def extra_repr(self) -> str:
        return _described(self)


def _check_settings(
    owner: str, dim: int, heads: int, kernel: int, left: int | None, dropout: float
) -> None:
    check_size(owner, "dim", dim)
    check_size(owner, "heads", heads)
    check_size(owner, "kernel", kernel)
    check_rate(owner, "dropout", dropout)
    if dim % heads:
        raise ArgumentError(
            f"{owner}: dim={dim} cannot be divided among heads={heads}. Choose a multiple of heads."
        )
    if left is not None and check_size(owner, "left", left, 0) >= kernel:
        raise ArgumentError(
            f"{owner}: left must be below kernel={kernel}, which holds the target too, got {left}."
        )


def _checked(owner: str, dim: int, x: Tensor, graph: Graph, source: Tensor | None) -> Tensor:
    """The sources, after all checks."""
    check_features(owner, "x", x, dim, "dim")
    check_nodes(owner, x, graph)
    if source is None:
        return x
    check_features(owner, "source", source, dim, "dim")
    return source


def _places(
    layer: LightweightConvolution | DynamicConvolution,
    graph: Graph,
    source: Tensor,
    *,
    of_targets: bool,
) -> Tensor:
    owner = type(layer).__name__
    return kernel_places(
        owner, graph, layer.kernel, layer.left, source.device, of_targets=of_targets
    )


def _described(layer: LightweightConvolution | DynamicConvolution) -> str:
    return (
        f"{layer.dim}, heads={layer.heads}, kernel={layer.kernel}, left={layer.left}, "
        f"dropout={layer.dropout}"
    )
