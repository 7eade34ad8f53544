"""Multi-head dot-product attention over any graph."""

from __future__ import annotations

from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import attention
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.attention.heads import edge_heads, merge_heads, reset_linear, split_heads
from edgewise.nn.attention.kv_cache import KVCache
from edgewise.nn.checks import check_features, check_rate, check_size
from edgewise.nn.layer import Layer, factory
from edgewise.nn.positions.rotary import Rotary
from edgewise.ops.bias import Bias
from edgewise.ops.scores import Dot

__all__ = ["DotAttention"]


class DotAttention(Layer):
    r"""Multi-head dot-product attention over any graph.

    .. math::
        h_i' = W_O \, \big\Vert_h \sum_{j \in N(i)} w_{ij} (W_V h_j + W_E e_{ij}), \qquad
        w_{ij} = \mathrm{softmax}_j \, \frac{(W_Q h_i) \cdot (W_K h_j + W_E e_{ij})}{\sqrt{D}}

    Over `Complete` it is the attention of a Transformer, over `Causal` that of a language model,
    over an `EdgeList` that of a graph Transformer (TransformerConv with one projection more).
    Self-loops are edges of the graph: ``graph | SelfLoops(n)``. A target without sources gets
    the bias of ``out_proj``.

    Args:
        dim: Features of every node, before and after.
        heads: Query heads ``H``.
        head_dim: Features of each head ``D``; ``dim / heads`` when left out.
        kv_heads: Key and value heads ``G``, a divisor of ``heads`` (grouped-query attention); as
            many as ``heads`` when left out.
        edge_dim: Features of every edge; None for a layer without edge features. They are added
            to the key and to the value, through one projection without bias.
        bias: Whether the four node projections have a bias.
        dropout: Share of attention weights dropped in training.
        scale: Factor of the dot products; ``1 / sqrt(head_dim)`` when left out, 1 for T5.
        source_dim: Features of ``source``; ``dim`` when left out.
        rotary: Turns queries and keys by their position (`Rotary`); None for no positions. With
            ``edge_dim`` scores depend on positions themselves, as edge features are not turned.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating.
        - source: ``[*batch, S, source_dim]``; the nodes of ``x`` when left out.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - score_bias: added to the scores, as ``bias`` of `edgewise.attention`.
        - positions: ``[*batch, T]``, of the nodes of ``x``, for ``rotary``; counted on from the
            cache when left out.
        - cache: a `KVCache` with the sources of earlier calls, which this one adds its own to:
            then ``S`` counts them all, and ``Causal(T, S)`` is the graph of a language model. A
            ``source`` without nodes adds none, so a memory is projected once and then read again.
        - result: ``[*batch, T, dim]``.

    Raises:
        ArgumentError: heads that do not divide, ``edge`` where the layer has no ``edge_dim``
            (and the other way round), ``positions`` without ``rotary``, or ``source`` together
            with ``rotary``.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, never to the graph.

    Complexity: O(N dim H D) for the projections and O(E H D) for the edges; the backend that the
        planner chooses may do better.

    Initialization: Glorot uniform for each projection, biases zero. `torch.nn.MultiheadAttention`
        draws queries, keys and values as one matrix, and what comes out as `torch.nn.Linear`
        does: where all widths are the same, its bounds are smaller by ``sqrt(2)`` and ``sqrt(3)``.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Window
        >>> layer = DotAttention(32, heads=4)
        >>> layer(torch.randn(2, 10, 32), Window(10, left=2, right=0)).shape
        torch.Size([2, 10, 32])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.2.
        Shi et al. Masked Label Prediction. 2020, arXiv:2009.03509, section 3.1 (edge features).
        Ainslie et al. GQA. 2023, arXiv:2305.13245, section 2.2.
        Su et al. RoFormer. 2021, arXiv:2104.09864, section 3.2 (rotary).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        kv_heads: int | None = None,
        edge_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        scale: float | None = None,
        source_dim: int | None = None,
        rotary: Rotary | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("DotAttention", device, dtype)
        self.dim = check_size("DotAttention", "dim", dim)
        self.heads = check_size("DotAttention", "heads", heads)
        self.kv_heads = check_size(
            "DotAttention", "kv_heads", heads if kv_heads is None else kv_heads
        )
        if head_dim is None and dim % heads:
            raise ArgumentError(
                f"DotAttention: dim={dim} cannot be divided among heads={heads}. Choose a "
                f"multiple of heads, or pass head_dim."
            )
        if heads % self.kv_heads:
            raise ArgumentError(
                f"DotAttention: heads must be a multiple of kv_heads, got heads={heads} and "
                f"kv_heads={kv_heads}."
            )
        self.head_dim = check_size(
            "DotAttention", "head_dim", dim // heads if head_dim is None else head_dim
        )
        self.edge_dim = edge_dim
        self.dropout = check_rate("DotAttention", "dropout", dropout)
        self.source_dim = check_size(
            "DotAttention", "source_dim", dim if source_dim is None else source_dim
        )
        self.score = Dot(scale)
        self.rotary = rotary
        if rotary is not None and rotary.dim > self.head_dim:
            raise ArgumentError(
                f"DotAttention: rotary turns {rotary.dim} features but a head has "
                f"{self.head_dim}. Use Rotary({self.head_dim})."
            )
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(dim, queries, bias=bias, **made)
        self.k_proj = nn.Linear(self.source_dim, keys, bias=bias, **made)
        self.v_proj = nn.Linear(self.source_dim, keys, bias=bias, **made)
        self.out_proj = nn.Linear(queries, dim, bias=bias, **made)
        self.edge_proj = (
            None if edge_dim is None else nn.Linear(edge_dim, queries, bias=False, **made)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Xavier uniform) and set the biases to zero."""
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj, self.edge_proj):
            if projection is not None:
                reset_linear(projection)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge: Tensor | None = None,
        score_bias: Tensor | Bias | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("DotAttention", others, "score_bias", "edge", "source", "positions", "cache")
        self._check_together(source, positions)
        source = x if source is None else source
        check_features("DotAttention", "x", x, self.dim, "dim")
        check_features("DotAttention", "source", source, self.source_dim, "source_dim")
        query = split_heads(self.q_proj(x), self.heads)
        key = split_heads(self.k_proj(source), self.kv_heads)
        value = split_heads(self.v_proj(source), self.kv_heads)
        if self.rotary is not None:
            if positions is None:
                first = 0 if cache is None else cache.length
                positions = torch.arange(first, first + x.shape[-2], device=x.device)
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        if cache is not None:
            key, value = cache.extend(key, value)
        per_edge = edge_heads("DotAttention", self.edge_proj, edge, self.heads, query.ndim)
        out = attention(
            query,
            key,
            value,
            graph,
            score=self.score,
            bias=score_bias,
            edge_key=per_edge,
            edge_value=per_edge,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(merge_heads(out))

    def _check_together(self, source: Tensor | None, positions: Tensor | None) -> None:
        if positions is not None and self.rotary is None:
            raise ArgumentError(
                "DotAttention: positions were given, but the layer was built without rotary and "
                "would ignore them. Build it with rotary=Rotary(head_dim)."
            )
        if source is not None and self.rotary is not None:
            raise ArgumentError(
                "DotAttention: source was given together with rotary, which is for nodes that "
                "read one another. Leave out one of them."
            )

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, heads={self.heads}, head_dim={self.head_dim}, "
            f"kv_heads={self.kv_heads}, edge_dim={self.edge_dim}, dropout={self.dropout}, "
            f"scale={self.score.scale}"
        )
