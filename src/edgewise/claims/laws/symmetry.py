"""Claims about symmetries: permuted nodes, disjoint unions, special weights."""

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

# --- Permutations and disjoint unions ------------------------------------------------------------


def _renaming(dtype: torch.dtype, *, family: str, encoded: bool = False) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graph = multigraph()
    N = graph.num_targets
    order = torch.randperm(N)
    inverse = torch.argsort(order)  # the old number of node i
    encoding = sinusoidal(N, DIM).to(dtype) if encoded else torch.zeros(N, DIM, dtype=dtype)

    def computed(given: Weights) -> Tensor:
        x = given["x"].index_select(0, inverse) + encoding
        return called(layer, given, x, permute(graph, order)).index_select(0, order)

    def expected(given: Weights) -> Tensor:
        return called(layer, given, given["x"] + encoding, graph)

    return Sides(
        parameters | inputs_of(graph, graph.num_edges, has_edges, dtype), computed, expected
    )


def _side_by_side(dtype: torch.dtype, *, family: str) -> Sides:
    layer, parameters, has_edges = layer_of(family, dtype)
    graphs = [multigraph(), multigraph(loops=False), EdgeList([[], []], num_nodes=1)]
    together = disjoint_union(graphs)
    nodes = [graph.num_targets for graph in graphs]
    edge_counts = [graph.num_edges for graph in graphs]

    def computed(given: Weights) -> Tensor:
        return called(layer, given, given["x"], together)

    def expected(given: Weights) -> Tensor:
        x, edge = given["x"].split(nodes), given.get("edge")
        edge_parts = [None] * len(graphs) if edge is None else edge.split(edge_counts)
        parts = zip(x, graphs, edge_parts, strict=True)
        return torch.cat([called(layer, given, *part) for part in parts])

    return Sides(
        parameters | inputs_of(together, sum(edge_counts), has_edges, dtype), computed, expected
    )


# --- Steps that are special cases of others -------------------------------------------------------


def _uniform(dtype: torch.dtype) -> Sides:
    graph = multigraph()
    names = ("key", "value")
    weights = {name: torch.randn(graph.num_sources, DIM, dtype=dtype) for name in names}

    def computed(given: Weights) -> Tensor:
        query = torch.zeros(1, graph.num_targets, DIM, dtype=dtype)
        return attention(query, given["key"][None], given["value"][None], graph)[0]

    def expected(given: Weights) -> Tensor:
        return aggregate(given["value"], graph, "mean")

    return Sides(weights, computed, expected)


def _constant_gat(dtype: torch.dtype) -> Sides:
    """GAT whose scores depend on the target alone, which are equal for all of its sources."""
    gat = GATAttention(DIM, DIM, 1, bias=False).to(dtype)
    sage = GraphConvolution(DIM, DIM, reduce="mean", bias=False).to(dtype)
    graph = multigraph()
    weights = scattered(gat) | {"x": torch.randn(graph.num_targets, DIM, dtype=dtype)}
    del weights["a_source"]

    def computed(given: Weights) -> Tensor:
        parameters = {name: given[name] for name in ("proj.weight", "a_target")}
        parameters["a_source"] = torch.zeros(1, DIM, dtype=dtype)
        return functional_call(gat, parameters, (given["x"], graph))

    def expected(given: Weights) -> Tensor:
        zero = torch.zeros(DIM, DIM, dtype=dtype)
        parameters = {"neighbor_proj.weight": given["proj.weight"], "self_proj.weight": zero}
        return functional_call(sage, parameters, (given["x"], graph))

    return Sides(weights, computed, expected)


# --- Claims --------------------------------------------------------------------------------------


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
    _law("GAT whose scores do not depend on the source", "GraphSAGE, mean", _constant_gat),
)
