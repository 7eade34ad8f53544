"""Claims about what follows from the graph alone, whatever the weights of a layer are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.claims.fixtures.layer_families import ALL, DIM, called, inputs_of, layer_of
from edgewise.claims.fixtures.layer_pair import multigraph, scattered
from edgewise.functional import aggregate, attention
from edgewise.graphs import EdgeList, disjoint_union, permute
from edgewise.nn import GATAttention, GraphConvolution, sinusoidal

__all__ = ["LAWS"]

# --- Names do not matter, unless they are encoded ------------------------------------------------


def _renaming(dtype: torch.dtype, *, family: str, encoded: bool = False) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graph = multigraph()
    N = graph.num_targets
    order = torch.randperm(N)
    place = torch.argsort(order)  # who is now node i
    encoding = sinusoidal(N, DIM).to(dtype) if encoded else torch.zeros(N, DIM, dtype=dtype)

    def ours(given: Weights) -> Tensor:
        x = given["x"].index_select(0, place) + encoding
        return called(layer, given, x, permute(graph, order)).index_select(0, order)

    def theirs(given: Weights) -> Tensor:
        return called(layer, given, given["x"] + encoding, graph)

    return Sides(parameters | inputs_of(graph, graph.num_edges, has_edges, dtype), ours, theirs)


def _side_by_side(dtype: torch.dtype, *, family: str) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graphs = [multigraph(), multigraph(loops=False), EdgeList([[], []], num_nodes=1)]
    together = disjoint_union(graphs)
    nodes = [graph.num_targets for graph in graphs]
    links = [graph.num_edges for graph in graphs]

    def ours(given: Weights) -> Tensor:
        return called(layer, given, given["x"], together)

    def theirs(given: Weights) -> Tensor:
        x, edge = given["x"].split(nodes), given.get("edge")
        own = [None] * len(graphs) if edge is None else edge.split(links)
        parts = zip(x, graphs, own, strict=True)
        return torch.cat([called(layer, given, *part) for part in parts])

    return Sides(parameters | inputs_of(together, sum(links), has_edges, dtype), ours, theirs)


# --- One step is a setting of another ------------------------------------------------------------


def _uniform(dtype: torch.dtype) -> Sides:
    graph = multigraph()
    names = ("key", "value")
    weights = {name: torch.randn(graph.num_sources, DIM, dtype=dtype) for name in names}

    def ours(given: Weights) -> Tensor:
        query = torch.zeros(1, graph.num_targets, DIM, dtype=dtype)
        return attention(query, given["key"][None], given["value"][None], graph)[0]

    def theirs(given: Weights) -> Tensor:
        return aggregate(given["value"], graph, "mean")

    return Sides(weights, ours, theirs)


def _constant_gat(dtype: torch.dtype) -> Sides:
    """A score that depends on the target alone is the same for all of its sources."""
    gat = GATAttention(DIM, DIM, 1, bias=False).to(dtype)
    sage = GraphConvolution(DIM, DIM, reduce="mean", bias=False).to(dtype)
    graph = multigraph()
    weights = scattered(gat) | {"x": torch.randn(graph.num_targets, DIM, dtype=dtype)}
    del weights["a_source"]

    def ours(given: Weights) -> Tensor:
        own = {name: given[name] for name in ("proj.weight", "a_target")}
        own["a_source"] = torch.zeros(1, DIM, dtype=dtype)
        return functional_call(gat, own, (given["x"], graph))

    def theirs(given: Weights) -> Tensor:
        nothing = torch.zeros(DIM, DIM, dtype=dtype)
        own = {"neighbor_proj.weight": given["proj.weight"], "self_proj.weight": nothing}
        return functional_call(sage, own, (given["x"], graph))

    return Sides(weights, ours, theirs)


# --- All of them ---------------------------------------------------------------------------------


def _law(
    name: str, original: str, sides: Callable[[torch.dtype], Sides], *, differ: bool = False
) -> Claim:
    return Claim(name, "laws", original, sides, differ=differ)


LAWS = (
    *(
        _law(
            f"{family} on renamed nodes",
            "the same, its result renamed",
            partial(_renaming, family=family),
        )
        for family in ALL
    ),
    *(
        _law(
            f"{family} with sinusoidal encodings on renamed nodes",
            "the same, its result renamed",
            partial(_renaming, family=family, encoded=True),
            differ=True,
        )
        for family in ("message passing", "GAT", "graph Transformer", "GPS")
    ),
    *(
        _law(
            f"{family} on a disjoint union",
            "the same on each graph alone",
            partial(_side_by_side, family=family),
        )
        for family in ALL
    ),
    _law("attention with uniform scores", "the mean over sources", _uniform),
    _law("GAT whose scores do not see the source", "GraphSAGE, mean", _constant_gat),
)
