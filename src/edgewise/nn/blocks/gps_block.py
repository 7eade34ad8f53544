"""The GPS layer: messages along the edges and attention to everything, side by side."""

from __future__ import annotations

from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse, without_none
from edgewise.nn.blocks.block import Block
from edgewise.nn.blocks.mlp import MLP
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_rate, check_size
from edgewise.nn.layer import Layer, factory
from edgewise.ops.bias import Bias

__all__ = ["GPSBlock"]


class GPSBlock(Layer):
    r"""Two mixers over two graphs, added up, then an MLP.

    .. math::
        x_L &= \mathrm{norm}(x + \mathrm{local}(x, G)), \qquad
        x_A = \mathrm{norm}(x + \mathrm{attention}(x, A)) \\
        x' &= \mathrm{norm}(y + \mathrm{mlp}(y)), \qquad y = x_L + x_A

    Each half is a post-norm `Block` without an MLP, so the layer is a setting of what there is.

    **Two graphs.** ``graph`` is the data's, and stands where every block has it. ``everywhere`` is
    the graph of the attention, and has to be named: a batch of molecules is one graph of many
    nodes, and where a molecule ends is not in its edges (it may even be in two pieces). A default
    of "all nodes" would let molecules of one batch read one another, without an error.
    Usual choices:

    =======================================  ========================================
    graph of the attention                   ``everywhere``
    =======================================  ========================================
    one graph, all nodes                     ``Complete(n)``
    a batch, all nodes of each graph         ``Blocks(sizes)``
    sparse (Exphormer)                       ``graph | RandomRegular(n, degree=4) | Hubs(n, [0])``
    =======================================  ========================================

    Args:
        local: Mixer over the edges, called as ``local(x, graph)``, with ``edge`` and
            ``edge_weight`` where they are given.
        attention: Mixer over everything, such as `DotAttention`; called with ``score_bias``.
        dim: Features of every node, before and after.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        mlp: Any module called as ``mlp(x)``; ``MLP(dim, 2 * dim)`` when left out.
        dropout: Share of features dropped, in training, from what mixers and MLP return, and
            inside the default MLP.
        norm_eps: Added to the variance in the norms; 1e-5 when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - edge: features of the edges of ``graph``, for ``local``.
        - edge_weight: weights of the edges of ``graph``, for ``local``.
        - score_bias: added to the scores of ``attention``, as ``bias`` of `edgewise.attention`:
            numbers of pairs of nodes, from the structure of the graph.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: an unknown norm, or a size or share out of range.
        ShapeError: features or nodes that do not fit, or a mixer that changes the shape.

    Gradients: to all tensors and parameters, never to the graphs.

    Complexity: that of the mixers and of the MLP.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks, EdgeList
        >>> from edgewise.nn import DotAttention, GCNConvolution
        >>> layer = GPSBlock(GCNConvolution(8, 8), DotAttention(8, heads=2), 8)
        >>> bonds = EdgeList([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]], num_nodes=5)
        >>> layer(torch.randn(5, 8), bonds, everywhere=Blocks([2, 3])).shape  # two molecules
        torch.Size([5, 8])

    References:
        Rampasek et al. Recipe for a General, Powerful, Scalable Graph Transformer. 2022,
        arXiv:2205.12454, section 3.1, equations 1 to 6.
        Shirzad et al. Exphormer. 2023, arXiv:2303.06147, section 3.
    """

    def __init__(
        self,
        local: nn.Module,
        attention: nn.Module,
        dim: int,
        *,
        norm: str | None = "batch",
        mlp: nn.Module | None = None,
        dropout: float = 0.0,
        norm_eps: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GPSBlock", device, dtype)
        dim, rate = check_size("GPSBlock", "dim", dim), check_rate("GPSBlock", "dropout", dropout)
        self.mlp_norm = norm_named("GPSBlock", norm, dim, norm_eps, **made)
        self.local, self.attention = (
            Block(mixer, dim, norm=norm, order="post", dropout=rate, norm_eps=norm_eps, **made)
            for mixer in (local, attention)
        )
        self.mlp = MLP(dim, 2 * dim, dropout=rate, **made) if mlp is None else mlp
        self.dropout = nn.Dropout(rate)
        self.dim = dim

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        everywhere: Graph,
        edge: Tensor | None = None,
        edge_weight: Tensor | None = None,
        score_bias: Tensor | Bias | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GPSBlock", others, "score_bias", "edge", "edge_weight")
        # A mixer that takes no edge features, weights or biases is called without them.
        of_edges = without_none(edge=edge, edge_weight=edge_weight)
        both = self.local(x, graph, **of_edges)
        both = both + self.attention(x, everywhere, **without_none(score_bias=score_bias))
        return self.mlp_norm(both + self.dropout(self.mlp(both)))

    def extra_repr(self) -> str:
        return f"{self.dim}"
