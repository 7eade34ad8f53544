"""Bands: graphs whose edges are all pairs between two diagonals, known without their edges."""

from __future__ import annotations

from dataclasses import dataclass

from edgewise.graphs import Dilated, Facts, Graph, recall
from edgewise.graphs.facts import band_pairs

__all__ = ["Band", "band"]


@dataclass(frozen=True)
class Band:
    r"""A target reads all sources at certain distances, as far as there are sources.

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
    def strands(self) -> tuple[Band, ...]:
        """The bands without gaps that make it up: of every ``step``-th node, from each start.

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
    """The band that a graph is, as far as its facts prove it; None otherwise.

    Example:
        >>> from edgewise.graphs import Window
        >>> band(Window(9, left=2, right=0))
        Band(num_targets=9, num_sources=9, first=-2, last=0, step=1)
    """
    if isinstance(graph, Dilated) and graph.num_targets:
        left, right = graph.reach
        N, step = graph.num_targets, graph.dilation
        return Band(N, N, -left * step, right * step, step)
    facts: Facts = recall(graph, "facts", graph.facts)
    T, S, first, last = facts.num_targets, facts.num_sources, -facts.left, facts.right
    # No simple graph has more edges between two diagonals than there are pairs.
    full = facts.simple and facts.exact_edges and facts.max_edges == band_pairs(T, S, first, last)
    return Band(T, S, first, last) if full and facts.max_edges else None
