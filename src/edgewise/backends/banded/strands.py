"""Strands of a band: its parts without gaps, each with its tiles for both passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from edgewise.backends.banded.tiles import Tiles
from edgewise.layouts import Band
from edgewise.ops.cpu_flash import Tables, on_matrix_units

__all__ = ["Strand", "rows_of_tiles", "strands_of"]


@dataclass(frozen=True, eq=False)
class Strand:
    """A band without gaps, cut into tiles.

    Attributes:
        band: The band.
        nodes: Its nodes among those of the graph.
        block: Targets of a tile, forward.
        sources: Sources of a tile, backward.
    """

    band: Band
    nodes: slice
    block: int
    sources: int

    @cached_property
    def tiles(self) -> tuple[Tiles, ...]:
        """Blocks of targets with the sources they read."""
        return Tiles.of(self.band, self.block)

    @cached_property
    def reversed(self) -> tuple[Tiles, ...]:
        """Blocks of sources with the targets that read them."""
        return Tiles.of(self.band.reversed, self.sources)

    def of_tables(self, tables: Tables) -> Tables:
        """The rows of this strand in three tables ``[planes, nodes, ...]``: views."""
        first, second, third = tables
        return first[:, self.nodes], second[:, self.nodes], third[:, self.nodes]


def strands_of(band: Band, dtype: torch.dtype) -> tuple[Strand, ...]:
    """The strands of a band: one for each start, on every ``band.step``-th node."""
    return tuple(
        Strand(
            strand,
            slice(start, None, band.step),
            *rows_of_tiles(strand.last - strand.first, dtype),
        )
        for start, strand in enumerate(band.strands)
    )


def rows_of_tiles(steps: int, dtype: torch.dtype) -> tuple[int, int]:
    """Rows of a tile forward and backward, for rows that read ``steps + 1`` sources.

    Small tiles leave out more, large ones are faster for each pair, most of all on matrix units.
    """
    if on_matrix_units(dtype):
        both = _power_of_two(steps // 2, 64, 256)
        return both, both
    # Backward, a pair of a tile of 32 rows takes 1.4 times what it takes in larger ones.
    sources = 32 if steps < 64 else _power_of_two(steps // 4, 64, 128)
    return _power_of_two(steps // 16, 32, 128), sources


def _power_of_two(most: int, low: int, high: int) -> int:
    """The largest power of two up to ``most``, between two others."""
    return min(high, max(low, 1 << max(most, 1).bit_length() - 1))
