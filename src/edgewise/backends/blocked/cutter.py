"""The cutter of clusters of edges: which graphs may be cut, their tiles, and what those cost."""

from __future__ import annotations

from collections.abc import Hashable

from edgewise.backends.base import Accepts
from edgewise.backends.blocked.eager import EagerTiling
from edgewise.backends.blocked.price import amount, counted, memory_of, work_of
from edgewise.backends.blocked.tiling import Tiling
from edgewise.backends.blocked.traced import TracedTiling
from edgewise.backends.tiled import Cut
from edgewise.layouts import band, ragged
from edgewise.problem import AttentionProblem

__all__ = ["ClusterCutter"]


class ClusterCutter:
    """The cutter of clusters of edges into dense tiles: the tiles of a grid that hold an edge."""

    pieces = "tiles"

    def graph_refusal(self, problem: AttentionProblem) -> str | None:
        if problem.facts.simple:
            return None
        return "the graph may hold copies of an edge, and a tile holds one; merge the copies"

    def accept(self, problem: AttentionProblem) -> Accepts:
        tiles = amount(problem.graph, problem.facts)
        return Accepts(
            work_of(problem, tiles),
            memory_of(problem, tiles),
            way="dense tiles",
            pairs=tiles.pairs,
            on_request=_better_as(problem),
            spreads=True,
            hides=True,
        )

    def key(self, problem: AttentionProblem) -> Hashable:
        return None

    def cut(self, problem: AttentionProblem) -> Cut:
        tiling = Tiling.of(problem.graph, counted(problem.graph).block)
        return Cut(EagerTiling(tiling), TracedTiling(tiling))


def _better_as(problem: AttentionProblem) -> str | None:
    """The reason not to choose these tiles: those of a band or of blocks are views, not copies."""
    graph = problem.graph
    if problem.facts.min_in_degree == 0 or not (band(graph) or ragged(graph)):
        return None
    return (
        "windows and blocks have tiles that need no copies of keys and values; ask for these with "
        "backend='blocked'"
    )
