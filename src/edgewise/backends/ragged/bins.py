"""Bins: blocks of nearly one size, which are computed together; made from their sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.layouts import Ragged

__all__ = ["Bin", "bins", "coarse_bins"]

Ints = npt.NDArray[np.int64]
_LARGE = 256 * 256  # pairs of a block that is efficient in a kernel call of its own
_STEP = 16  # rows and columns of a tile that the kernel computes at the price of one


@dataclass(frozen=True, eq=False)
class Bin:
    """Blocks that are padded to one size.

    Attributes:
        members: Which blocks, ascending.
        rows: Rows of the largest.
        columns: Columns of the largest.
        causal: Whether its blocks are causal, or else complete.
        square: Whether every block has as many rows as columns.
        padded: Whether some block has fewer columns than the largest.
    """

    members: Ints
    rows: int
    columns: int
    causal: bool
    square: bool
    padded: bool

    @property
    def num_pairs(self) -> int:
        """Target-source pairs, padding among them."""
        return len(self.members) * self.rows * self.columns


def bins(blocks: Ragged) -> tuple[Bin, ...]:
    """The bins of blocks: by size; large blocks alone, unless they are evenly spaced.

    Complexity: O(blocks * log(blocks)).
    """
    large = blocks.targets.astype(float) * blocks.sources >= _LARGE  # 64 bits may be too few
    rows = np.where(large, blocks.targets, _rounded(blocks.targets))
    columns = np.where(large, blocks.sources, _rounded(blocks.sources))
    parted: list[Bin] = []
    for bin_ in _binned(blocks, rows, columns):
        first = bin_.members[0]
        if large[first] and not _evenly_spaced(blocks, bin_.members):
            parted += [_bin(blocks, each) for each in bin_.members[:, None]]
        else:
            parted.append(bin_)
    return tuple(parted)


def coarse_bins(blocks: Ragged) -> tuple[Bin, ...]:
    """Few bins, of blocks whose sizes are less than a factor of two apart."""
    return tuple(_binned(blocks, _power(blocks.targets), _power(blocks.sources)))


def _binned(blocks: Ragged, rows: Ints, columns: Ints) -> list[Bin]:
    """The bins of blocks with equal ``rows`` and ``columns``, by their first block.

    ``rows`` and ``columns`` are ``[blocks]``, int64.
    """
    if not blocks.num_blocks:
        return []
    square = blocks.targets == blocks.sources  # what torch takes for causal
    keys = np.stack([rows, columns, blocks.causal, blocks.causal & square])
    _, first, which = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel()))
    members = np.split(order, ends[:-1])
    return [_bin(blocks, members[i]) for i in np.argsort(first)]


def _bin(blocks: Ragged, members: Ints) -> Bin:
    if len(members) == 1:  # there may be thousands of large ones
        at = int(members[0])
        rows, columns = int(blocks.targets[at]), int(blocks.sources[at])
        return Bin(members, rows, columns, bool(blocks.causal[at]), rows == columns, padded=False)
    rows, columns = blocks.targets[members], blocks.sources[members]
    return Bin(
        members,
        int(rows.max()),
        int(columns.max()),
        causal=bool(blocks.causal[members[0]]),
        square=bool((rows == columns).all()),
        padded=bool(columns.min() < columns.max()),
    )


def _rounded(sizes: Ints) -> Ints:
    """Sizes rounded up to a power of two, and from the kernel's step on to a multiple of it."""
    return np.where(sizes < _STEP, _power(sizes), -(-sizes // _STEP) * _STEP)


def _power(sizes: Ints) -> Ints:
    """Sizes rounded up to a power of two."""
    return 1 << np.ceil(np.log2(sizes)).astype(np.int64)


def _evenly_spaced(blocks: Ragged, members: Ints) -> bool:
    starts = (blocks.first_target[members], blocks.first_source[members])
    return all(len(np.unique(np.diff(each))) <= 1 for each in starts)
