"""The networks of lightweight and dynamic convolutions: a Transformer without attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph, Window, disjoint_union
from edgewise.models.card import Card
from edgewise.models.sequence.sequences import sequences
from edgewise.nn import (
    MLP,
    Block,
    DynamicConvolution,
    GatedConvolution,
    LightweightConvolution,
)
from edgewise.nn.checks import check_choice, check_features, check_nodes
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "DYNAMIC_CARD", "Convolutional"]

_KINDS = {"lightweight": LightweightConvolution, "dynamic": DynamicConvolution}


class Convolutional(Layer):
    r"""Blocks of gated convolutions and MLPs whose kernels grow from block to block.

    .. math::
        x \leftarrow \mathrm{norm}(x + \mathrm{conv}_l(x)), \qquad
        x \leftarrow \mathrm{norm}(x + \mathrm{mlp}(x))

    The graph defines where sequences start and end (`Causal`, `Complete`, `Blocks`, or a
    `disjoint_union` of them), each kernel how far a node reads within its sequence.

    Args:
        dim: Features of every node, before and after.
        heads: Kernels of each convolution.
        kernels: Sources of a target, one number for each block; ``(3, 7, 15, 31, 31, 31, 31)`` in
            the paper's encoder, all odd unless ``causal``.
        kind: ``"lightweight"`` or ``"dynamic"``.
        causal: Whether a node reads only what comes before it, and itself.
        hidden: Features inside the MLPs; ``4 * dim`` when left out.
        dropout: Share dropped from what convolutions and MLPs return.
        weight_dropout: Share of normalized weights dropped.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: no kernels, an even one that has to be centered, or a setting of its layers
            that is out of range.
        GraphError: the graph is not sequences side by side, or is causal where the network is not.
        ShapeError: features or nodes that do not fit the network or the graph.

    Complexity: O(N dim^2 + E dim) for each block, with ``E`` its window's edges.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks
        >>> model = Convolutional(16, heads=4, kernels=(3, 7), kind="dynamic")
        >>> model(torch.randn(9, 16), Blocks([4, 5])).shape
        torch.Size([9, 16])

    References:
        Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019,
        arXiv:1901.10430, sections 3, 4 and 5.1.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kernels: Sequence[int],
        *,
        kind: str = "lightweight",
        causal: bool = False,
        hidden: int | None = None,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("Convolutional", device, dtype)
        check_choice("Convolutional", "kind", kind, _KINDS)
        even = [kernel for kernel in kernels if kernel % 2 == 0]
        if not kernels or (even and not causal):
            raise ArgumentError(
                f"Convolutional: kernels must be one odd number or more, so that as many sources "
                f"come before a target as after it, got {list(kernels)}. Even ones need "
                f"causal=True."
            )
        self.dim = dim
        self.causal = causal
        self.kernels = tuple(kernels)
        self.blocks = nn.ModuleList(
            Block(
                GatedConvolution(
                    _KINDS[kind](dim, heads, kernel, dropout=weight_dropout, **made), dim, **made
                ),
                dim,
                order="post",
                mlp=MLP(dim, 4 * dim if hidden is None else hidden, **made),
                dropout=dropout,
                **made,
            )
            for kernel in kernels
        )

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        check_features("Convolutional", "x", x, self.dim, "dim")
        check_nodes("Convolutional", x, graph)
        for block, kernel in zip(self.blocks, self.kernels, strict=True):
            x = block(x, cached_by_graph(_windows, graph, kernel, self.causal))
        return x

    def extra_repr(self) -> str:
        return f"{self.dim}, kernels={self.kernels}, causal={self.causal}"


def _windows(graph: Graph, kernel: int, causal: bool) -> Graph:
    """The window of a kernel within each sequence."""
    left = kernel - 1 if causal else kernel // 2
    _, sizes = sequences("Convolutional", graph, both_ways=not causal)
    return disjoint_union([Window(n, left=left, right=kernel - 1 - left) for n in sizes.tolist()])


CARD = Card(
    name="LightConv",
    paper="Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019, "
    "arXiv:1901.10430, section 3.",
    equation=r"h_i' = W_O \big\Vert_h \sum_{j \in N(i)} \mathrm{softmax}(W_h)_{j - i}\, v_j^h,"
    r" \qquad v = a \odot \sigma(b), \quad [a; b] = W_I h",
    setting='Convolutional(16, heads=4, kernels=(3, 7), kind="lightweight")',
    differences="An encoder or decoder-only network; the paper's translation decoder also reads "
    "the encoder by attention.",
    call="model(torch.randn(9, 16), Blocks([4, 5]))",
)

DYNAMIC_CARD = Card(
    name="DynamicConv",
    paper="Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019, "
    "arXiv:1901.10430, section 4.",
    equation=r"h_i' = W_O \big\Vert_h \sum_{j \in N(i)} \mathrm{softmax}(W_h v_i)_{j - i}\, v_j^h,"
    r" \qquad v = a \odot \sigma(b), \quad [a; b] = W_I h",
    setting='Convolutional(16, heads=4, kernels=(3, 7), kind="dynamic")',
    differences="An encoder or decoder-only network; the paper's translation decoder also reads "
    "the encoder by attention.",
    call="model(torch.randn(9, 16), Blocks([4, 5]))",
)
