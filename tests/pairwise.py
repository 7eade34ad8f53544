"""Pairwise cover: of all combinations of some parameters, a few that hold every pair of values.

Most faults need one value of one parameter, or of two together, so these few combinations find
nearly all of what the whole table finds (Kuhn, Wallace, Gallo 2004, IEEE TSE 30(6)). The others
keep their place in the table and carry the mark ``slow``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from random import Random
from typing import Any

import pytest

__all__ = ["cover", "crossed", "first_of"]

Row = tuple[int, ...]


def cover(sizes: Sequence[int], strength: int = 2) -> set[Row]:
    """Rows of indices, ``row[i] < sizes[i]``, that hold all values of any ``strength`` columns.

    Greedy: each row that is added holds the most groups of values that are still missing. The same
    sizes give the same rows.
    """
    rows = list(product(*map(range, sizes)))
    Random(0).shuffle(rows)
    columns = list(combinations(range(len(sizes)), min(strength, len(sizes))))
    groups = {row: {(each, *(row[i] for i in each)) for each in columns} for row in rows}
    missing = set().union(*groups.values())
    chosen: set[Row] = set()
    while missing:
        best = max(rows, key=lambda row: len(groups[row] & missing))
        chosen.add(best)
        missing -= groups[best]
    return chosen


def crossed(
    *axes: Iterable[Any], strength: int = 2, ids: Sequence[Callable[[Any], str] | None] = ()
) -> list[Any]:
    """Every combination as a pytest parameter; those outside a cover are marked ``slow``.

    Args:
        axes: The values of each parameter.
        strength: 2 for a pairwise cover, 1 for one that only holds every value.
        ids: For each parameter the text of a value; ``str`` where there is none.
    """
    values = [list(axis) for axis in axes]
    names = [*ids, *[None] * (len(values) - len(ids))]
    chosen = cover([len(axis) for axis in values], strength)
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(values, row, strict=True)),
            id="-".join(
                (name or str)(axis[i]) for name, axis, i in zip(names, values, row, strict=True)
            ),
            marks=() if row in chosen else pytest.mark.slow,
        )
        for row in product(*(range(len(axis)) for axis in values))
    ]


def first_of(count: int, values: Iterable[Any]) -> list[Any]:
    """Values as pytest parameters; all but the first ``count`` are marked ``slow``."""
    return [
        pytest.param(value, marks=() if place < count else pytest.mark.slow)
        for place, value in enumerate(values)
    ]
