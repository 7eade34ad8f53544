"""Pieces of a row of a batch: intervals of queries that read intervals of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgewise.graphs import Blocks, Causal, Complete, Graph, Window, disjoint_union

__all__ = ["Interval", "Piece", "band", "chunks", "side_by_side"]

Interval = tuple[int, int]  # first, and one after the last


@dataclass(frozen=True)
class Piece:
    """An interval of targets, an interval of sources, and the graph between them.

    Attributes:
        targets: Rows.
        sources: Columns.
        graph: Graph between both.
    """

    targets: Interval
    sources: Interval
    graph: Graph


def band(queries: Interval, keys: Interval, left: int | None, right: int | None) -> Piece | None:
    r"""The piece in which :math:`-right \le q - k \le left`, without isolated rows.

    Args:
        queries: Positions of the queries.
        keys: Positions of the keys.
        left: Largest distance backwards; None without a limit.
        right: Largest distance forwards; None without a limit.

    Example:
        >>> band((3, 5), (0, 5), left=None, right=0)
        Piece(targets=(3, 5), sources=(0, 5), graph=Causal(2, 5))
        >>> band((4, 5), (0, 5), left=2, right=0)
        Piece(targets=(4, 5), sources=(2, 5), graph=Complete(1, 3))
    """
    (q0, q1), (k0, k1) = queries, keys
    far = max(q1, k1) - min(q0, k0)
    left, right = far if left is None else left, far if right is None else right
    if left + right < 0:
        return None  # an empty window
    q0, q1 = max(q0, k0 - right), min(q1, k1 + left)
    k0, k1 = max(k0, q0 - left), min(k1, q1 + right)
    if q0 >= q1 or k0 >= k1:
        return None
    # `Window` counts from the last target and the last source, whose positions may differ.
    apart = q1 - k1
    graph = _window(q1 - q0, k1 - k0, left - apart, right + apart)
    return Piece((q0, q1), (k0, k1), graph)


@lru_cache(maxsize=4096)
def _window(targets: int, sources: int, left: int, right: int) -> Graph:
    """The simplest family with these edges."""
    if left >= sources - 1:
        if right >= targets - 1:
            return Complete(targets, sources)
        if right == 0:
            return Causal(targets, sources)
    return Window(targets, sources, left=min(left, sources), right=min(right, targets))


@lru_cache(maxsize=4096)
def _idle(targets: int, sources: int) -> Graph:
    """Isolated nodes."""
    return Complete(targets, sources)


def chunks(
    queries: Interval, keys: Interval, left: int | None, right: int | None, size: int, start: int
) -> list[Piece]:
    """The pieces of `band` within chunks of positions.

    Args:
        queries: Positions of the queries.
        keys: Positions of the keys.
        left: Largest distance backwards; None without a limit.
        right: Largest distance forwards; None without a limit.
        size: Positions of a chunk.
        start: Position of the first chunk.
    """
    first = start + (min(queries[0], keys[0]) - start) // size * size
    pieces: list[Piece] = []
    for low in range(first, max(queries[1], keys[1]), size):
        inside = (low, low + size)
        piece = band(_cut(queries, inside), _cut(keys, inside), left, right)
        if piece is not None:
            pieces.append(piece)
    return pieces


def _cut(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), min(a[1], b[1])


def side_by_side(pieces: Sequence[Piece], targets: int, sources: int) -> Graph:
    """Pieces as one graph; nodes between them are isolated.

    Args:
        pieces: In rising order, of targets and of sources.
        targets: Rows of the whole.
        sources: Columns of the whole.

    Example:
        >>> side_by_side([Piece((0, 2), (0, 2), Complete(2))], 3, 3)
        Blocks([2, 1, 0], [2, 0, 1])
    """
    if len(pieces) == 1 and (pieces[0].targets, pieces[0].sources) == ((0, targets), (0, sources)):
        return pieces[0].graph
    row = column = 0
    parts: list[Graph] = []
    end = Piece((targets, targets), (sources, sources), Complete(0, 0))
    for piece in (*pieces, end):
        (t0, t1), (s0, s1) = piece.targets, piece.sources
        if t0 > row:
            parts.append(_idle(t0 - row, 0))
        if s0 > column:
            parts.append(_idle(0, s0 - column))
        if t1 > t0:
            parts.append(piece.graph)
        row, column = t1, s1
    if all(type(part) is Complete for part in parts):
        return Blocks([p.num_targets for p in parts], [p.num_sources for p in parts])
    return disjoint_union(parts)
