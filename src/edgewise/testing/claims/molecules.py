"""A small batch of graphs, as molecules are, and how models are called on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.graphs import EdgeList
from edgewise.testing.claims.claim import Weights

__all__ = [
    "DIM",
    "EDGE",
    "GRAPHS",
    "HEADS",
    "IN",
    "NODES",
    "SIZES",
    "WALK",
    "batch_of",
    "inputs_of",
    "molecules",
    "with_parameters",
]

IN, DIM, EDGE, HEADS, WALK = 5, 6, 3, 2, 3
SIZES = (5, 1, 4, 7)  # nodes of each graph; the second has no edge
NODES, GRAPHS = sum(SIZES), len(SIZES)


def molecules() -> list[EdgeList]:
    """Random edges, some of them twice, and a graph that has none; the last node is isolated."""
    graphs: list[EdgeList] = []
    for size in SIZES:
        pairs = torch.randint(max(size - 1, 1), (2, 3 * (size - 1)))
        graphs.append(EdgeList(torch.cat([pairs, pairs[:, :2]], 1), num_nodes=size))
    return graphs


def batch_of() -> tuple[EdgeList, Tensor]:
    """The same as one graph, and of which each node is."""
    starts = torch.tensor([0, *SIZES]).cumsum(0)[:-1].tolist()
    pairs = [g.edge_index + start for g, start in zip(molecules(), starts, strict=True)]
    of_node = torch.repeat_interleave(torch.arange(GRAPHS), torch.tensor(SIZES))
    return EdgeList(torch.cat(pairs, 1), num_nodes=NODES), of_node


def inputs_of(num_edges: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Features of all nodes and edges."""
    return {
        "x": torch.randn(NODES, IN, dtype=dtype),
        "edge": torch.randn(num_edges, EDGE, dtype=dtype),
    }


def with_parameters(model: nn.Module, given: Weights, *args: Any, **besides: Any) -> Any:
    """A module with the parameters that are given."""
    own = {name: given[name] for name, _ in model.named_parameters()}
    return functional_call(model, own, args, besides)
