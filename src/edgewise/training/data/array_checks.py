"""Checks of arrays from files: shape and dtype."""

from __future__ import annotations

import numpy as np

from edgewise.errors import DataError

__all__ = ["check_edge_index", "check_finite", "check_numbers", "check_whole"]


def check_edge_index(name: str, edges: np.ndarray) -> None:
    """Check that edges are two rows of whole numbers.

    Raises:
        DataError: they have another shape or dtype.
    """
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise DataError(
            f"{name}: edge_index has to be [2, edges] (sources, targets), got "
            f"{list(edges.shape)}. Transpose a list of pairs."
        )
    check_whole(name, "edge_index", edges)


def check_whole(name: str, key: str, array: np.ndarray) -> None:
    """Check that an array has an integer dtype; an empty array may have any dtype.

    Raises:
        DataError: it has another dtype.
    """
    if array.size and array.dtype.kind not in "iu":
        what = "node numbers" if key == "edge_index" else "it"
        raise DataError(
            f"{name}: {key} has to hold whole numbers, got {array.dtype}. Save {what} as int64."
        )


def check_numbers(name: str, key: str, array: np.ndarray) -> None:
    """Check that an array holds real numbers: no text, complex numbers or records.

    Raises:
        DataError: the dtype is no real number.
    """
    if array.dtype.kind in "fiub":
        return
    cures = {
        "c": "Save real and imaginary parts as columns.",
        "U": "Number the names from 0, for example by numpy.unique(.., return_inverse=True).",
        "S": "Number the names from 0, for example by numpy.unique(.., return_inverse=True).",
    }
    cure = cures.get(array.dtype.kind, "Save it as float32 or int64.")
    raise DataError(f"{name}: {key} has to hold numbers, got {array.dtype}. {cure}")


def check_finite(name: str, key: str, array: np.ndarray) -> None:
    """Refuse what is no number, and NaN and infinite numbers.

    Raises:
        DataError: the dtype is no real number, or a number is not finite.
    """
    check_numbers(name, key, array)
    rows = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if bad.size:
        raise DataError(
            f"{name}: {key} holds NaN or an infinite number, first in row {bad[0]}. "
            f"Fill in or remove missing features."
        )
