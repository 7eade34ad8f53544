"""Claims about Graphormer's encodings, against its equations."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.func import functional_call

from edgewise.claims.claim import Claim, Sides, Weights
from edgewise.graphs import Complete, EdgeList
from edgewise.nn import (
    DegreeEncoding,
    PathBias,
    SpatialBias,
    shortest_path_edges,
    shortest_paths,
)

__all__ = ["GRAPHORMER"]

_H, _N = 4, 40


def _centrality(dtype: torch.dtype) -> Sides:
    dense = torch.rand(_N, _N) < torch.linspace(0, 0.2, _N)[:, None]
    graph, most = EdgeList(dense.nonzero().T, num_nodes=_N), 3
    layer = DegreeEncoding(most, 8).to(dtype)

    def expected(given: Weights) -> Tensor:
        into, out = given["in_degree_encoder.weight"], given["out_degree_encoder.weight"]
        rows: list[Tensor] = []
        for node in range(_N):
            arriving = sum(target == node for target in graph.target.tolist())
            leaving = sum(source == node for source in graph.source.tolist())
            rows.append(into[min(arriving, most)] + out[min(leaving, most)])
        return torch.stack(rows)

    return Sides(
        dict(layer.state_dict()),
        lambda given: functional_call(layer, dict(given), (graph,)),
        expected,
    )


def _biases(dtype: torch.dtype) -> Sides:
    """Biases on a forest, where paths are unique."""
    import networkx as nx

    later = torch.tensor([node for node in range(1, _N) if node != 30])  # 30 begins a second tree
    parent = torch.where(later < 30, (torch.rand(len(later)) * later.clamp(max=30)).long(), 30)
    index = torch.stack([torch.cat([later, parent]), torch.cat([parent, later])])
    graph, pairs, length, farthest = EdgeList(index, num_nodes=_N), Complete(_N), 3, 4
    spatial = SpatialBias(_H, farthest).to(dtype)
    path = PathBias(_H, edge_dim=5, length=length).to(dtype)
    distance, along = shortest_paths(graph, pairs), shortest_path_edges(graph, pairs, length)
    number = {(s, t): e for e, (s, t) in enumerate(index.T.tolist())}
    routes = dict(nx.all_pairs_shortest_path(nx.DiGraph(list(number))))

    def computed(given: Weights) -> Tensor:
        encoder = {"distance_encoder.weight": given["distance_encoder.weight"]}
        bias = functional_call(spatial, encoder, (distance,))
        weight = {"weight": given["weight"]}
        return bias + functional_call(path, weight, (given["edge"], along))

    def expected(given: Weights) -> Tensor:
        entries: list[Tensor] = []
        for i in range(_N):
            for j in range(_N):
                if j not in routes[i]:
                    entries.append(given["distance_encoder.weight"][farthest + 1])
                    continue
                route = routes[i][j]
                entry = given["distance_encoder.weight"][min(len(route) - 1, farthest)]
                steps = [number[b, a] for a, b in pairwise(route)][:length]
                for n, e in enumerate(steps):
                    entry = entry + given["edge"][e] @ given["weight"][n] / len(steps)
                entries.append(entry)
        return torch.stack(entries, 1)

    edge = {"edge": torch.randn(graph.num_edges, 5, dtype=dtype)}
    return Sides(edge | dict(spatial.state_dict()) | dict(path.state_dict()), computed, expected)


_YING = "Ying et al. 2021, arXiv:2106.05234, section 3.1"

GRAPHORMER = (
    Claim(
        "Graphormer's centrality encoding",
        "positions",
        "the equation, node by node",
        _centrality,
        _YING,
    ),
    Claim(
        "Graphormer's biases by distance and along paths",
        "positions",
        "the equations, pair by pair, over networkx's paths",
        _biases,
        _YING,
        needs=("networkx",),
    ),
)
