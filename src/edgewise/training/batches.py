"""Batches of a training step: features, the graph of the rung, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgewise.graphs import Blocks, Complete, EdgeList, Graph, SelfLoops
from edgewise.training.data import GraphDataset, Separate, Shared
from edgewise.training.data.topology import JoinedGraphs

__all__ = [
    "Batch",
    "Batches",
    "GraphOfNodes",
    "complete",
    "given",
    "given_with_self",
    "nodes_alone",
]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some graphs side by side, or a leading dimension of graphs that share their edges.

    Attributes:
        x: Features ``[N, F]``, or ``[B, N, F]`` over a shared graph.
        graph: Graph of the mixers of the rung.
        y: Labels of the nodes or graphs that are scored, ``[M]``.
        rows: Which nodes are scored; None when graphs are.
        readout: One target for each graph, its nodes the sources; None over a shared graph,
            where the readout is a mean over the axis of nodes.
        encoding: Laplacian encodings ``[N, k]``, where the rung has them.
    """

    x: Tensor
    graph: Graph
    y: Tensor
    rows: Tensor | None = None
    readout: Graph | None = None
    encoding: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on another device; graphs move when they are used."""
        tensors: dict[str, Any] = {
            key: value.to(device)
            for key, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **tensors)


GraphOfNodes = Callable[[JoinedGraphs | Graph], Graph]


def nodes_alone(nodes: JoinedGraphs | Graph) -> Graph:
    """The graph of self-loops: each node reads only itself."""
    return SelfLoops(_count(nodes))


def given(nodes: JoinedGraphs | Graph) -> Graph:
    """The graph of the data, unchanged."""
    if isinstance(nodes, Graph):
        return nodes
    return EdgeList(nodes.edge_index, num_nodes=nodes.nodes.numel())


def given_with_self(nodes: JoinedGraphs | Graph) -> Graph:
    """The graph of the data with one self-loop a node, as in layers of PyTorch Geometric."""
    if isinstance(nodes, Graph):
        return nodes | SelfLoops(nodes.num_targets)
    loops = torch.arange(nodes.nodes.numel())
    others = nodes.edge_index[:, nodes.edge_index[0] != nodes.edge_index[1]]
    return EdgeList(torch.cat([others, loops.expand(2, -1)], 1), num_nodes=len(loops))


def complete(nodes: JoinedGraphs | Graph) -> Graph:
    """The complete graph: every node reads every node of its graph."""
    if isinstance(nodes, Graph):
        return Complete(nodes.num_targets)
    sizes = nodes.sizes.tolist()
    return Complete(sizes[0]) if len(sizes) == 1 else Blocks(tuple(sizes))


def _count(nodes: JoinedGraphs | Graph) -> int:
    return nodes.num_targets if isinstance(nodes, Graph) else nodes.nodes.numel()


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a part of a split; each iteration shuffles.

    Labelled nodes are trained on all at once, as in the papers on citation graphs; labelled
    graphs ``size`` at a time. Batches that do not change from epoch to epoch are built once.

    Args:
        data: The data set.
        index: Nodes or graphs of this part, ``[M]``.
        rule: Function from the nodes of a batch to the graph of the rung.
        size: Graphs in a batch.
        encoding: Laplacian encodings of all nodes of the data set (of one graph, where all
            share it), or None.
        generator: Draws the order; None keeps it.
        device: Device of the batches.
    """

    data: GraphDataset
    index: Tensor
    rule: GraphOfNodes
    size: int
    encoding: Tensor | None = None
    generator: torch.Generator | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        topology = self.data.topology
        shared = self.rule(topology.graph) if isinstance(topology, Shared) else None
        object.__setattr__(self, "_shared", shared)
        fixed = self.generator is None or self.data.on_nodes
        object.__setattr__(self, "_kept", list(self._fresh()) if fixed else None)

    def __len__(self) -> int:
        return 1 if self.data.on_nodes else -(-self.index.numel() // self.size)

    def __iter__(self) -> Iterator[Batch]:
        kept: list[Batch] | None = self.__dict__["_kept"]
        return iter(kept) if kept is not None else self._fresh()

    def _fresh(self) -> Iterator[Batch]:
        return (batch.to(self.device) for batch in self._on_cpu())

    def _on_cpu(self) -> Iterator[Batch]:
        if self.data.on_nodes:
            yield self._all_nodes()
            return
        order = self.index
        if self.generator is not None:
            order = order[torch.randperm(order.numel(), generator=self.generator)]
        for graphs in order.split(self.size):
            yield self._graphs(graphs)

    def _graphs(self, graphs: Tensor) -> Batch:
        data, y = self.data, self.data.y[graphs]
        topology = data.topology
        if isinstance(topology, Shared):
            nodes = topology.graph.num_targets
            x = data.x.view(topology.num_graphs, nodes, -1)[graphs]
            return Batch(x, self.__dict__["_shared"], y, encoding=self.encoding)
        part = topology.part(graphs)
        sizes = part.sizes.tolist()
        return Batch(
            x=data.x[part.nodes],
            graph=self.rule(part),
            y=y,
            readout=Blocks((1,) * len(sizes), tuple(sizes)),
            encoding=None if self.encoding is None else self.encoding[part.nodes],
        )

    def _all_nodes(self) -> Batch:
        assert isinstance(self.data.topology, Separate)
        graph = self.rule(self.data.topology.whole())
        return Batch(
            self.data.x, graph, self.data.y[self.index], rows=self.index, encoding=self.encoding
        )
