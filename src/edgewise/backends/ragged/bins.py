"""Bins: blocks of nearly one size, which are computed together; made from their sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.layouts import Ragged

__all__ = ["Bin", "bins", "coarse_bins"]

Ints = npt.NDArray[np.int64]
_LARGE = 256 * 256  # pairs of a block that keeps the kernel busy on its own
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


def bins(found: Ragged) -> tuple[Bin, ...]:
    """Blocks of nearly one size together; large ones alone, unless they stand evenly spaced.

    Complexity: O(blocks * log(blocks)).
    """
    large = found.targets.astype(float) * found.sources >= _LARGE  # 64 bits may be too few
    rows = np.where(large, found.targets, _rounded(found.targets))
    columns = np.where(large, found.sources, _rounded(found.sources))
    parted: list[Bin] = []
    for one in _binned(found, rows, columns):
        first = one.members[0]
        if large[first] and not _evenly_spaced(found, one.members):
            parted += [_bin(found, each) for each in one.members[:, None]]
        else:
            parted.append(one)
    return tuple(parted)


def coarse_bins(found: Ragged) -> tuple[Bin, ...]:
    """Few bins, of blocks whose sizes are less than a factor of two apart."""
    return tuple(_binned(found, _power(found.targets), _power(found.sources)))


def _binned(found: Ragged, rows: Ints, columns: Ints) -> list[Bin]:
    """Blocks of one key and kind together, in the order of their first block."""
    if not found.num_blocks:
        return []
    square = found.targets == found.sources  # what torch takes for causal
    keys = np.stack([rows, columns, found.causal, found.causal & square])
    _, first, which = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel()))
    members = np.split(order, ends[:-1])
    return [_bin(found, members[i]) for i in np.argsort(first)]


def _bin(found: Ragged, members: Ints) -> Bin:
    if len(members) == 1:  # there may be thousands of large ones
        at = int(members[0])
        rows, columns = int(found.targets[at]), int(found.sources[at])
        return Bin(members, rows, columns, bool(found.causal[at]), rows == columns, padded=False)
    rows, columns = found.targets[members], found.sources[members]
    return Bin(
        members,
        int(rows.max()),
        int(columns.max()),
        causal=bool(found.causal[members[0]]),
        square=bool((rows == columns).all()),
        padded=bool(columns.min() < columns.max()),
    )


def _rounded(sizes: Ints) -> Ints:
    """Up to a power of two, and from the kernel's step on to a multiple of it."""
    return np.where(sizes < _STEP, _power(sizes), -(-sizes // _STEP) * _STEP)


def _power(sizes: Ints) -> Ints:
    """Up to a power of two."""
    return 1 << np.ceil(np.log2(sizes)).astype(np.int64)


def _evenly_spaced(found: Ragged, members: Ints) -> bool:
    starts = (found.first_target[members], found.first_source[members])
    return all(len(np.unique(np.diff(each))) <= 1 for each in starts)
