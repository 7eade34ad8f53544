"""One small layer of every kind, with inputs: what the tests and claims about layers run on.

`MESSAGE_LAYERS` holds the layers that are called with nodes and any graph, in sizes of choice;
`LAYERS` holds every layer of `edgewise.nn`, with fixed inputs. A new layer is one line in one of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

import edgewise.nn as layers
from edgewise.graphs import Blocks, Causal, DisjointUnion, EdgeList, Graph, Window

__all__ = [
    "EDGES",
    "LAYERS",
    "MESSAGE_LAYERS",
    "NUM_NODES",
    "TREE",
    "WINDOW",
    "Called",
    "LayerCase",
    "LayerSizes",
    "MessageLayer",
]

NUM_NODES = 7
EDGES = EdgeList([[0, 1, 6, 3], [1, 2, 5, 3]], num_nodes=NUM_NODES)
WINDOW = Window(NUM_NODES, left=1, right=1)
TREE = EdgeList([[1, 2, 3, 5], [0, 0, 1, 4]], num_nodes=NUM_NODES)  # from child to parent


class Build(Protocol):
    """A function that makes a layer; ``device`` and ``dtype`` are its keywords."""

    def __call__(self, **made: Any) -> nn.Module: ...


class BuildOfSizes(Protocol):
    """A function that makes a layer of given sizes; ``device`` and ``dtype`` are its keywords."""

    def __call__(self, sizes: LayerSizes, /, **made: Any) -> nn.Module: ...


class CallOnGraph(Protocol):
    """A function that calls a layer on the nodes of a graph and returns nodes."""

    def __call__(self, layer: Any, x: Tensor, graph: Graph, /, **edges: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LayerSizes:
    """Sizes that a `MessageLayer` is built with.

    Attributes:
        in_dim: Features of every node before.
        out_dim: Features of every node after, a multiple of ``heads``.
        edge_dim: Features of every edge; None for a layer that is called without any.
        heads: Attention heads, or Gaussian kernels.
        activation: Of MLPs.
    """

    in_dim: int = 6
    out_dim: int = 6
    edge_dim: int | None = 2
    heads: int = 2
    activation: str = "gelu"


@dataclass(frozen=True)
class MessageLayer:
    """A kind of layer that is called with nodes and any graph.

    Attributes:
        build: Makes the layer of `LayerSizes`, with ``device`` and ``dtype`` as keywords.
        edges: The argument that edges come in: ``"edge"`` for features, ``"edge_weight"`` for one
            number each.
        needs_edges: Whether the layer cannot be called without them.
        keeps_dim: Whether ``out_dim`` has to be ``in_dim``.
        call: Calls the layer as ``call(layer, x, graph, **edges)`` and returns the nodes.
    """

    build: BuildOfSizes
    edges: Literal["edge", "edge_weight"] = "edge"
    needs_edges: bool = False
    keeps_dim: bool = False
    call: CallOnGraph = lambda layer, x, graph, **edges: layer(x, graph, **edges)

    def edge_shape(self, sizes: LayerSizes) -> tuple[int, ...]:
        """What follows the axis of edges in the edge tensor: nothing for weights."""
        if self.edges == "edge_weight":
            return ()
        assert sizes.edge_dim is not None
        return (sizes.edge_dim,)


class Called(nn.Module):
    """A layer that is called by a function: ``Called(layer, call)(x) = call(layer, x)``."""

    def __init__(self, layer: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, *args: Any, **given: Any) -> Any:
        return self.call(self.layer, *args, **given)


def _mlp(sizes: LayerSizes, in_dim: int, out_dim: int, **made: Any) -> layers.MLP:
    return layers.MLP(in_dim, 8, out_dim=out_dim, activation=sizes.activation, **made)


def _attention(kind: Callable[..., nn.Module], **settings: Any) -> BuildOfSizes:
    """Layers whose ``out_dim`` counts the features of one head."""

    def build(sizes: LayerSizes, **made: Any) -> nn.Module:
        size, rest = divmod(sizes.out_dim, sizes.heads)
        assert not rest
        given = {**settings, "edge_dim": sizes.edge_dim}
        return kind(sizes.in_dim, size, sizes.heads, **given, **made)

    return build


def _network(sizes: LayerSizes, **made: Any) -> nn.Module:
    assert sizes.edge_dim is not None
    edge_mlp = _mlp(sizes, sizes.edge_dim + 2 * sizes.in_dim, 4, **made)
    return layers.GraphNetwork(edge_mlp, _mlp(sizes, 4 + sizes.in_dim, sizes.out_dim, **made))


def _gps(sizes: LayerSizes, **made: Any) -> nn.Module:
    local = _attention(layers.GATv2Attention)(sizes, **made)
    attention = layers.DotAttention(sizes.in_dim, sizes.heads, **made)
    return layers.GPSBlock(local, attention, sizes.in_dim, norm="layer", **made)


def _within_parts(layer: nn.Module, x: Tensor, graph: Graph, **edges: Tensor) -> Tensor:
    """Attention of GPS to all nodes of a graph, or of each graph of a batch."""
    parts = graph.parts if isinstance(graph, DisjointUnion) else (graph,)
    return layer(x, graph, everywhere=Blocks([part.num_targets for part in parts]), **edges)


def _block(sizes: LayerSizes, **made: Any) -> nn.Module:
    dim = sizes.in_dim
    attention = layers.DotAttention(dim, sizes.heads, edge_dim=sizes.edge_dim, **made)
    return layers.Block(attention, dim, mlp=_mlp(sizes, dim, dim, **made), **made)


def _convolution(**settings: Any) -> BuildOfSizes:
    return lambda s, **made: layers.GraphConvolution(s.in_dim, s.out_dim, **settings, **made)


def _monet(**settings: Any) -> BuildOfSizes:
    def build(sizes: LayerSizes, **made: Any) -> nn.Module:
        assert sizes.edge_dim is not None
        given = {"kernels": sizes.heads, "coordinates": sizes.edge_dim, **settings}
        return layers.MoNetConvolution(sizes.in_dim, sizes.out_dim, **given, **made)

    return build


# Layers that take any graph and return as many features a node, by name.
MESSAGE_LAYERS: dict[str, MessageLayer] = {
    "message passing": MessageLayer(_convolution(activation="elu"), "edge_weight"),
    "GraphSAGE": MessageLayer(_convolution(reduce="mean", activation="elu"), "edge_weight"),
    "GraphSAGE with pooling": MessageLayer(
        _convolution(reduce="max", message="pool", normalize=True), "edge_weight"
    ),
    "GCN": MessageLayer(
        lambda s, **made: layers.GCNConvolution(s.in_dim, s.out_dim, **made), "edge_weight"
    ),
    "GIN": MessageLayer(
        lambda s, **made: layers.GINConvolution(
            _mlp(s, s.in_dim, s.out_dim, **made), train_eps=True, **made
        ),
        "edge_weight",
    ),
    "GIN with edge features": MessageLayer(
        lambda s, **made: layers.GINEConvolution(
            _mlp(s, s.in_dim, s.out_dim, **made), s.in_dim, edge_dim=s.edge_dim, **made
        ),
        needs_edges=True,
    ),
    "MoNet": MessageLayer(_monet(), needs_edges=True),
    "graph network": MessageLayer(
        _network,
        needs_edges=True,
        call=lambda layer, x, graph, **edges: layer(x, graph, **edges).x,
    ),
    "MoNet, separate": MessageLayer(_monet(separate=True), needs_edges=True),
    "GAT": MessageLayer(_attention(layers.GATAttention)),
    "GATv2": MessageLayer(_attention(layers.GATv2Attention)),
    "TransformerConvolution": MessageLayer(_attention(layers.TransformerConvolution, beta=True)),
    "graph Transformer": MessageLayer(_block, keeps_dim=True),
    "GPS": MessageLayer(_gps, keeps_dim=True, call=_within_parts),
}


@dataclass(frozen=True)
class LayerCase:
    """A small layer or model and what it is called with.

    Attributes:
        build: Makes the module, whose weights follow torch's seed; ``device`` and ``dtype`` are
            keywords.
        inputs: Makes the tensors of a call.
        call: Calls the module with them.
    """

    build: Build
    inputs: Callable[[], tuple[Tensor, ...]]
    call: Callable[..., Any]


def _nodes() -> tuple[Tensor, ...]:
    return (torch.randn(2, NUM_NODES, 6),)


def _calls(build: Build, call: Callable[[Any, Tensor], Any]) -> LayerCase:
    """A layer that is called with nodes and something else that is no tensor of the call."""
    return LayerCase(build, _nodes, call)


def _of_nodes(build: Build, graph: Graph = EDGES) -> LayerCase:
    return _calls(build, lambda layer, x: layer(x, graph))


def _of_edges(build: Build, word: str = "edge", **given: Any) -> LayerCase:
    shape = (EDGES.num_edges, 2) if word == "edge" else (EDGES.num_edges,)

    def call(layer: Any, x: Tensor, edges: Tensor) -> Any:
        return layer(x, EDGES, **{word: edges}, **given)

    return LayerCase(build, lambda: (torch.randn(2, NUM_NODES, 6), torch.rand(*shape)), call)


def _edge_block(layer: Any, x: Tensor, edge: Tensor) -> Any:
    return layer(x, EDGES, edge=edge)


def _path_bias(layer: Any, edge: Tensor) -> Any:
    return layer(edge, torch.tensor([[0, 3], [1, -1], [2, 2]], device=edge.device))


def _dot(graph: Graph = EDGES, **settings: Any) -> LayerCase:
    return _of_nodes(lambda **made: layers.DotAttention(6, heads=2, **settings, **made), graph)


def _gine(**made: Any) -> layers.GINEConvolution:
    return layers.GINEConvolution(layers.MLP(6, 8, **made), 6, edge_dim=2, eps=0.5, **made)


def _lightweight(kind: Callable[..., nn.Module], **made: Any) -> nn.Module:
    return kind(6, heads=2, kernel=3, left=1, **made)


# Every layer of `edgewise.nn`, small, with its inputs and its call, by name.
LAYERS: dict[str, LayerCase] = {
    "dot": _dot(kv_heads=1),
    "dot, window": _dot(WINDOW),
    "dot, causal": _dot(Causal(NUM_NODES)),
    "dot, rotary": _of_nodes(
        lambda **made: layers.DotAttention(6, heads=1, rotary=layers.Rotary(4), **made), WINDOW
    ),
    "dot, edges": _of_edges(lambda **made: layers.DotAttention(6, heads=2, edge_dim=2, **made)),
    "gat": _of_nodes(lambda **made: layers.GATAttention(6, 3, heads=2, **made)),
    "gat, edges": _of_edges(lambda **made: layers.GATAttention(6, 3, heads=2, edge_dim=2, **made)),
    "gatv2": _of_nodes(lambda **made: layers.GATv2Attention(6, 3, heads=2, **made)),
    "gatv2, edges": _of_edges(
        lambda **made: layers.GATv2Attention(6, 3, heads=2, edge_dim=2, **made)
    ),
    "transformer": _of_edges(
        lambda **made: layers.TransformerConvolution(6, 3, 2, edge_dim=2, beta=True, **made)
    ),
    "edge attention": _of_edges(lambda **made: layers.EdgeAttention(6, 2, edge_dim=2, **made)),
    "edge block": LayerCase(
        lambda **made: layers.EdgeBlock(
            layers.EdgeAttention(6, 2, edge_dim=2, **made), 6, edge_dim=2, norm="layer", **made
        ),
        lambda: (torch.randn(2, NUM_NODES, 6), torch.rand(2, 4, 2)),
        _edge_block,
    ),
    "spatial bias": _calls(
        lambda **made: layers.SpatialBias(2, 3, **made),
        lambda layer, x: x.sum() + layer(torch.arange(-1, 6)),
    ),
    "path bias": LayerCase(
        lambda **made: layers.PathBias(2, 3, 2, **made),
        lambda: (torch.randn(4, 3),),
        _path_bias,
    ),
    "convolution": _of_nodes(
        lambda **made: layers.GraphConvolution(6, 6, activation="gelu", **made)
    ),
    "convolution, weights": _of_edges(
        lambda **made: layers.GraphConvolution(6, 6, reduce="mean", **made), "edge_weight"
    ),
    "pooling": _of_nodes(
        lambda **made: layers.GraphConvolution(
            6, 6, reduce="max", message="pool", normalize=True, **made
        )
    ),
    "gcn": _of_nodes(lambda **made: layers.GCNConvolution(6, 6, **made)),
    "gin": _of_nodes(
        lambda **made: layers.GINConvolution(layers.MLP(6, 8, **made), train_eps=True, **made)
    ),
    "gine": _of_edges(_gine),
    "monet": _of_edges(
        lambda **made: layers.MoNetConvolution(6, 6, kernels=3, coordinates=2, **made)
    ),
    "lightweight": _of_nodes(
        lambda **made: _lightweight(layers.LightweightConvolution, **made), WINDOW
    ),
    "dynamic, gated": _of_nodes(
        lambda **made: layers.GatedConvolution(
            _lightweight(layers.DynamicConvolution, **made), 6, **made
        ),
        WINDOW,
    ),
    "block": _of_nodes(
        lambda **made: layers.Block(
            layers.DotAttention(6, heads=2, **made),
            6,
            norm="batch",
            mlp=layers.MLP(6, 9, **made),
            **made,
        )
    ),
    "rezero block": _of_nodes(
        lambda **made: layers.Block(
            layers.DotAttention(6, heads=2, **made),
            6,
            norm=None,
            order="rezero",
            mlp=layers.MLP(6, 9, activation="swiglu", **made),
            **made,
        )
    ),
    "gps": _of_edges(
        lambda **made: layers.GPSBlock(
            _gine(**made), layers.DotAttention(6, heads=2, **made), 6, **made
        ),
        everywhere=Blocks([3, 4]),
    ),
    "network": _of_edges(
        lambda **made: layers.GraphNetwork(
            layers.MLP(14, 8, out_dim=4, **made),
            layers.MLP(10, 8, out_dim=5, **made),
            layers.MLP(9, 8, out_dim=6, **made),
        ),
        readout=Blocks([1, 1], [3, 4]),
    ),
    "child-sum tree": _of_nodes(lambda **made: layers.ChildSumTreeLSTM(6, 5, **made), TREE),
    "n-ary tree": _of_nodes(lambda **made: layers.NaryTreeLSTM(6, 5, arity=2, **made), TREE),
    "mlp": _calls(lambda **made: layers.MLP(6, 9, **made), lambda layer, x: layer(x)),
    "batch norm": _calls(lambda **made: layers.BatchNorm(6, **made), lambda layer, x: layer(x)),
    "rotary": _calls(
        lambda **_: layers.Rotary(6),  # it has no parameters
        lambda layer, x: layer(x, torch.arange(NUM_NODES, device=x.device)),
    ),
    "learned positions": _calls(
        lambda **made: layers.LearnedPositions(9, 6, **made),
        lambda layer, x: x + layer(NUM_NODES),
    ),
    "degrees": _calls(
        lambda **made: layers.DegreeEncoding(3, 6, **made),
        lambda layer, x: x + layer(EDGES),
    ),
    "relative bias": _calls(
        lambda **made: layers.T5RelativeBias(2, **made),
        lambda layer, x: x.sum() + layer(WINDOW).values,
    ),
}
