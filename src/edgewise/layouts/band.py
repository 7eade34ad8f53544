"""Bands: detection of graphs whose edges are all pairs between two diagonals, from facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgewise.graphs import Difference, Dilated, Facts, Graph, Intersection, Union, facts_of, recall
from edgewise.graphs.facts import band_pairs

__all__ = ["Band", "band"]


@dataclass(frozen=True)
class Band:
    r"""A band: every target reads the sources at the distances from ``first`` to ``last``.

    .. math::  (s \to t) \in E \iff s - t \in \{\text{first}, \text{first} + \text{step},
               \dots, \text{last}\}

    Attributes:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``.
        first: Smallest ``source - target``.
        last: Largest ``source - target``.
        step: From one distance to the next; first and last are multiples of it unless it is 1.
    """

    num_targets: int
    num_sources: int
    first: int
    last: int
    step: int = 1

    @property
    def reversed(self) -> Band:
        """The band of the edges that point the other way."""
        return Band(self.num_sources, self.num_targets, -self.last, -self.first, self.step)

    @property
    def num_pairs(self) -> int:
        """Edges of a band without gaps."""
        return band_pairs(self.num_targets, self.num_sources, self.first, self.last)

    def within(self, other: Band) -> bool:
        """Whether every edge of this band without gaps is one of the other's."""
        return other.step == 1 and other.first <= self.first and self.last <= other.last

    @property
    def strands(self) -> tuple[Band, ...]:
        """The bands without gaps that it consists of: every ``step``-th node, from each start.

        >>> Band(5, 5, -2, 2, step=2).strands[1]
        Band(num_targets=2, num_sources=2, first=-1, last=1, step=1)
        """
        step = self.step
        if step == 1:
            return (self,)
        sizes = [
            [-(-(size - start) // step) for start in range(min(step, self.num_targets))]
            for size in (self.num_targets, self.num_sources)
        ]
        first, last = self.first // step, self.last // step
        return tuple(Band(T, S, first, last) for T, S in zip(*sizes, strict=True))


def band(graph: Graph) -> Band | None:
    """The graph as a band if its facts and its expression prove that it is one; else None.

    Two bands without gaps have a band in common, and are one band together where they touch; a
    band that covers one side of another leaves a band.

    Example:
        >>> from edgewise.graphs import Causal, Window
        >>> band(Window(9, left=2, right=2) & Causal(9))
        Band(num_targets=9, num_sources=9, first=-2, last=0, step=1)
    """
    return recall(graph, "band", lambda: _band(graph))


def _band(graph: Graph) -> Band | None:
    if isinstance(graph, Dilated) and graph.num_targets:
        left, right = graph.reach
        N, step = graph.num_targets, graph.dilation
        return Band(N, N, -left * step, right * step, step)
    facts: Facts = facts_of(graph)
    T, S, first, last = facts.num_targets, facts.num_sources, -facts.left, facts.right
    # No simple graph has more edges between two diagonals than there are pairs.
    full = facts.simple and facts.exact_edges and facts.max_edges == band_pairs(T, S, first, last)
    if full and facts.max_edges:
        return Band(T, S, first, last)
    match graph:
        case Intersection() | Union() | Difference():
            a, b = (band(part) for part in graph.children())
            if a is None or b is None or a.step != 1 or b.step != 1:
                return None
            combined = _COMBINED[type(graph)](a, b)
            return combined if combined is not None and combined.num_pairs else None
        case _:
            return None


def _common(a: Band, b: Band) -> Band:
    return replace(a, first=max(a.first, b.first), last=min(a.last, b.last))


def _together(a: Band, b: Band) -> Band | None:
    apart = max(a.first, b.first) > min(a.last, b.last) + 1
    return None if apart else replace(a, first=min(a.first, b.first), last=max(a.last, b.last))


def _left_over(a: Band, b: Band) -> Band | None:
    if b.last < a.first or a.last < b.first:
        return a
    if b.first <= a.first:
        return replace(a, first=b.last + 1)
    return replace(a, last=b.first - 1) if a.last <= b.last else None


_COMBINED: dict[type[Graph], Callable[[Band, Band], Band | None]] = {
    Intersection: _common,
    Union: _together,
    Difference: _left_over,
}
