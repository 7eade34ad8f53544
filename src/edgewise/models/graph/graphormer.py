"""Graphormer: full attention inside each graph, with biases from paths between its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ShapeError
from edgewise.graphs import Blocks, Complete, EdgeList, Graph
from edgewise.layouts import edges
from edgewise.models.card import Card
from edgewise.models.graph.feature_embedding import NodeEmbedding
from edgewise.nn import (
    MLP,
    Block,
    DegreeEncoding,
    DotAttention,
    GraphFeatures,
    PathBias,
    SpatialBias,
    shortest_path_edges,
    shortest_paths,
)
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import check_edge, check_edges, check_nodes, check_rate, check_size
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "Graphormer", "Structure"]


class Graphormer(Layer):
    r"""A Transformer over each graph and a virtual node, with structure as biases.

    .. math::
        x_i &= W h_i + b + z^{in}_{d(i)} + z^{out}_{d(i)} \quad \text{at first} \\
        s_{ij} &= \frac{q_i \cdot k_j}{\sqrt{D}} + b_{\phi(i, j)}
        + \frac{1}{N} \sum_{n=1}^N e_n \cdot w_n, \qquad
        y_g = \mathrm{head}(\mathrm{norm}(x_{v(g)}))

    Blocks are pre-norm. ``phi`` is the hop distance, with a number of its own for pairs without a
    path and one for pairs of a virtual node ``v(g)``; the sum runs along a shortest path
    (`PathBias`). All layers share these biases. All graphs of a batch are one graph of complete
    blocks, a virtual node behind the nodes of each; nothing is padded.

    Distances and paths are computed once for each graph and stored with it: keep the batches
    of a data set, or call ``model.structure(graph, readout)`` where they are loaded.

    Args:
        in_dim: Features of every node.
        dim: Width.
        out_dim: Numbers predicted for every graph.
        heads: Attention heads.
        layers: Blocks.
        edge_dim: Features of every edge; None for a model without edge features.
        hidden: Hidden features of the MLPs; ``dim`` when left out, as in the paper.
        max_degree: Larger degrees share a vector.
        max_distance: Longer distances share a number.
        max_hops: Edges of a path that count, those next to the target.
        dropout: Share dropped of what nodes start from, and from what attention and MLPs return.
        attention_dropout: Share dropped of the attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating; kinds of nodes as one-hot vectors.
        - readout: ``Blocks([1] * G, sizes)`` over the ``N`` nodes; left out, each leading
          dimension is one graph.
        - edge: ``[E, edge_dim]``, in edge order.
        - result: ``[*batch, G, out_dim]``, or ``[*batch, out_dim]`` without readout.

    Raises:
        ArgumentError: edge features that are missing, or would be ignored; or a setting out of
            range.
        GraphError: the graph is not square.
        ShapeError: features, nodes or readouts that do not fit, or an edge between two graphs.

    Complexity: O(sum of squares of the sizes) attention, and what `shortest_paths` takes once.

    Example:
        >>> model = Graphormer(5, 16, 1, heads=4, layers=2, edge_dim=3)
        >>> bonds = EdgeList([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]], num_nodes=5)
        >>> molecules = Blocks([1, 1], [2, 3])
        >>> model(torch.randn(5, 5), bonds, readout=molecules, edge=torch.randn(6, 3)).shape
        torch.Size([2, 1])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        out_dim: int,
        heads: int,
        layers: int,
        *,
        edge_dim: int | None = None,
        hidden: int | None = None,
        max_degree: int = 63,
        max_distance: int = 38,
        max_hops: int = 5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("Graphormer", device, dtype)
        check_size("Graphormer", "layers", layers, 0)
        self.dim = dim
        self.max_distance = check_size("Graphormer", "max_distance", max_distance)
        self.edge_dim = edge_dim
        self.embedding = NodeEmbedding("Graphormer", in_dim, dim, **made)
        self.degree = DegreeEncoding(max_degree, dim, **made)
        # One distance more, which is that of virtual nodes.
        self.spatial = SpatialBias(heads, max_distance + 1, **made)
        self.path = None if edge_dim is None else PathBias(heads, edge_dim, max_hops, **made)
        self.virtual = nn.Parameter(torch.empty(dim, **made))
        self.dropout = nn.Dropout(check_rate("Graphormer", "dropout", dropout))
        self.blocks = nn.ModuleList(
            Block(
                DotAttention(dim, heads, dropout=attention_dropout, **made),
                dim,
                mlp=MLP(dim, dim if hidden is None else hidden, activation="gelu", **made),
                dropout=dropout,
                **made,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim, **made)
        self.head = nn.Linear(dim, check_size("Graphormer", "out_dim", out_dim), **made)
        self._draw()

    def reset_parameters(self) -> None:
        """Draw all weights anew; the virtual node from N(0, 0.02²)."""
        super().reset_parameters()
        self._draw()

    def _draw(self) -> None:
        nn.init.normal_(self.virtual, std=0.02)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        readout: Graph | None = None,
        edge: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("Graphormer", others, "edge", "readout")
        virtual = self.features(x, graph, readout=readout, edge=edge).u
        assert virtual is not None
        return self.head(virtual if readout is not None else virtual.squeeze(-2))

    def features(
        self,
        x: Tensor,
        graph: Graph,
        *,
        readout: Graph | None = None,
        edge: Tensor | None = None,
    ) -> GraphFeatures:
        """Representations of all nodes, and of the virtual nodes as ``u [*batch, G, dim]``."""
        x = self.embedding(x) + self.degree(graph)
        check_nodes("Graphormer", x, graph)
        check_edge("Graphormer", edge, self.edge_dim)
        structure = self.structure(graph, readout)
        x = torch.cat([x, self.virtual.expand(*x.shape[:-2], len(structure.virtual), -1)], -2)
        x = self.dropout(x.index_select(-2, structure.order.to(x.device)))
        bias = self.spatial(structure.distance.to(x.device))
        if edge is not None and self.path is not None and structure.paths is not None:
            check_edges("Graphormer", edge, x, graph)
            bias = bias + self.path(edge, structure.paths.to(x.device))
        for block in self.blocks:
            x = block(x, structure.pairs, score_bias=bias)
        x = self.norm(x)
        nodes, virtual = (
            x.index_select(-2, i.to(x.device)) for i in (structure.nodes, structure.virtual)
        )
        return GraphFeatures(nodes, None, virtual)

    def structure(self, graph: Graph, readout: Graph | None = None) -> Structure:
        """Compute all that the model needs of a graph: once, and stored with the graph."""
        readout = Complete(1, graph.num_targets) if readout is None else readout
        hops = 0 if self.path is None else self.path.length
        return cached_by_graph(_structure, graph, readout, self.max_distance, hops)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


@dataclass(frozen=True, eq=False)
class Structure:
    """A batch of graphs, each with a virtual node behind its nodes.

    Attributes:
        pairs: The graph of attention: complete blocks.
        order: From nodes, and then virtual nodes, to blocks: ``[N + G]``.
        nodes: Where the nodes are in the blocks: ``[N]``.
        virtual: Where the virtual nodes are: ``[G]``.
        distance: Of every pair: hops, at most the largest distance; one more for pairs of a
            virtual node; -1 for pairs without a path.
        paths: Which edges lie between every pair, as `shortest_path_edges` returns them; None for
            a model without edge features.
    """

    pairs: Graph
    order: Tensor
    nodes: Tensor
    virtual: Tensor
    distance: Tensor
    paths: Tensor | None


def _structure(graph: Graph, readout: Graph, max_distance: int, hops: int) -> Structure:
    sizes = _sizes(graph, readout)
    G, N = len(sizes), graph.num_targets
    pairs = Blocks([size + 1 for size in sizes])
    virtual = torch.tensor(pairs.sizes).cumsum(0) - 1
    is_virtual = torch.zeros(N + G, dtype=torch.bool).index_fill_(0, virtual, True)
    nodes = (~is_virtual).nonzero()[:, 0]
    order = torch.empty(N + G, dtype=torch.int64)
    order[nodes], order[virtual] = torch.arange(N), torch.arange(N, N + G)
    bonds, among_all = edges(graph, "cpu"), edges(pairs, "cpu")
    ends = torch.stack([nodes[bonds.source], nodes[bonds.target]])
    among = EdgeList(ends, num_nodes=N + G)
    if not bool(pairs.contains(ends[1], ends[0]).all()):
        raise ShapeError(
            "Graphormer: an edge leads from one graph of readout to another. Build readout as "
            "Blocks([1] * graphs, sizes), with the nodes of every graph in their order."
        )
    distance = shortest_paths(among, pairs).clamp(max=max_distance)
    distance[is_virtual[among_all.target] | is_virtual[among_all.source]] = max_distance + 1
    return Structure(
        pairs=pairs,
        order=order,
        nodes=nodes,
        virtual=virtual,
        distance=distance,
        paths=shortest_path_edges(among, pairs, hops) if hops else None,
    )


def _sizes(graph: Graph, readout: Graph) -> tuple[int, ...]:
    """How many nodes each graph has."""
    if readout.num_sources != graph.num_targets:
        raise ShapeError(
            f"Graphormer: readout has {readout.num_sources} sources but graph has "
            f"{graph.num_targets} nodes. Build it as Blocks([1] * graphs, sizes), with the nodes "
            f"of every graph."
        )
    if isinstance(readout, Blocks) and set(readout.sizes) <= {1}:
        return tuple(readout.source_sizes)
    if readout == Complete(1, graph.num_targets):
        return (graph.num_targets,)
    raise ShapeError(
        f"Graphormer: readout must have one target for each graph, as Blocks([1] * graphs, sizes), "
        f"got {readout!r}."
    )


_BONDS = "EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)"

CARD = Card(
    "Graphormer",
    "Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,"
    " arXiv:2106.05234, section 3",
    r"s_{ij} = \frac{q_i \cdot k_j}{\sqrt{D}} + b_{\phi(i, j)} + \frac{1}{N} \sum_{n=1}^N x_{e_n}"
    r" \cdot w_n, \quad x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x), s), \quad"
    r" x \leftarrow x + W_2 \, \mathrm{gelu}(W_1 \mathrm{norm}(x))",
    "Graphormer(5, 16, 1, heads=4, layers=2, edge_dim=3)",
    "Edge features are used as they are, where the authors embed them first. Among several shortest"
    " paths the first in edge order is taken; they take the one their search finds. Numbers for"
    " large degrees and distances are shared from a limit on.",
    f"model(torch.randn(3, 5), {_BONDS}, edge=torch.randn(4, 3), readout=Blocks([1], [3]))",
)
