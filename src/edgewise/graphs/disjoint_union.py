"""Disjoint union of graphs: a batch of molecules, packed documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, check_graph
from edgewise.graphs.blocks import Blocks
from edgewise.graphs.cache import recall
from edgewise.graphs.cuts import Cuts
from edgewise.graphs.edge_list import EdgeList
from edgewise.graphs.facts import Facts, facts_of_disjoint_union
from edgewise.graphs.sequence import Complete

__all__ = ["DisjointUnion", "disjoint_union"]

_PRINTED = 8
_FEW = 8  # parts whose sizes a compiler may leave open


@dataclass(frozen=True, repr=False)
class DisjointUnion(Graph):
    """Graphs side by side, with no edge between them: a block-diagonal attention matrix.

    Nodes and edges are numbered part after part. Build it with `disjoint_union`.
    """

    parts: tuple[Graph, ...]

    def __post_init__(self) -> None:
        traced = torch.compiler.is_compiling()
        # Only in compiled code: the planner may build one while a plan is traced as a constant.
        if torch.compiler.is_dynamo_compiling() and any(p.spec() is None for p in self.parts):
            raise GraphError(
                "disjoint_union: cannot be built inside torch.compile of parts that hold tensors "
                "or functions. Build it outside, and pass it in or close over it."
            )
        object.__setattr__(self, "_traced", traced)
        totals = (sum(p.num_targets for p in self.parts), sum(p.num_sources for p in self.parts))
        object.__setattr__(self, "_totals", totals)
        object.__setattr__(self, "_holds_tensors", any(p.holds_tensors for p in self.parts))

    @cached_property
    def target_ends(self) -> Tensor:
        """Where each part's targets start and end: ``[parts + 1]``, int64."""
        sizes = np.fromiter((p.num_targets for p in self.parts), np.int64, len(self.parts))
        return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    @cached_property
    def source_ends(self) -> Tensor:
        """Where each part's sources start and end: ``[parts + 1]``, int64."""
        sizes = np.fromiter((p.num_sources for p in self.parts), np.int64, len(self.parts))
        return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    @property
    def num_targets(self) -> int:
        """Rows: the sum over all parts."""
        return self.__dict__["_totals"][0]

    @property
    def num_sources(self) -> int:
        """Columns: the sum over all parts."""
        return self.__dict__["_totals"][1]

    @property
    def holds_tensors(self) -> bool:
        return self.__dict__["_holds_tensors"]

    @property
    def may_repeat(self) -> bool:
        return any(part.may_repeat for part in self.parts)

    def children(self) -> tuple[Graph, ...]:
        return self.parts

    def spec(self) -> tuple[Any, ...] | None:
        """None for many parts, unless built in traced code: an object is cheaper to keep."""
        if not self.__dict__["_traced"] and len(self.parts) > _FEW:
            return None
        specs = tuple([part.spec() for part in self.parts])
        return None if any(spec is None for spec in specs) else ("DisjointUnion", ("parts", specs))

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        if self.joined is not None:
            return self.joined.contains(target, source)
        row, column = self._parts_of(target, source)
        target, source, row, column = torch.broadcast_tensors(target, source, row, column)
        connected = torch.zeros(target.shape, dtype=torch.bool, device=target.device)
        same = row == column
        for index in torch.unique(row[same]).tolist():
            here = same & (row == index)
            connected[here] = self.parts[index].contains(
                target[here] - self.target_ends[index], source[here] - self.source_ends[index]
            )
        return connected

    def _parts_of(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Which part each target and each source belongs to."""
        target_ends = self.target_ends[1:].to(target.device)
        source_ends = self.source_ends[1:].to(source.device)
        return (
            torch.bucketize(target.contiguous(), target_ends, right=True),
            torch.bucketize(source.contiguous(), source_ends, right=True),
        )

    @cached_property
    def joined(self) -> EdgeList | None:
        """The same edges as one edge list, if all parts are edge lists: no loop over parts."""
        pairs = [part.edge_index for part in self.parts if isinstance(part, EdgeList)]
        if not pairs or len(pairs) < len(self.parts):
            return None
        index = torch.cat(pairs, dim=1)
        counts = torch.tensor([pair.shape[1] for pair in pairs])
        ends = torch.stack([self.source_ends[:-1], self.target_ends[:-1]])
        shift = torch.repeat_interleave(ends, counts, dim=1).to(index.device)
        return EdgeList(index + shift, num_targets=self.num_targets, num_sources=self.num_sources)

    def facts(self) -> Facts:
        return recall(self, "facts", self._facts)

    def _facts(self) -> Facts:
        if self.joined is None:
            return facts_of_disjoint_union([part.facts() for part in self.parts])
        cuts = Cuts(self.target_ends.numpy(), self.source_ends.numpy())
        return replace(self.joined.facts(), cuts=cuts)

    def __repr__(self) -> str:
        if len(self.parts) > _PRINTED:
            return (
                f"disjoint_union(<{len(self.parts):,} graphs: {self.num_targets:,} x "
                f"{self.num_sources:,}>)"
            )
        return f"disjoint_union([{', '.join(repr(part) for part in self.parts)}])"


def disjoint_union(graphs: Iterable[Graph]) -> Graph:
    r"""Put graphs side by side, with no edge between them.

    Node ``i`` of part ``p`` becomes node ``i + (nodes of the parts before p)``, and the edges of
    part ``p`` follow those of part ``p - 1``. So a batch is one graph, and nothing is padded.

    Args:
        graphs: Any graphs, thousands of them too; square or bipartite.

    Raises:
        GraphError: something in the list is not a graph.

    Complexity: O(number of graphs) to build.

    Example:
        >>> disjoint_union([Complete(2), Complete(3)])
        Blocks([2, 3])
    """
    if isinstance(graphs, Graph):
        raise GraphError(
            f"disjoint_union: graphs must be a list of graphs, got {type(graphs).__name__}. "
            f"Pass a list, like [{graphs!r}]."
        )
    parts = tuple(graphs)
    for index, part in enumerate(parts):
        check_graph(f"disjoint_union: item {index}", part)
    if all(isinstance(part, Complete) for part in parts):
        return Blocks(tuple(p.num_targets for p in parts), tuple(p.num_sources for p in parts))
    if len(parts) == 1:
        return parts[0]
    return DisjointUnion(parts)
