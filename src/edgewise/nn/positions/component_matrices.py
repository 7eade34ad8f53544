"""Small connected components as square matrices, many of one size at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgewise.layouts import Edges
from edgewise.nn.positions.components import Components

__all__ = ["Run", "Squares", "squares"]

_LINE = 4  # rows whose squares fill whole lines of memory: products take a third of the time
_CELLS = 1 << 24  # of all matrices that lie in memory at once, 1 to 4 bytes each


@dataclass(frozen=True, eq=False)
class Run:
    """Some components whose matrices have one size.

    Attributes:
        parts: The components of the whole graph.
        size: Rows and columns ``n`` of a matrix, of which the last may belong to no node.
        first: The first of these components.
        last: The first one after these that is not.
        first_cell: Where their matrices begin among all cells.
    """

    parts: Components
    size: int
    first: int
    last: int
    first_cell: int

    @property
    def sizes(self) -> Tensor:
        """Nodes of each component: ``[B]``."""
        return self.parts.sizes[self.first : self.last]

    def matrices(self, cells: Tensor) -> Tensor:
        """Their matrices, a view of all cells: ``[B, n, n]``."""
        B, n = self.last - self.first, self.size
        return cells[self.first_cell : self.first_cell + B * n * n].view(B, n, n)

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Give every node its row of ``[B, n, k]``, in the first ``k`` columns of ``out``."""
        parts = self.parts
        begin = int(parts.starts[self.first])
        nodes = parts.nodes[begin : begin + int(self.sizes.sum())]
        row = parts.label.index_select(0, nodes).sub_(self.first).mul_(self.size)
        row += parts.position.index_select(0, nodes)
        values = rows.flatten(0, 1).index_select(0, row)
        out[:, : values.shape[1]].index_copy_(0, nodes, values.to(out.dtype))


@dataclass(frozen=True, eq=False)
class Squares:
    """Components ``first`` to ``last - 1``, each a square matrix; all of them one row of memory.

    Targets are rows and sources are columns. Sizes are rounded up to a multiple of 4.

    Attributes:
        parts: The components of the whole graph.
        first: The first component that is held.
        last: The first one after these that is not.
    """

    parts: Components
    first: int
    last: int

    @property
    def _whole(self) -> bool:
        return self.last - self.first == len(self.parts.sizes)

    @cached_property
    def _size(self) -> Tensor:
        """Rows of the matrix of every component of the graph."""
        return _rounded(self.parts.sizes)

    @cached_property
    def _start(self) -> Tensor:
        """The first cell of every component of the graph; only those held count."""
        size = self._size.clone()
        size[: self.first], size[self.last :] = 0, 0
        return (size * size).cumsum(0) - size * size

    @cached_property
    def num_cells(self) -> int:
        """Cells of all matrices."""
        return int((self._size[self.first : self.last] ** 2).sum())

    @cached_property
    def _line(self) -> Tensor:
        """The first cell in the row of every node: ``[N]``."""
        label = self.parts.label
        start, size = (by.index_select(0, label) for by in (self._start, self._size))
        return start + self.parts.position * size

    def among(self, target: Tensor, source: Tensor) -> tuple[Tensor | slice, Tensor]:
        """Which pairs lie inside a component that is held, and in which cell each of them does."""
        label = self.parts.label
        row, column = label.index_select(0, target), label.index_select(0, source)
        held = (row == column) & (row >= self.first) & (row < self.last)
        which: Tensor | slice = slice(None)
        if not bool(held.all()):
            which = held.nonzero()[:, 0]
            target, source = target[which], source[which]
        return which, self.cell(target, source)

    def edges_inside(self, walked: Edges) -> Tensor | slice:
        """Which edges of the graph itself lie in a component that is held."""
        if self._whole:
            return slice(None)
        label = self.parts.label.index_select(0, walked.target)
        return ((label >= self.first) & (label < self.last)).nonzero()[:, 0]

    def cell(self, target: Tensor, source: Tensor) -> Tensor:
        """The cells of pairs inside components that are held."""
        return self._line.index_select(0, target) + self.parts.position.index_select(0, source)

    def lines(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """The first cell in the row of each of these nodes, and how many cells the row has."""
        size = self._size.index_select(0, self.parts.label.index_select(0, node))
        return self._line.index_select(0, node), size

    def marks(self, walked: Edges, *, both: bool = False) -> Tensor:
        """1 where the graph has an edge (or, with ``both``, its reverse): ``[cells]``, uint8."""
        which = self.edges_inside(walked)
        target, source = walked.target[which], walked.source[which]
        marks = torch.zeros(self.num_cells, dtype=torch.uint8)
        marks.index_fill_(0, self.cell(target, source), 1)
        return marks.index_fill_(0, self.cell(source, target), 1) if both else marks

    def runs(self, most_cells: int) -> Iterator[Run]:
        """All components that are held, by size, at most so many cells at a time."""
        held = self._size[self.first : self.last]
        sizes, numbers = torch.unique_consecutive(held, return_counts=True)
        begin, cell = self.first, 0
        for size, number in zip(sizes.tolist(), numbers.tolist(), strict=True):
            step = max(1, most_cells // (size * size))
            for first in range(begin, begin + number, step):
                last = min(first + step, begin + number)
                yield Run(self.parts, size, first, last, cell)
                cell += (last - first) * size * size
            begin += number


def squares(parts: Components, largest: int) -> Iterator[Squares]:
    """The components of at most ``largest`` nodes, some millions of cells at a time.

    Example:
        >>> from edgewise.graphs import Complete, disjoint_union
        >>> from edgewise.nn import components
        >>> (held,) = squares(components(disjoint_union([Complete(3), Complete(5)])), largest=9)
        >>> [(run.size, run.sizes.tolist()) for run in held.runs(1000)]
        [(4, [3]), (8, [5])]
    """
    last = int(torch.searchsorted(parts.sizes, largest, right=True))
    ends = (_rounded(parts.sizes) ** 2).cumsum(0)
    first = before = 0
    while first < last:
        stop = int(torch.searchsorted(ends, before + _CELLS, right=True))
        stop = min(max(stop, first + 1), last)
        yield Squares(parts, first, stop)
        first, before = stop, int(ends[stop - 1])


def _rounded(sizes: Tensor) -> Tensor:
    return (sizes + _LINE - 1) // _LINE * _LINE
