"""Facts: bounds on a graph, and those of unions, differences and compositions.

A fact is a number with a direction of error: it **may be loose, never false**, so a planner may
rely on it. Every graph family defines its facts; the algebra of graphs (union,
difference, composition, ...) combines them with the functions of this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgewise.errors import GraphError
from edgewise.graphs.cuts import Cuts

__all__ = [
    "Facts",
    "facts_of_composition",
    "facts_of_difference",
    "facts_of_disjoint_union",
    "facts_of_intersection",
    "facts_of_permutation",
    "facts_of_reverse",
    "facts_of_union",
    "provably_disjoint",
]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """Sound bounds on a graph: everything that the planner reads of it.

    Attributes:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``.
        min_edges: At least so many edges, copies counted.
        max_edges: At most so many edges, copies counted.
        left: For every edge, ``target - source <= left``.
        right: For every edge, ``source - target <= right``.
        min_in_degree: Every target has at least so many edges.
        max_in_degree: Every target has at most so many edges.
        min_out_degree: Every source has at least so many edges.
        max_out_degree: Every source has at most so many edges.
        simple: True proves that no edge occurs twice.
        cuts: Diagonal blocks that hold all edges.

    Example:
        >>> from edgewise import Causal, Window
        >>> facts = (Window(6, left=2, right=2) & Causal(6)).facts()
        >>> facts.left, facts.right, facts.max_in_degree, facts.max_edges
        (2, 0, 3, 15)
    """

    num_targets: int
    num_sources: int
    min_edges: int
    max_edges: int
    left: int
    right: int
    min_in_degree: int
    max_in_degree: int
    min_out_degree: int
    max_out_degree: int
    simple: bool
    cuts: Cuts

    @classmethod
    def bounded(
        cls,
        num_targets: int,
        num_sources: int,
        *,
        min_edges: int = 0,
        max_edges: int | None = None,
        left: int | None = None,
        right: int | None = None,
        in_degree: tuple[int, int | None] = (0, None),
        out_degree: tuple[int, int | None] = (0, None),
        simple: bool = True,
        cuts: Cuts | None = None,
    ) -> Facts:
        """Build facts from given bounds, and tighten each number by what the others imply.

        >>> Facts.bounded(4, 4, left=1, right=0).max_in_degree
        2
        """
        T, S = num_targets, num_sources
        left = max(T - 1, 0) if left is None else min(left, max(T - 1, 0))
        right = max(S - 1, 0) if right is None else min(right, max(S - 1, 0))
        cuts = Cuts.none(T, S) if cuts is None else cuts
        if (cuts.targets[-1], cuts.sources[-1]) != (T, S):
            raise GraphError(
                f"Facts: cuts must end at the corner ({T}, {S}) of the graph, got "
                f"({cuts.targets[-1]}, {cuts.sources[-1]}). Add the last corner."
            )
        min_in, max_in = in_degree
        min_out, max_out = out_degree
        if simple:
            band = max(left + right + 1, 0)
            widest, tallest = int(cuts.source_sizes.max()), int(cuts.target_sizes.max())
            max_in = min(S, band, widest, S if max_in is None else max_in)
            max_out = min(T, band, tallest, T if max_out is None else max_out)
            ceiling = min(cuts.num_pairs, band_pairs(T, S, -left, right))
            max_edges = ceiling if max_edges is None else min(max_edges, ceiling)
        if max_edges is None:
            raise GraphError(
                "Facts: max_edges must be given when simple=False, got None: a graph may hold any "
                "number of copies of an edge. Pass the number of edges."
            )
        max_in = max_edges if max_in is None else min(max_in, max_edges)
        max_out = max_edges if max_out is None else min(max_out, max_edges)
        max_edges = min(max_edges, T * max_in, S * max_out)
        min_edges = max(min_edges, T * min_in, S * min_out)
        return cls(
            T,
            S,
            min_edges,
            max_edges,
            left,
            right,
            min_in,
            min(max_in, max_edges),
            min_out,
            min(max_out, max_edges),
            simple,
            cuts,
        )

    @cached_property
    def density(self) -> float:
        """Largest share of all target-source pairs that can be edges, copies counted."""
        return self.max_edges / max(self.num_targets * self.num_sources, 1)

    @property
    def exact_edges(self) -> bool:
        """Whether the bounds give the exact number of edges."""
        return self.min_edges == self.max_edges

    @property
    def complete(self) -> bool:
        """Proves that every target-source pair is an edge, once."""
        return self.simple and self.min_edges == self.num_targets * self.num_sources

    @property
    def causal(self) -> bool:
        """Proves that no target reads a later source, both ends aligned."""
        return self.max_edges == 0 or self.right <= self.num_sources - self.num_targets

    @property
    def fully_causal(self) -> bool:
        """Proves that the graph is exactly the causal graph of its size."""
        T, S = self.num_targets, self.num_sources
        return self.simple and self.causal and self.min_edges == causal_pairs(T, S)

    @property
    def distinct_min_edges(self) -> int:
        """At least so many different target-source pairs are edges."""
        return self.min_edges if self.simple else min(self.min_edges, 1)

    @property
    def distinct_min_in_degree(self) -> int:
        """Every target has at least so many different sources."""
        return self.min_in_degree if self.simple else min(self.min_in_degree, 1)

    @property
    def distinct_min_out_degree(self) -> int:
        """Every source has at least so many different targets."""
        return self.min_out_degree if self.simple else min(self.min_out_degree, 1)


def causal_pairs(num_targets: int, num_sources: int) -> int:
    """Number of edges of the end-aligned causal graph: ``sum_t max(0, t + 1 + S - T)``.

    >>> causal_pairs(3, 3), causal_pairs(1, 5), causal_pairs(3, 2)
    (6, 5, 3)
    """
    offset = num_sources - num_targets
    rows = num_targets if offset >= 0 else num_targets + offset
    first = 1 + max(offset, 0)
    return max(rows, 0) * (2 * first + rows - 1) // 2


def band_pairs(num_targets: int, num_sources: int, first: int, last: int) -> int:
    """Number of pairs with ``first <= source - target <= last``, in closed form.

    >>> band_pairs(3, 3, -1, 0), band_pairs(2, 9, 0, 2)
    (5, 6)
    """
    if last < first:
        return 0

    def below(diagonal: int) -> int:
        """Pairs with ``source <= target + diagonal``: end-aligned causal after a shift."""
        rows_before = max(0, -diagonal)  # targets without a source
        rows = max(0, num_targets - rows_before)
        start = max(diagonal, 0) + 1  # sources of the first such target
        growing = max(0, min(rows, num_sources - start + 1)) if start <= num_sources else 0
        full = rows - growing
        return growing * (2 * start + growing - 1) // 2 + full * num_sources

    return below(last) - below(first - 1)


def provably_disjoint(a: Facts, b: Facts) -> bool:
    """Whether facts alone prove that two graphs share no edge (their diagonals do not meet)."""
    return a.max_edges == 0 or b.max_edges == 0 or a.right < -b.left or b.right < -a.left


def facts_of_union(a: Facts, b: Facts) -> Facts:
    """Facts of the set union; the result is simple."""
    disjoint = provably_disjoint(a, b)
    lower = (
        a.distinct_min_edges + b.distinct_min_edges
        if disjoint
        else max(a.distinct_min_edges, b.distinct_min_edges)
    )
    if a.max_edges == 0 or b.max_edges == 0:
        left, right = (b.left, b.right) if a.max_edges == 0 else (a.left, a.right)
    else:
        left, right = max(a.left, b.left), max(a.right, b.right)
    return Facts.bounded(
        a.num_targets,
        a.num_sources,
        min_edges=lower,
        max_edges=a.max_edges + b.max_edges,
        left=left,
        right=right,
        in_degree=(
            max(a.distinct_min_in_degree, b.distinct_min_in_degree),
            a.max_in_degree + b.max_in_degree,
        ),
        out_degree=(
            max(a.distinct_min_out_degree, b.distinct_min_out_degree),
            a.max_out_degree + b.max_out_degree,
        ),
        cuts=a.cuts.common(b.cuts),
    )


def facts_of_intersection(a: Facts, b: Facts) -> Facts:
    """Facts of the edges that both graphs have; the result is simple."""
    T, S = a.num_targets, a.num_sources
    return Facts.bounded(
        T,
        S,
        min_edges=max(0, a.distinct_min_edges + b.distinct_min_edges - T * S),
        max_edges=min(a.max_edges, b.max_edges),
        left=min(a.left, b.left),
        right=min(a.right, b.right),
        in_degree=(
            max(0, a.distinct_min_in_degree + b.distinct_min_in_degree - S),
            min(a.max_in_degree, b.max_in_degree),
        ),
        out_degree=(
            max(0, a.distinct_min_out_degree + b.distinct_min_out_degree - T),
            min(a.max_out_degree, b.max_out_degree),
        ),
        cuts=a.cuts.finer(b.cuts),
    )


def facts_of_difference(a: Facts, b: Facts) -> Facts:
    """Facts of the edges that ``a`` has and ``b`` has not; the result is simple."""
    T, S = a.num_targets, a.num_sources
    if provably_disjoint(a, b):
        b = replace(b, max_edges=0, max_in_degree=0, max_out_degree=0)
    return Facts.bounded(
        T,
        S,
        min_edges=max(0, a.distinct_min_edges - b.max_edges),
        max_edges=min(a.max_edges, T * S - b.distinct_min_edges),
        left=a.left,
        right=a.right,
        in_degree=(
            max(0, a.distinct_min_in_degree - b.max_in_degree),
            min(a.max_in_degree, S - b.distinct_min_in_degree),
        ),
        out_degree=(
            max(0, a.distinct_min_out_degree - b.max_out_degree),
            min(a.max_out_degree, T - b.distinct_min_out_degree),
        ),
        cuts=a.cuts,
    )


def facts_of_reverse(a: Facts) -> Facts:
    """Facts of the graph whose edges all point the other way."""
    return Facts(
        a.num_sources,
        a.num_targets,
        a.min_edges,
        a.max_edges,
        a.right,
        a.left,
        a.min_out_degree,
        a.max_out_degree,
        a.min_in_degree,
        a.max_in_degree,
        a.simple,
        a.cuts.swapped(),
    )


def facts_of_composition(outer: Facts, inner: Facts) -> Facts:
    """Facts of ``target -> middle -> source``; the result is simple."""
    T, S = outer.num_targets, inner.num_sources
    min_in = inner.distinct_min_in_degree if outer.min_in_degree > 0 else 0
    min_out = outer.distinct_min_out_degree if inner.min_out_degree > 0 else 0
    empty = outer.max_edges == 0 or inner.max_edges == 0
    return Facts.bounded(
        T,
        S,
        max_edges=0 if empty else None,
        left=outer.left + inner.left,
        right=outer.right + inner.right,
        in_degree=(min_in, outer.max_in_degree * inner.max_in_degree),
        out_degree=(min_out, inner.max_out_degree * outer.max_out_degree),
    )


def facts_of_permutation(a: Facts) -> Facts:
    """Facts that hold under any relabelling of targets and sources."""
    return Facts.bounded(
        a.num_targets,
        a.num_sources,
        min_edges=a.min_edges,
        max_edges=a.max_edges,
        in_degree=(a.min_in_degree, a.max_in_degree),
        out_degree=(a.min_out_degree, a.max_out_degree),
        simple=a.simple,
    )


def facts_of_disjoint_union(parts: Sequence[Facts]) -> Facts:
    """Facts of a block-diagonal graph; vectorised over thousands of parts."""
    if not parts:
        return Facts.bounded(0, 0)

    def column(values: Iterable[int]) -> Ints:
        return np.fromiter(values, dtype=np.int64, count=len(parts))

    rows, columns = column(p.num_targets for p in parts), column(p.num_sources for p in parts)
    row_ends, column_ends = np.cumsum(rows), np.cumsum(columns)
    shift = (row_ends - rows) - (column_ends - columns)
    holds_edges = column(p.max_edges > 0 for p in parts) > 0
    T, S = int(row_ends[-1]), int(column_ends[-1])
    left = (column(p.left for p in parts) + shift)[holds_edges]
    right = (column(p.right for p in parts) - shift)[holds_edges]
    cut_targets = [
        p.cuts.targets[1:] + start
        for p, start in zip(parts, (row_ends - rows).tolist(), strict=True)
    ]
    cut_sources = [
        p.cuts.sources[1:] + start
        for p, start in zip(parts, (column_ends - columns).tolist(), strict=True)
    ]
    with_rows = [p for p in parts if p.num_targets]
    with_columns = [p for p in parts if p.num_sources]
    return Facts.bounded(
        T,
        S,
        min_edges=sum(p.min_edges for p in parts),
        max_edges=sum(p.max_edges for p in parts),
        left=int(left.max()) if left.size else 0,
        right=int(right.max()) if right.size else 0,
        in_degree=(
            min((p.min_in_degree for p in with_rows), default=0),
            max((p.max_in_degree for p in with_rows), default=0),
        ),
        out_degree=(
            min((p.min_out_degree for p in with_columns), default=0),
            max((p.max_out_degree for p in with_columns), default=0),
        ),
        simple=all(p.simple for p in parts),
        cuts=Cuts(np.concatenate([[0], *cut_targets]), np.concatenate([[0], *cut_sources])),
    )
