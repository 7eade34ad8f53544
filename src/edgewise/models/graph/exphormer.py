"""Exphormer: attention over an expander, some hubs and the edges of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import (
    Blocks,
    Complete,
    EdgeList,
    Graph,
    RandomRegular,
    SelfLoops,
    disjoint_union,
)
from edgewise.layouts import edges
from edgewise.models.card import Card
from edgewise.models.graph.gps import GPS
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import check_nodes, check_size
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import factory

__all__ = ["CARD", "Exphormer", "exphormer_graph"]


def exphormer_graph(
    graph: Graph,
    *,
    degree: int = 4,
    hubs: int = 1,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Graph:
    r"""The attention graph of an Exphormer: ``expander | hubs | local``, over nodes and hubs.

    .. math::
        E = \{j \to i : i, j \text{ in a random regular graph}\} \;\cup\;
        \{v \to i, \; i \to v : v \text{ a hub}\} \;\cup\; E_G

    The expander joins every node with ``degree`` random ones of its graph, so that few layers
    carry a message from any node to any other; a graph with no more than ``degree`` nodes is
    joined completely. Hubs are new nodes behind all others: ``hubs`` for each graph, number ``v``
    of graph ``g`` at ``N + g * hubs + v``. A hub reads and is read by every node of its graph, but
    not by itself or by other hubs. Each edge is there once.

    With the same seed, graphs of one size have the same expander, alone and in any batch.

    Args:
        graph: The data's edges, over ``N`` nodes.
        degree: Neighbors in the expander; even, so that there is one of any size; 0 for none.
        hubs: Hubs of every graph; 0 for none.
        sizes: Nodes of each graph of a batch, one after the other; one graph when left out.
        seed: Of the expanders.

    Returns:
        The union, a graph of ``N + G * hubs`` nodes.

    Raises:
        ArgumentError: an odd degree, a size out of range, or sizes that do not add up.
        GraphError: the graph is not square.

    Complexity: O(N * degree) to draw, each size once; O(N * (degree + hubs) + E) edges.

    Example:
        >>> ring = EdgeList([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]], num_nodes=6)
        >>> from edgewise import draw
        >>> print(draw(exphormer_graph(ring, degree=2)))
        ..##.##
        #..##.#
        ##...##
        ###...#
        .#.#.##
        ..#.#.#
        ######.

    References:
        Shirzad et al. Exphormer: Sparse Transformers for Graphs. 2023, arXiv:2303.06147,
        section 3.
    """
    N = graph.num_targets
    if graph.num_sources != N:
        raise GraphError(
            f"exphormer_graph: the graph must be square, got {N} targets and {graph.num_sources} "
            f"sources. Give both sides one numbering in an EdgeList."
        )
    sizes = (N,) if sizes is None else tuple(sizes)
    if sum(sizes) != N:
        raise ArgumentError(
            f"exphormer_graph: sizes must add up to the {N} nodes of graph, got {sum(sizes)}. "
            f"Pass the nodes of every graph of the batch."
        )
    if check_size("exphormer_graph", "degree", degree, 0) % 2:
        raise ArgumentError(
            f"exphormer_graph: degree must be even, got {degree}: a regular graph of odd degree "
            f"needs an even number of nodes. Use {degree + 1}."
        )
    check_size("exphormer_graph", "hubs", hubs, 0)
    drawn = {
        size: RandomRegular(size, degree=degree, seed=seed)
        if degree < size
        else Complete(size) - SelfLoops(size)
        for size in set(sizes)
    }
    added = len(sizes) * hubs
    expander = _with_alone(disjoint_union([drawn[size] for size in sizes]), added)
    return expander | _stars(sizes, hubs) | _with_alone(graph, added)


def _stars(sizes: Sequence[int], hubs: int) -> EdgeList:
    """Every hub reads the nodes of its graph, and is read by them."""
    N = sum(sizes)
    members = edges(Blocks([hubs] * len(sizes), sizes))
    ends = torch.stack([members.source, N + members.target])
    return EdgeList(torch.cat([ends, ends.flip(0)], 1), num_nodes=N + len(sizes) * hubs)


def _with_alone(graph: Graph, added: int) -> Graph:
    """The same edges, and so many nodes more that have none."""
    alone = EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=added)
    return disjoint_union([graph, alone]) if added else graph


class Exphormer(GPS):
    r"""`GPS` over nodes and hubs, whose attention runs on an `exphormer_graph`.

    .. math::
        x = [W h + b + U p; \; c_1, \dots, c_V], \qquad
        s_{ij} = \frac{q_i \cdot k_j}{\sqrt{D}} + b_{\tau(ij)}

    Hubs start from learned vectors ``c`` and leave at the end. An edge is of the kind ``tau``:
    local, expander, into hub 1 to ``V``, or out of one; each kind has a number for every head of
    every layer. An edge of the data that the expander has too counts as local.

    Args:
        in_dim: Features of every node.
        dim: Width.
        heads: Attention heads.
        layers: Blocks.
        hubs: Hubs of every graph.
        edge_dim: Features of every edge of the data, for the local mixer; None for none.
        encoding_dim: Numbers in each node's encoding.
        local: Builds the mixer over the data's edges, as in `GPS`.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        dropout: Share dropped from what mixers and MLPs return.
        attention_dropout: Share dropped of the attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating; kinds of nodes as one-hot vectors.
        - graph: The data's edges, over ``N`` nodes.
        - everywhere: What `exphormer_graph` makes of it with as many hubs; or any graph whose
            hubs stand behind the nodes, graph after graph.
        - edge: ``[*batch | 1, E, edge_dim]``, in the edge order of ``graph``.
        - encoding: ``[*batch | none, N, encoding_dim]``.
        - result: ``[*batch, N, dim]``; `GraphModel` and `NodeModel` predict from it.

    Raises:
        ArgumentError: edge features or encodings that are missing, or would be ignored; or a
            setting out of range.
        ShapeError: features or graphs that do not fit.

    Complexity: O(N (degree + hubs) dim + E dim) for a block, and its projections: linear in the
        nodes.

    Example:
        >>> from edgewise.models import NodeModel
        >>> ring = EdgeList([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]], num_nodes=6)
        >>> model = NodeModel(Exphormer(5, 16, heads=4, layers=2, hubs=1), 16, 3)
        >>> model(torch.randn(6, 5), ring, everywhere=exphormer_graph(ring, hubs=1)).shape
        torch.Size([6, 3])

    References:
        Shirzad et al. Exphormer: Sparse Transformers for Graphs. 2023, arXiv:2303.06147,
        section 3.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        heads: int,
        layers: int,
        *,
        hubs: int = 1,
        edge_dim: int | None = None,
        encoding_dim: int = 0,
        local: Callable[[], nn.Module] | None = None,
        norm: str | None = "batch",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_size("Exphormer", "hubs", hubs, 0)
        made = factory("Exphormer", device, dtype)
        super().__init__(
            in_dim,
            dim,
            heads,
            layers,
            edge_dim=edge_dim,
            encoding_dim=encoding_dim,
            local=local,
            norm=norm,
            dropout=dropout,
            attention_dropout=attention_dropout,
            **made,
        )
        self.hubs = hubs
        self.hub = nn.Parameter(torch.empty(hubs, dim, **made))
        self.kind_bias = nn.Parameter(torch.empty(layers, heads, 2 + 2 * hubs, **made))
        self._draw()

    def reset_parameters(self) -> None:
        """Draw all weights anew; hubs from N(0, 1), as embeddings, and kinds from N(0, 0.02²)."""
        super().reset_parameters()
        self._draw()

    def _draw(self) -> None:
        nn.init.normal_(self.hub)
        nn.init.normal_(self.kind_bias, std=0.02)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # kinds are the only bias
        self,
        x: Tensor,
        graph: Graph,
        *,
        everywhere: Graph,
        edge: Tensor | None = None,
        encoding: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("Exphormer", others, "edge", "encoding")
        x = self.embedding(x, encoding)
        e = self.edge_embedding(edge)
        check_nodes("Exphormer", x, graph)
        N, added = x.shape[-2], everywhere.num_targets - x.shape[-2]
        if added < 0 or (added % self.hubs if self.hubs else added):
            raise ShapeError(
                f"Exphormer: everywhere must have the {N} nodes of graph and {self.hubs} hubs for "
                f"every graph behind them, got {everywhere.num_targets} nodes. Build it with "
                f"exphormer_graph(graph, hubs={self.hubs})."
            )
        if added:
            hub = self.hub.repeat(added // self.hubs, 1)
            x = torch.cat([x, hub.expand(*x.shape[:-2], -1, -1)], -2)
        among = cached_by_graph(_among, graph, added)
        kinds = cached_by_graph(_kinds, everywhere, graph, self.hubs, str(x.device), x.dtype)
        for block, bias in zip(self.blocks, self.kind_bias, strict=True):
            x = block(x, among, everywhere=everywhere, edge=e, score_bias=bias @ kinds)
        return x[..., :N, :]

    def extra_repr(self) -> str:
        return f"dim={self.dim}, hubs={self.hubs}"


def _among(graph: Graph, added: int) -> Graph:
    """The data's edges among nodes and hubs, in their order."""
    return EdgeList(edges(graph).edge_index, num_nodes=graph.num_targets + added)


def _kinds(everywhere: Graph, graph: Graph, hubs: int, device: str, dtype: torch.dtype) -> Tensor:
    """Of which kind every edge is, as one-hot columns: ``[2 + 2 * hubs, E]``."""
    N, pairs, each = graph.num_targets, edges(everywhere, "cpu"), max(hubs, 1)
    target, source = pairs.target, pairs.source
    into, out_of = 2 + (target - N) % each, 2 + hubs + (source - N) % each
    kind = torch.where(target < N, out_of, into)
    inside = (target < N) & (source < N)
    kind[inside] = (~graph.contains(target[inside], source[inside])).long()
    return F.one_hot(kind, 2 + 2 * hubs).T.to(device, dtype).contiguous()


_RING = "EdgeList([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]], num_nodes=6)"

CARD = Card(
    "Exphormer",
    "Shirzad et al. Exphormer: Sparse Transformers for Graphs. 2023, arXiv:2303.06147, section 3",
    r"A = \mathrm{expander} \cup \mathrm{hubs} \cup G, \quad"
    r" x_L = \mathrm{norm}(x + \mathrm{local}(x, e, G)), \quad"
    r" x_A = \mathrm{norm}(x + \mathrm{attention}(x, A)), \quad y = x_L + x_A, \quad"
    r" x \leftarrow \mathrm{norm}(y + W_2 \, \mathrm{relu}(W_1 y))",
    "NodeModel(Exphormer(5, 16, heads=4, layers=2, hubs=1), 16, 3)",
    "An edge's kind is added to its scores, where the authors' embeddings of edges, bond types"
    " among them, scale products channel by channel; scores are not cut off at -5 and 5. Hubs pass"
    " through the whole block, norms and MLP included, where theirs have attention alone. An edge"
    " of two kinds is there once. The expander is one random regular graph, where theirs is made"
    " of permutations, which may repeat edges and which they follow both ways (so their degree"
    " counts half).",
    f"model(torch.randn(6, 5), {_RING}, everywhere=exphormer_graph({_RING}, hubs=1))",
)
