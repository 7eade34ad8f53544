"""One row of a batch as pieces: an interval of queries that reads an interval of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgewise.graphs import Blocks, Causal, Complete, Graph, Window, disjoint_union

__all__ = ["Interval", "Piece", "band", "chunks", "side_by_side"]

Interval = tuple[int, int]  # first, and one after the last


@dataclass(frozen=True)
class Piece:
    """Targets of an interval that read sources of another, and nothing else.

    Attributes:
        targets: Rows.
        sources: Columns.
        graph: Who reads whom among them.
    """

    targets: Interval
    sources: Interval
    graph: Graph


def band(queries: Interval, keys: Interval, left: int | None, right: int | None) -> Piece | None:
    r"""The piece in which :math:`-right \le q - k \le left`, without rows that read nothing.

    Args:
        queries: Their positions.
        keys: Their positions, counted alike.
        left: How far back a query reads; None for without end.
        right: How far ahead; None for without end.

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
        return None  # a window of no width: no distance lies in it
    q0, q1 = max(q0, k0 - right), min(q1, k1 + left)
    k0, k1 = max(k0, q0 - left), min(k1, q1 + right)
    if q0 >= q1 or k0 >= k1:
        return None
    # `Window` counts from the last target and the last source, which may stand apart.
    apart = q1 - k1
    graph = _window(q1 - q0, k1 - k0, left - apart, right + apart)
    return Piece((q0, q1), (k0, k1), graph)


@lru_cache(maxsize=4096)
def _window(targets: int, sources: int, left: int, right: int) -> Graph:
    """The simplest way to say it."""
    if left >= sources - 1:
        if right >= targets - 1:
            return Complete(targets, sources)
        if right == 0:
            return Causal(targets, sources)
    return Window(targets, sources, left=min(left, sources), right=min(right, targets))


@lru_cache(maxsize=4096)
def _idle(targets: int, sources: int) -> Graph:
    """Nodes that read nothing, or are not read."""
    return Complete(targets, sources)


def chunks(
    queries: Interval, keys: Interval, left: int | None, right: int | None, size: int, start: int
) -> list[Piece]:
    """The same within chunks of positions, the first of which begins at ``start``."""
    first = start + (min(queries[0], keys[0]) - start) // size * size
    found: list[Piece] = []
    for low in range(first, max(queries[1], keys[1]), size):
        inside = (low, low + size)
        piece = band(_cut(queries, inside), _cut(keys, inside), left, right)
        if piece is not None:
            found.append(piece)
    return found


def _cut(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), min(a[1], b[1])


def side_by_side(pieces: Sequence[Piece], targets: int, sources: int) -> Graph:
    """Pieces as one graph; nodes between them read nothing and are not read.

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
