"""Claims about encodings of nodes: sinusoidal, learned, and functions of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from edgewise.claims.claim import BOUNDS, Claim, Sides, Weights
from edgewise.graphs import Complete, EdgeList
from edgewise.nn import (
    LearnedPositions,
    degrees,
    laplacian_eigenvectors,
    random_walk,
    shortest_paths,
    sinusoidal,
)

__all__ = ["ENCODINGS"]

_N, _DIM, _K = 14, 8, 5


def _sinusoidal(dtype: torch.dtype) -> Sides:
    def expected(given: Weights) -> Tensor:
        rows: list[list[float]] = []
        for p in given["positions"].tolist():
            angles = [p / 10000 ** (2 * i / _DIM) for i in range(_DIM // 2)]
            rows.append([wave(angle) for angle in angles for wave in (math.sin, math.cos)])
        return torch.tensor(rows, dtype=dtype)

    weights = {"positions": torch.tensor([0, 1, 7, 500, 100_000])}
    return Sides(weights, lambda given: sinusoidal(given["positions"].to(dtype), _DIM), expected)


def _learned(dtype: torch.dtype) -> Sides:
    layer = LearnedPositions(_N, _DIM).to(dtype)
    positions = torch.tensor([[3, 0, 13], [3, 3, 5]])
    return Sides(
        dict(layer.state_dict()),
        lambda given: functional_call(layer, dict(given), (positions,)),
        lambda given: F.embedding(positions, given["weight"]),
    )


# --- Encodings that are functions of a graph ---------------------------------------------------


def _directed() -> EdgeList:
    """A simple directed graph with self-loops and isolated nodes."""
    dense = torch.rand(_N, _N) < torch.linspace(0, 0.4, _N)[:, None]
    return EdgeList(dense.nonzero().T, num_nodes=_N)


def _connected() -> EdgeList:
    """A random tree with further edges, undirected, whose spectrum is simple."""
    later = torch.arange(1, _N)
    parent = (torch.rand(_N - 1) * later).long()
    dense = torch.rand(_N, _N) < 0.1
    dense[later, parent] = True
    return EdgeList((dense | dense.T).fill_diagonal_(False).nonzero().T, num_nodes=_N)


def _of_graph(
    graph: EdgeList, computed: Callable[[EdgeList], Tensor], expected: Callable[[EdgeList], Tensor]
) -> Sides:
    """Sides that are functions of the edges, without gradients."""

    def built(given: Weights) -> EdgeList:
        return EdgeList(given["edge_index"], num_nodes=graph.num_targets)

    return Sides(
        {"edge_index": graph.edge_index},
        lambda given: computed(built(given)),
        lambda given: expected(built(given)),
    )


def _transformed(transform: Any, graph: EdgeList, weight: Tensor | None = None) -> Tensor:
    """The encoding that a transform of PyTorch Geometric computes, in the dtype of its weights."""
    from torch_geometric.data import Data

    data = Data(edge_index=graph.edge_index, edge_weight=weight, num_nodes=graph.num_targets)
    return transform(data).pe


def _laplacian(dtype: torch.dtype, graph: EdgeList) -> Sides:
    from torch_geometric.transforms import AddLaplacianEigenvectorPE

    def computed(graph: EdgeList) -> Tensor:
        return laplacian_eigenvectors(graph, _K, dtype=dtype)

    def expected(graph: EdgeList) -> Tensor:
        """Eigenvectors with the signs of the other side: signs are arbitrary."""
        transform = AddLaplacianEigenvectorPE(_K, "pe", is_undirected=True)
        eigenvectors = _transformed(transform, graph, torch.ones(graph.num_edges, dtype=dtype))
        return eigenvectors * (eigenvectors * computed(graph)).sum(0).sign()

    return _of_graph(graph, computed, expected)


def _laplacian_of_parts(dtype: torch.dtype) -> Sides:
    """Two graphs as one: the original solves them jointly, Edgewise each by itself."""
    first, second = _connected(), _connected()
    both = torch.cat([first.edge_index, second.edge_index + _N], 1)
    return _laplacian(dtype, EdgeList(both, num_nodes=2 * _N))


def _random_walk(dtype: torch.dtype) -> Sides:
    from torch_geometric.transforms import AddRandomWalkPE

    return _of_graph(
        _directed(),
        lambda graph: random_walk(graph, 7, dtype=dtype),
        lambda graph: _transformed(AddRandomWalkPE(7, "pe"), graph),
    )


def _distances(graph: EdgeList) -> Tensor:
    return shortest_paths(graph, Complete(_N)).view(_N, _N)


def _by_networkx(_: torch.dtype) -> Sides:
    import networkx as nx

    def expected(graph: EdgeList) -> Tensor:
        directed: Any = nx.DiGraph()
        directed.add_nodes_from(range(_N))
        directed.add_edges_from(graph.edge_index.T.tolist())
        hops = torch.full((_N, _N), -1)
        for source, lengths in nx.all_pairs_shortest_path_length(directed):
            for target, length in lengths.items():
                hops[target, source] = length
        return hops

    return _of_graph(_directed(), _distances, expected)


def _by_scipy(_: torch.dtype) -> Sides:
    from scipy.sparse import csgraph, csr_array

    def expected(graph: EdgeList) -> Tensor:
        ends = (graph.source.numpy(), graph.target.numpy())
        matrix: Any = csr_array((torch.ones(graph.num_edges).numpy(), ends), (_N, _N))
        hops = torch.from_numpy(csgraph.shortest_path(matrix, unweighted=True)).T
        return hops.masked_fill(hops.isinf(), -1)

    return _of_graph(_directed(), _distances, expected)


def _degrees(_: torch.dtype) -> Sides:
    from torch_geometric.utils import degree

    def expected(graph: EdgeList) -> Tensor:
        return torch.stack([degree(ends, _N) for ends in (graph.target, graph.source)])

    def computed(graph: EdgeList) -> Tensor:
        return torch.stack([degrees(graph, direction="in"), degrees(graph, direction="out")])

    return _of_graph(_directed(), computed, expected)


_PYG, _DWIVEDI = ("torch_geometric",), "Dwivedi et al. 2020, arXiv:2003.00982, section 4"
_GRAPHORMER = "Ying et al. 2021, arXiv:2106.05234, section 3.1"

ENCODINGS = (
    Claim(
        "sinusoidal positions",
        "positions",
        "the equation, number by number",
        _sinusoidal,
        "Vaswani et al. 2017, arXiv:1706.03762, section 3.5",
    ),
    Claim(
        "learned positions",
        "positions",
        "torch.nn.functional.embedding",
        _learned,
        "Gehring et al. 2017, arXiv:1705.03122, section 3.1",
    ),
    Claim(
        "Laplacian eigenvectors of a connected graph, up to sign",
        "positions",
        "torch_geometric.transforms.AddLaplacianEigenvectorPE",
        lambda dtype: _laplacian(dtype, _connected()),
        _DWIVEDI,
        needs=_PYG,
    ),
    Claim(
        "Laplacian eigenvectors of two graphs side by side",
        "positions",
        "torch_geometric.transforms.AddLaplacianEigenvectorPE of both as one",
        _laplacian_of_parts,
        _DWIVEDI,
        needs=_PYG,
        differ=True,
    ),
    Claim(
        "random-walk encoding",
        "positions",
        "torch_geometric.transforms.AddRandomWalkPE",
        _random_walk,
        "Dwivedi et al. 2021, arXiv:2110.07875, section 3.2",
        needs=_PYG,
        # The original computes in float32.
        bounds={torch.float32: BOUNDS[torch.float32], torch.float64: 2e-6},
    ),
    Claim(
        "shortest paths",
        "positions",
        "networkx.all_pairs_shortest_path_length",
        _by_networkx,
        _GRAPHORMER,
        needs=("networkx",),
    ),
    Claim(
        "shortest paths",
        "positions",
        "scipy.sparse.csgraph.shortest_path",
        _by_scipy,
        _GRAPHORMER,
        needs=("scipy",),
    ),
    Claim(
        "in- and out-degrees",
        "positions",
        "torch_geometric.utils.degree",
        _degrees,
        _GRAPHORMER,
        needs=_PYG,
    ),
)
