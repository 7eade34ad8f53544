"""Families of layers that keep the number of features: what the laws are tried on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.graphs import Blocks, DisjointUnion, Graph
from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GINEConvolution,
    GPSBlock,
    GraphConvolution,
    GraphNetwork,
    MoNetConvolution,
    TransformerConvolution,
)
from edgewise.testing.claims.claim import Weights
from edgewise.testing.claims.twins import scattered

__all__ = ["ALL", "DIM", "LOCAL", "POOLING", "called", "inputs_of", "layer_of"]

DIM, EDGE = 6, 2  # features of a node and of an edge

Family = tuple[Callable[[], nn.Module], bool]


class _Nodes(nn.Module):
    """A graph network seen as a mixer: what it says about nodes, on top of what they were."""

    def __init__(self) -> None:
        super().__init__()
        edge_mlp = MLP(EDGE + 2 * DIM, 8, out_dim=4, activation="gelu")
        self.network = GraphNetwork(edge_mlp, MLP(4 + DIM, 8, out_dim=DIM, activation="gelu"))

    def forward(self, x: Tensor, graph: Graph, *, edge: Tensor) -> Tensor:
        return x + self.network(x, graph, edge=edge).x


class _GPS(nn.Module):
    """GPS with attention to all nodes of a graph, or of each graph of a batch."""

    def __init__(self) -> None:
        super().__init__()
        local = GATv2Attention(DIM, DIM, 1, edge_dim=EDGE)
        self.block = GPSBlock(local, DotAttention(DIM, heads=2), DIM, norm="layer")

    def forward(self, x: Tensor, graph: Graph, *, edge: Tensor) -> Tensor:
        parts = graph.parts if isinstance(graph, DisjointUnion) else (graph,)
        everywhere = Blocks([part.num_targets for part in parts])
        return self.block(x, graph, everywhere=everywhere, edge=edge)


def _mlp() -> MLP:
    return MLP(DIM, 8, activation="gelu")


# Layers from features to as many features, with edge features (True) or without.
LOCAL: dict[str, Family] = {
    "message passing": (lambda: GraphConvolution(DIM, DIM, activation="elu"), False),
    "GraphSAGE": (lambda: GraphConvolution(DIM, DIM, reduce="mean", activation="elu"), False),
    "GCN": (lambda: GCNConvolution(DIM, DIM), False),
    "GIN": (lambda: GINConvolution(_mlp(), train_eps=True), False),
    "GIN with edge features": (lambda: GINEConvolution(_mlp(), DIM, EDGE), True),
    "MoNet": (lambda: MoNetConvolution(DIM, DIM, kernels=3, coordinates=EDGE), True),
    "graph network": (_Nodes, True),
    "GAT": (lambda: GATAttention(DIM, 3, 2, edge_dim=EDGE), True),
    "GATv2": (lambda: GATv2Attention(DIM, 3, 2, edge_dim=EDGE), True),
    "TransformerConvolution": (
        lambda: TransformerConvolution(DIM, 3, 2, edge_dim=EDGE, beta=True),
        True,
    ),
    "graph Transformer": (
        lambda: Block(DotAttention(DIM, heads=2, edge_dim=EDGE), DIM, mlp=_mlp()),
        True,
    ),
}
POOLING: dict[str, Family] = {
    "GraphSAGE with pooling": (
        lambda: GraphConvolution(DIM, DIM, reduce="max", message="pool", normalize=True),
        False,
    )
}
GLOBAL: dict[str, Family] = {"GPS": (_GPS, True)}
ALL = LOCAL | POOLING | GLOBAL


def layer_of(name: str, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor], bool]:
    """A layer of this family, and its parameters."""
    build, has_edges = ALL[name]
    layer = build().to(dtype)
    parameters = scattered(layer)
    if "sigma" in parameters:  # kernels of a width that sees every edge
        parameters["sigma"] = torch.ones_like(parameters["sigma"])
    return layer, parameters, has_edges


def inputs_of(
    graph: Graph, num_edges: int, has_edges: bool, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Random features of the nodes, and of the edges where the layer has any."""
    x = {"x": torch.randn(graph.num_targets, DIM, dtype=dtype)}
    return x | ({"edge": torch.rand(num_edges, EDGE, dtype=dtype)} if has_edges else {})


def called(
    layer: nn.Module, given: Weights, x: Tensor, graph: Graph, edge: Tensor | None = None
) -> Tensor:
    """The layer with these parameters; edge features are those given, unless there are others."""
    own = {name: given[name] for name, _ in layer.named_parameters()}
    edge = given.get("edge") if edge is None else edge
    return functional_call(layer, own, (x, graph), {} if edge is None else {"edge": edge})
