"""A band cut into tiles: a block of rows, and the slab of columns that any of them reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgewise.layouts import Band

__all__ = ["Tiles"]


@dataclass(frozen=True)
class Tiles:
    """Equal tiles along the diagonal: tile ``i`` starts ``i * rows`` rows and columns further.

    Attributes:
        band: Which pairs of a tile are edges.
        count: Tiles.
        rows: Rows of each; no two tiles share one.
        columns: Columns of each; neighbours share all but ``rows`` of them.
        first_row: First row of the first tile.
        first_column: First column of the first tile.
    """

    band: Band
    count: int
    rows: int
    columns: int
    first_row: int
    first_column: int

    @classmethod
    def of(cls, band: Band, block: int) -> tuple[Tiles, ...]:
        """The tiles of a band without gaps: equal ones inside, and single ones at its ends."""
        T, S, first, last = band.num_targets, band.num_sources, band.first, band.last
        columns = block + last - first
        start = -(-max(0, -first) // block)
        stop = max(start, min(T // block, (S - first - columns) // block + 1))
        tiles: list[Tiles] = []
        for index in range(-(-T // block)):
            row = index * block
            if index == start and start < stop:
                tiles.append(cls(band, stop - start, block, columns, row, row + first))
            if start <= index < stop:
                continue
            rows = min(block, T - row)
            left, right = max(0, row + first), min(S, row + rows + last)
            if left < right:
                tiles.append(cls(band, 1, rows, right - left, row, left))
        return tuple(tiles)

    def in_groups(self, count: int) -> tuple[Tiles, ...]:
        """These tiles in groups of at most ``count``."""
        return tuple(
            Tiles(
                self.band,
                min(count, self.count - done),
                self.rows,
                self.columns,
                self.first_row + done * self.rows,
                self.first_column + done * self.rows,
            )
            for done in range(0, self.count, count)
        )

    @cached_property
    def edges(self) -> Tensor:
        """``[rows, columns]``, bool: which pairs are edges, the same in every tile."""
        rows = torch.arange(self.rows, device="cpu") + self.first_row
        columns = torch.arange(self.columns, device="cpu") + self.first_column
        distance = columns - rows[:, None]
        return (distance >= self.band.first) & (distance <= self.band.last)

    def rows_of(self, table: Tensor) -> Tensor:
        """``[planes, T, dim]`` as ``[tiles, planes, rows, dim]``: a view."""
        return self._slabs(table, self.first_row, self.rows)

    def columns_of(self, table: Tensor) -> Tensor:
        """``[planes, S, dim]`` as ``[tiles, planes, columns, dim]``: a view, which overlaps."""
        return self._slabs(table, self.first_column, self.columns)

    def add_columns(self, slabs: Tensor, total: Tensor) -> None:
        """Add what `columns_of` would have taken apart to ``[planes, S, dim]``."""
        for start in range(0, self.columns, self.rows):
            length = min(self.rows, self.columns - start)
            part = self._slabs(total, self.first_column + start, length)
            part += slabs[:, :, start : start + length]

    def _slabs(self, table: Tensor, first: int, length: int) -> Tensor:
        """``[planes, nodes, dim]`` as ``[tiles, planes, length, dim]`` from row ``first``."""
        plane, row, channel = table.stride()
        shape = (self.count, table.shape[0], length, table.shape[2])
        stride = (self.rows * row, plane, row, channel)
        return table.as_strided(shape, stride, table.storage_offset() + first * row)
