"""Cuts: the corners between the diagonal blocks of a graph."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgewise.errors import GraphError

__all__ = ["Cuts"]

Ints = npt.NDArray[np.int64]


class Cuts:
    """Corners between the diagonal blocks of a graph: a chain of (target, source) points.

    Between two neighbouring corners lies a block; **every edge lies inside one block**. The
    corners ``(0, 0)`` and ``(num_targets, num_sources)`` always belong, so a graph without facts
    is one block.

    Attributes:
        targets: Where blocks end: ``[blocks + 1]``, from 0.
        sources: The same for columns.
        target_sizes: Rows of each block.
        source_sizes: Columns of each block.
    """

    __slots__ = ("source_sizes", "sources", "target_sizes", "targets")

    def __init__(self, targets: Sequence[int] | Ints, sources: Sequence[int] | Ints) -> None:
        self.targets: Ints = np.asarray(targets, dtype=np.int64)
        self.sources: Ints = np.asarray(sources, dtype=np.int64)
        self.target_sizes: Ints = self.targets[1:] - self.targets[:-1]
        self.source_sizes: Ints = self.sources[1:] - self.sources[:-1]
        for name, ends, sizes in (
            ("targets", self.targets, self.target_sizes),
            ("sources", self.sources, self.source_sizes),
        ):
            if len(ends) != len(self.targets) or len(ends) < 2 or ends[0] or (sizes < 0).any():
                raise GraphError(
                    f"Cuts: {name} must rise from 0 to the number of {name}, one number more than "
                    f"blocks, got {reprlib.repr(ends.tolist())}. List the corners in order, "
                    f"from (0, 0)."
                )

    @classmethod
    def none(cls, num_targets: int, num_sources: int) -> Cuts:
        """One block that holds everything."""
        return cls([0, num_targets], [0, num_sources])

    @property
    def num_blocks(self) -> int:
        """Number of diagonal blocks, at least one."""
        return len(self.targets) - 1

    @property
    def num_pairs(self) -> int:
        """Cells inside the blocks: an upper bound on the distinct edges."""
        if int(self.targets[-1]) * int(self.sources[-1]) < 2**63:
            return int((self.target_sizes * self.source_sizes).sum())
        return sum(map(operator.mul, self.target_sizes.tolist(), self.source_sizes.tolist()))

    def common(self, other: Cuts) -> Cuts:
        """The corners both chains share: blocks that hold the edges of either graph."""
        mine = np.stack([self.targets, self.sources])
        theirs = {(int(t), int(s)) for t, s in zip(other.targets, other.sources, strict=True)}
        keep = [i for i, (t, s) in enumerate(mine.T.tolist()) if (t, s) in theirs]
        return Cuts(self.targets[keep], self.sources[keep])

    def finer(self, other: Cuts) -> Cuts:
        """The chain with more corners: either holds the edges that both graphs have."""
        return self if self.num_blocks >= other.num_blocks else other

    def swapped(self) -> Cuts:
        """The chain of the reversed graph."""
        return Cuts(self.sources, self.targets)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Cuts)
            and np.array_equal(self.targets, other.targets)
            and np.array_equal(self.sources, other.sources)
        )

    def __hash__(self) -> int:
        return hash((self.targets.tobytes(), self.sources.tobytes()))

    def __repr__(self) -> str:
        if self.num_blocks > 8:
            return f"<{self.num_blocks} blocks>"
        return f"Cuts({self.targets.tolist()}, {self.sources.tolist()})"
