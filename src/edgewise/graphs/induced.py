"""Induced subgraphs: some rows and some columns of a graph."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, check_graph
from edgewise.graphs.counts import counts
from edgewise.graphs.facts import Facts

__all__ = ["Induced", "induced"]

_PRINTED = 32


@dataclass(frozen=True, repr=False)
class Induced(Graph):
    r"""The edges of a graph between chosen targets and chosen sources, with new numbers.

    .. math::  (j \to i) \in E' \iff (\text{sources}_j \to \text{targets}_i) \in E

    Build it with `induced`.
    """

    graph: Graph
    targets: Sequence[int] | None = None
    sources: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, size in (
            ("targets", self.graph.num_targets),
            ("sources", self.graph.num_sources),
        ):
            given = getattr(self, name)
            if given is None:
                continue
            chosen = counts("induced", name, given)
            if len(set(chosen)) < len(chosen) or max(chosen, default=-1) >= size:
                raise GraphError(
                    f"induced: {name} must be different numbers below {size}, got "
                    f"{reprlib.repr(list(chosen))}. Choose each node once."
                )
            object.__setattr__(self, name, chosen)

    @property
    def num_targets(self) -> int:
        """Rows: the chosen targets."""
        return self.graph.num_targets if self.targets is None else len(self.targets)

    @property
    def num_sources(self) -> int:
        """Columns: the chosen sources."""
        return self.graph.num_sources if self.sources is None else len(self.sources)

    @property
    def may_repeat(self) -> bool:
        return self.graph.may_repeat

    def children(self) -> tuple[Graph, ...]:
        return (self.graph,)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.graph.contains(_of(self.targets, target), _of(self.sources, source))

    def facts(self) -> Facts:
        whole = self.graph.facts()
        T, S = self.num_targets, self.num_sources
        if whole.complete:
            return Facts.bounded(T, S, min_edges=T * S, in_degree=(S, S), out_degree=(T, T))
        left_out = whole.num_sources - S, whole.num_targets - T
        return Facts.bounded(
            T,
            S,
            max_edges=whole.max_edges,
            in_degree=(max(0, whole.distinct_min_in_degree - left_out[0]), whole.max_in_degree),
            out_degree=(max(0, whole.distinct_min_out_degree - left_out[1]), whole.max_out_degree),
            simple=whole.simple,
        )

    def __repr__(self) -> str:
        chosen = "".join(
            f", {name}={list(nodes) if len(nodes) <= _PRINTED else f'<{len(nodes)} nodes>'}"
            for name, nodes in (("targets", self.targets), ("sources", self.sources))
            if nodes is not None
        )
        return f"induced({self.graph!r}{chosen})"


def _of(numbers: Sequence[int] | None, index: Tensor) -> Tensor:
    if numbers is None:
        return index
    return torch.tensor(numbers, dtype=torch.int64, device=index.device)[index]


def induced(
    graph: Graph, targets: Sequence[int] | None = None, sources: Sequence[int] | None = None
) -> Graph:
    """Keep some targets and some sources of a graph, and the edges between them.

    Args:
        graph: Any graph.
        targets: Which targets, in their new order; all when left out.
        sources: Which sources, in their new order; all when left out.

    Raises:
        GraphError: a node that is not there, or twice.

    Example:
        >>> from edgewise.graphs import Causal
        >>> induced(Causal(9), targets=[2, 8], sources=[0, 1, 2, 3]).facts().max_in_degree
        4
    """
    check_graph("induced: graph", graph)
    if targets is None and sources is None:
        return graph
    return Induced(graph, targets, sources)
