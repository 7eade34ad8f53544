"""Claims about receptive fields: which inputs change the output of a node."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.layer_families import LOCAL, POOLING, called, inputs_of, layer_of
from edgewise.claims.fixtures.layer_pair import scattered
from edgewise.graphs import Causal, Complete, EdgeList, Graph, receptive_field
from edgewise.nn import MLP, Block, DotAttention

__all__ = ["RECEPTIVE_FIELDS"]

_DIM, _L = 6, 3  # features and layers
_MOVES = 8  # random changes of a node: a single one may leave the output unchanged


def _strand() -> EdgeList:
    """An undirected path with copies of edges, a directed branch, and an isolated node."""
    path = torch.arange(8)
    ends = [torch.stack([path[:-1], path[1:]]), torch.stack([path[1:], path[:-1]])]
    return EdgeList(torch.cat([*ends, torch.tensor([[8, 9, 0, 3], [3, 8, 1, 4]])], 1), num_nodes=11)


def _deep(layer: nn.Module, given: Weights, x: Tensor, graph: Graph, layers: int) -> Tensor:
    for _ in range(layers):
        x = called(layer, given, x, graph)
    return x


def _outside(
    layer: nn.Module, weights: dict[str, Tensor], graph: Graph, field: Graph, layers: int
) -> Sides:
    """Outputs of each node, with and without noise outside of its receptive field.

    Args:
        layer: The layer.
        weights: Parameters and inputs.
        graph: Graph of the layer.
        field: Graph of the receptive field.
        layers: Number of layers.
    """
    node = torch.arange(graph.num_targets)
    inside = field.contains(node[:, None], node[None, :])[..., None]
    assert not bool(inside.all())
    noise = 3 * torch.randn(len(node), *weights["x"].shape, dtype=weights["x"].dtype)

    def computed(given: Weights) -> Tensor:
        x = torch.where(inside, given["x"], noise)  # [N, N, D]: one graph for every node
        return _deep(layer, given, x, graph, layers)[node, node]

    def expected(given: Weights) -> Tensor:
        return _deep(layer, given, given["x"], graph, layers)

    return Sides(weights, computed, expected)


def _inside(
    layer: nn.Module, weights: dict[str, Tensor], graph: Graph, pairs: Tensor, layers: int
) -> Sides:
    """Change of the output of a target when a source changes: the smallest of all pairs.

    Args:
        layer: The layer.
        weights: Parameters and inputs.
        graph: Graph of the layer.
        pairs: Targets and sources, ``[2, P]``.
        layers: Number of layers.
    """
    target, source = pairs.repeat_interleave(_MOVES, 1)
    case = torch.arange(len(source))
    moved = 3 * torch.randn(len(source), _DIM, dtype=weights["x"].dtype)

    def computed(given: Weights) -> Tensor:
        shift = torch.zeros(len(source), *given["x"].shape, dtype=moved.dtype)
        shift[case, source] = moved
        both = torch.cat([given["x"] + shift, given["x"][None]])  # one graph for every case
        out = _deep(layer, given, both, graph, layers)
        change = (out[case, target] - out[-1, target]).abs().amax(-1)
        return change.unflatten(0, (-1, _MOVES)).amax(1).amin()

    def expected(given: Weights) -> Tensor:
        return given["x"].new_zeros(())

    return Sides(weights, computed, expected)


def _beyond_the_field(dtype: torch.dtype, *, family: str) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graph = _strand()
    weights = parameters | inputs_of(graph, graph.num_edges, has_edges, dtype)
    return _outside(layer, weights, graph, receptive_field(graph, _L), _L)


def _rim_of_the_field(dtype: torch.dtype, *, family: str) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graph = _strand()
    weights = parameters | inputs_of(graph, graph.num_edges, has_edges, dtype)
    rim = receptive_field(graph, _L) - receptive_field(graph, _L - 1)
    return _inside(layer, weights, graph, _pairs(rim), _L)


def _pairs(graph: Graph) -> Tensor:
    """Targets and sources of all edges: ``[2, E]``."""
    node = torch.arange(graph.num_targets)
    return graph.contains(node[:, None], node[None, :]).nonzero().T


def _transformer(dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
    layer = Block(DotAttention(_DIM, heads=2), _DIM, mlp=MLP(_DIM, 8)).to(dtype)
    return layer, scattered(layer) | {"x": torch.randn(7, _DIM, dtype=dtype)}


def _everything(dtype: torch.dtype) -> Sides:
    return _inside(*_transformer(dtype), Complete(7), _pairs(Complete(7)), 1)


def _future(dtype: torch.dtype, *, layers: int) -> Sides:
    return _outside(*_transformer(dtype), Causal(7), Causal(7), layers)


def _past(dtype: torch.dtype) -> Sides:
    return _inside(*_transformer(dtype), Causal(7), _pairs(Causal(7)), 1)


def _law(name: str, original: str, sides: partial[Sides], *, differ: bool = False) -> Claim:
    return Claim(name, "laws", original, sides, differ=differ)


RECEPTIVE_FIELDS = (
    *(
        _law(
            f"{_L} layers of {family}, with noise beyond {_L} hops",
            "the same without noise",
            partial(_beyond_the_field, family=family),
        )
        for family in (*LOCAL, *POOLING)
    ),
    *(
        _law(
            f"{_L} layers of {family}, when a node at distance {_L} moves",
            "the same, unmoved (least change)",
            partial(_rim_of_the_field, family=family),
            differ=True,
        )
        for family in LOCAL  # a maximum depends on a single source
    ),
    _law(
        "a Transformer layer, when any one node moves",
        "the same, unmoved (least change of any node)",
        partial(_everything),
        differ=True,
    ),
    _law(
        "a causal Transformer, 3 layers, with noise in the future",
        "the same without noise",
        partial(_future, layers=3),
    ),
    _law(
        "a causal Transformer layer, when any one node of the past moves",
        "the same, unmoved (least change)",
        partial(_past),
        differ=True,
    ),
)
