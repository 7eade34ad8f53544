"""Topology of a data set: edges that all graphs share, or edges of each graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.graphs import EdgeList, Graph

__all__ = ["JoinedGraphs", "Separate", "Shared", "Topology"]


@dataclass(frozen=True, eq=False)
class JoinedGraphs:
    """Some graphs of a data set, joined to one block-diagonal graph.

    Attributes:
        nodes: Rows of their nodes in the features of the data set, ``[N]``.
        edge_index: Their edges over ``0 .. N - 1``, ``[2, E]``.
        sizes: Nodes of each graph, ``[G]``.
    """

    nodes: Tensor
    edge_index: Tensor
    sizes: Tensor


@dataclass(frozen=True, eq=False)
class Shared:
    """Every graph has the same nodes and edges, so a batch is a leading dimension.

    Args:
        graph: The shared graph.
        num_graphs: Number of graphs.
    """

    graph: Graph
    num_graphs: int

    @property
    def num_nodes(self) -> int:
        """Nodes of all graphs together."""
        return self.graph.num_targets * self.num_graphs

    @property
    def num_edges(self) -> int:
        """Edges of all graphs together."""
        return self.graph.facts().max_edges * self.num_graphs


@dataclass(frozen=True, eq=False)
class Separate:
    """Each graph has its own nodes and edges, so a batch is a block-diagonal graph.

    Args:
        edge_index: ``[2, E]``, int64, sources then targets, both directions of an undirected
            edge; numbers count from the start of each graph.
        node_ptr: Graph ``g`` owns nodes ``node_ptr[g]`` to ``node_ptr[g + 1]``: ``[G + 1]``.
        edge_ptr: The same for its columns of ``edge_index``: ``[G + 1]``.

    Example:
        >>> edges = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
        >>> pairs = Separate(edges, torch.tensor([0, 2, 4]), torch.tensor([0, 2, 4]))
        >>> pairs.part(torch.tensor([1, 0])).edge_index.tolist()
        [[0, 1, 2, 3], [1, 0, 3, 2]]
    """

    edge_index: Tensor
    node_ptr: Tensor
    edge_ptr: Tensor

    @property
    def num_graphs(self) -> int:
        """Graphs ``G``."""
        return self.node_ptr.numel() - 1

    @property
    def num_nodes(self) -> int:
        """Nodes of all graphs together."""
        return int(self.node_ptr[-1])

    @property
    def num_edges(self) -> int:
        """Edges of all graphs together."""
        return self.edge_index.shape[1]

    @cached_property
    def sizes(self) -> Tensor:
        """Nodes of each graph, ``[G]``."""
        return self.node_ptr.diff()

    def part(self, graphs: Tensor) -> JoinedGraphs:
        """The given graphs, in that order, joined; without a loop over graphs."""
        sizes, edge_counts = self.sizes[graphs], self.edge_ptr.diff()[graphs]
        nodes = _ranges(self.node_ptr[graphs], sizes)
        columns = _ranges(self.edge_ptr[graphs], edge_counts)
        starts = sizes.cumsum(0) - sizes
        edges = self.edge_index[:, columns] + starts.repeat_interleave(edge_counts)
        return JoinedGraphs(nodes, edges, sizes)

    def whole(self) -> JoinedGraphs:
        """All graphs, joined."""
        return self.part(torch.arange(self.num_graphs))

    def graphs(self) -> list[EdgeList]:
        """Every graph as an edge list; slow, so not for training steps."""
        ends = self.edge_ptr.tolist()
        spans = zip(ends, ends[1:], self.sizes.tolist(), strict=False)
        return [EdgeList(self.edge_index[:, a:b], num_nodes=size) for a, b, size in spans]

    def check(self, name: str) -> None:
        """Check pointers and the range of edges.

        Raises:
            DataError: an array is wrong; the message names it.
        """
        for key, ptr, total in (
            ("node_ptr", self.node_ptr, self.num_nodes),
            ("edge_ptr", self.edge_ptr, self.num_edges),
        ):
            if (
                ptr.numel() < 2
                or int(ptr[0])
                or int(ptr[-1]) != total
                or bool((ptr.diff() < 0).any())
            ):
                raise DataError(
                    f"{name}: {key} has to rise from 0 to {total} without falling, got "
                    f"{ptr[:3].tolist()} .. {ptr[-2:].tolist()}."
                )
        if self.node_ptr.numel() != self.edge_ptr.numel():
            raise DataError(
                f"{name}: node_ptr describes {self.node_ptr.numel() - 1} graphs but edge_ptr "
                f"{self.edge_ptr.numel() - 1}. Give both one entry for each graph and one more."
            )
        limits = self.sizes.repeat_interleave(self.edge_ptr.diff())
        wrong = ((self.edge_index < 0) | (self.edge_index >= limits)).any(0)
        if bool(wrong.any()):
            column = int(wrong.nonzero()[0])
            source, target = self.edge_index[:, column].tolist()
            raise DataError(
                f"{name}: edge_index[:, {column}] is {source} -> {target}, but its graph has "
                f"{int(limits[column])} nodes. Number the nodes of each graph from 0."
            )


Topology = Shared | Separate


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """``starts[0], starts[0] + 1, ..`` (``counts[0]`` of them), then the same for the next."""
    before = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum())) + (starts - before).repeat_interleave(counts)
