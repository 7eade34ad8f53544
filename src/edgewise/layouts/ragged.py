"""Ragged graphs: diagonal blocks of any sizes, each complete or causal, detected from facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from edgewise.graphs import (
    Causal,
    Complete,
    DisjointUnion,
    Facts,
    Graph,
    Intersection,
    facts_of,
    recall,
)
from edgewise.graphs.cuts import Cuts

__all__ = ["Ragged", "ragged"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ragged:
    r"""Disjoint blocks of targets, each with the block of sources that it reads.

    .. math::  (s \to t) \in E \iff \exists b: t \in T_b, s \in S_b, \text{ and, where } b
               \text{ is causal, } s \text{ is not after } t \text{ (ends aligned)}

    Blocks without an edge are left out. So are the first targets of a causal block that has more
    targets than sources, because they read nothing.

    Attributes:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``.
        first_target: First row of each block.
        targets: Rows of each block, at least one.
        first_source: First column of each block.
        sources: Columns of each block: at least one, and no fewer than rows if it is causal.
        causal: Whether a block is causal rather than complete.
    """

    num_targets: int
    num_sources: int
    first_target: Ints
    targets: Ints
    first_source: Ints
    sources: Ints
    causal: Bools

    @classmethod
    def of(cls, cuts: Cuts, causal: bool | Bools) -> Ragged:
        """The blocks between cuts; ``causal`` is given for all of them or for each."""
        targets, sources = cuts.target_sizes, cuts.source_sizes
        masked = np.broadcast_to(np.asarray(causal, dtype=np.bool_), targets.shape)
        idle = np.where(masked, np.maximum(targets - sources, 0), 0)
        held = (targets > idle) & (sources > 0)
        return cls(
            int(cuts.targets[-1]),
            int(cuts.sources[-1]),
            (cuts.targets[:-1] + idle)[held],
            (targets - idle)[held],
            cuts.sources[:-1][held],
            sources[held],
            (masked & (targets - idle > 1))[held],  # a single row reads everything
        )

    @property
    def num_blocks(self) -> int:
        """Blocks that have an edge."""
        return len(self.targets)

    @property
    def holds_all_targets(self) -> bool:
        """Whether every target reads something."""
        return int(self.targets.sum()) == self.num_targets

    @property
    def holds_all_sources(self) -> bool:
        """Whether every source is read."""
        return int(self.sources.sum()) == self.num_sources


def ragged(graph: Graph) -> Ragged | None:
    """The blocks of a graph if its facts prove that it consists of blocks; else None.

    Example:
        >>> from edgewise.graphs import disjoint_union
        >>> blocks = ragged(disjoint_union([Complete(2), Causal(3), Causal(3, 1)]))
        >>> blocks.targets.tolist(), blocks.sources.tolist(), blocks.causal.tolist()
        ([2, 3, 1], [2, 3, 1], [False, True, False])

    Complexity: O(blocks).
    """
    return recall(graph, "ragged", lambda: _ragged(graph, facts_of(graph)))


def _ragged(graph: Graph, facts: Facts) -> Ragged | None:
    cuts = facts.cuts
    whole = Cuts.none(facts.num_targets, facts.num_sources)
    if not facts.max_edges:
        return Ragged.of(whole, True) if not whole.num_pairs else None
    if facts.simple and facts.exact_edges:
        # No simple graph has more edges than there are pairs between its cuts.
        if facts.max_edges == cuts.num_pairs:
            return Ragged.of(cuts, False)
        if facts.fully_causal:
            return Ragged.of(whole, True)
        if _square(cuts) and facts.right <= 0 and facts.max_edges == _pairs_below(cuts):
            return Ragged.of(cuts, True)
    if isinstance(graph, DisjointUnion):
        return _side_by_side(graph.parts)
    if isinstance(graph, Intersection):
        return _both(graph.a.facts(), graph.b.facts())
    return None


def _side_by_side(parts: Sequence[Graph]) -> Ragged | None:
    """The blocks of all parts, if each is made of blocks."""
    ragged_parts: list[Ragged] = []
    # Most parts are of two families, and there may be thousands: do not compute facts of each.
    for plain, run in groupby(parts, lambda part: isinstance(part, Complete | Causal)):
        if plain:
            listed = list(run)
            sizes = [(0, 0), *((part.num_targets, part.num_sources) for part in listed)]
            rows, columns = np.cumsum(np.array(sizes), 0).T
            causal = np.array([isinstance(part, Causal) for part in listed])
            ragged_parts.append(Ragged.of(Cuts(rows, columns), causal))
            continue
        for part in run:
            blocks = _ragged(part, part.facts())
            if blocks is None:
                return None
            ragged_parts.append(blocks)
    return _joined(ragged_parts)


def _joined(parts: Sequence[Ragged]) -> Ragged:
    rows = np.cumsum([0, *(part.num_targets for part in parts)])
    columns = np.cumsum([0, *(part.num_sources for part in parts)])
    shifts = list(zip(parts, rows.tolist(), columns.tolist(), strict=False))
    return Ragged(
        int(rows[-1]),
        int(columns[-1]),
        np.concatenate([part.first_target + row for part, row, _ in shifts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.first_source + column for part, _, column in shifts]),
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.causal for part in parts]),
    )


def _both(a: Facts, b: Facts) -> Ragged | None:
    """Blocks of an intersection of square blocks and the causal graph (packed documents)."""
    for blocks, order in ((a, b), (b, a)):
        full = blocks.simple and blocks.exact_edges and blocks.max_edges == blocks.cuts.num_pairs
        if full and _square(blocks.cuts) and order.fully_causal:
            return Ragged.of(blocks.cuts, True)
    return None


def _square(cuts: Cuts) -> bool:
    return np.array_equal(cuts.targets, cuts.sources)


def _pairs_below(cuts: Cuts) -> int:
    """Pairs of square blocks whose source is not after its target."""
    sizes = cuts.target_sizes
    if sizes.sum() >= 1 << 31:  # products may exceed 64 bits
        sizes = sizes.astype(object)
    return int((sizes * (sizes + 1) // 2).sum())
