"""Edges of a call of a layer: an EdgeList from the formats that PyTorch Geometric accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import is_torch_sparse_tensor, to_edge_index
from torch_geometric.utils.loop import compute_loop_attr

from edgewise.errors import GraphError
from edgewise.graphs import EdgeList
from edgewise.integrations.pyg.edge_cache import recall_about
from edgewise.integrations.pyg.readable_edges import unreadable
from edgewise.shapes import is_shape_only

__all__ = ["Connectivity", "connectivity", "is_sparse", "node_counts", "plain_edges"]

_Pair = tuple["Tensor | None", "Tensor | None"]


@dataclass(frozen=True, eq=False)
class Connectivity:
    """The graph of a call, and the conversion of tensors of the given edges to its edges.

    Attributes:
        graph: The edges, in the order of PyTorch Geometric.
        given: Number of given edges.
        kept: Numbers of those that are kept: ``[E]``; None for all of them.
        loops: Number of self-loops after them; None if self-loops are unchanged.
        reverse: Whether messages go against the edges (``flow="target_to_source"``).
    """

    graph: EdgeList
    given: int
    kept: Tensor | None
    loops: int | None
    reverse: bool

    def extended(self, edge_attr: Tensor, fill_value: Any) -> Tensor:
        """Features of all edges of the graph, with filled values for self-loops."""
        if self.loops is None:
            return edge_attr
        kept = edge_attr if self.kept is None else edge_attr.index_select(0, self.kept)
        ends = self.graph.edge_index[:, : kept.shape[0]]
        ends = ends.flip(0) if self.reverse else ends
        filled = compute_loop_attr(ends, kept, self.loops, False, fill_value)
        return torch.cat([kept, filled])


def is_sparse(adjacency: Tensor) -> bool:
    """Whether edges are given as a sparse matrix of torch."""
    return is_torch_sparse_tensor(adjacency)


def plain_edges(adjacency: Tensor) -> Tensor:
    """The tensor of an `EdgeIndex`, always the same object; any other tensor unchanged."""
    return adjacency.as_tensor() if isinstance(adjacency, EdgeIndex) else adjacency


def node_counts(
    x: _Pair, adjacency: Tensor, size: Any, *, reverse: bool = False
) -> tuple[int, int] | None:
    """Number of targets and sources of a call; None if the original has to handle them.

    Args:
        x: Features of the sources, and of the targets, nodes first.
        adjacency: The edges, which may hold their numbers of nodes.
        size: The same two numbers of nodes, or None.
        reverse: Whether messages go against the edges. The original then uses the number of
            sources for targets, which is right only if both are equal.
    """
    if any(part is not None and is_shape_only(part) for part in x):
        return None
    given: list[int | None] = [None, None] if size is None else list(size)
    if isinstance(adjacency, EdgeIndex):
        given = [adjacency.num_rows, adjacency.num_cols]
    elif is_sparse(adjacency):
        given = [adjacency.shape[1], adjacency.shape[0]]
    counts = [None if part is None else part.shape[0] for part in x]
    for count, expected in zip(counts, given, strict=True):
        if count is not None and expected is not None and count != expected:
            return None
    num_sources, num_targets = counts
    if num_sources is None:
        return None
    if num_targets is None:
        num_targets = num_sources if given[1] is None else given[1]
    return None if reverse and num_targets != num_sources else (num_targets, num_sources)


def connectivity(
    adjacency: Tensor,
    num_targets: int,
    num_sources: int,
    *,
    reverse: bool = False,
    loops: int | None = None,
) -> Connectivity | None:
    """The graph of edges, cached while their tensor exists and is unchanged.

    Args:
        adjacency: ``edge_index``, an `EdgeIndex`, or a sparse matrix of torch (rows are targets).
        num_targets: Nodes that read.
        num_sources: Nodes that are read.
        reverse: Whether messages go from row 1 of ``edge_index`` to row 0.
        loops: Self-loops to add after the removal of existing ones; None to change none.

    Returns:
        None for edges that are no graph: wrong shapes, indices out of range, a sparse matrix with
        copies of an entry; and for edges whose numbers cannot be read.
    """
    if unreadable(adjacency):
        return None
    edges = plain_edges(adjacency)
    if is_sparse(edges) and _unusable(edges, reverse, loops):
        return None
    key = ("connectivity", num_targets, num_sources, reverse, loops)
    return recall_about(
        edges, key, lambda: _connectivity(edges, num_targets, num_sources, reverse, loops)
    )


def _unusable(matrix: Tensor, reverse: bool, loops: int | None) -> bool:
    if matrix.layout == torch.sparse_coo and not matrix.is_coalesced():
        return True
    return reverse or (loops is not None and matrix.layout == torch.sparse_csc)


def _connectivity(
    edges: Tensor, num_targets: int, num_sources: int, reverse: bool, loops: int | None
) -> Connectivity | None:
    if is_sparse(edges):
        edges = to_edge_index(edges.detach())[0].flip(0)
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype.is_floating_point:
        return None
    given, kept = edges.shape[1], None
    if loops is not None:
        stays = edges[0] != edges[1]
        if not bool(stays.all()):
            kept = stays.nonzero()[:, 0]
            edges = edges[:, kept]
        node = torch.arange(loops, dtype=edges.dtype, device=edges.device)
        edges = torch.cat([edges, node.expand(2, -1)], 1)
    try:
        graph = EdgeList(
            edges.flip(0) if reverse else edges,
            num_targets=num_targets,
            num_sources=num_sources,
        )
    except GraphError:
        return None
    return Connectivity(graph, given, kept, loops, reverse)
