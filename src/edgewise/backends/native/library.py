"""The compiled library: loaded and checked once, or the reason why it cannot be used."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import Struct

import torch

from edgewise.errors import EdgewiseError

__all__ = [
    "AGGREGATE",
    "ATTENTION",
    "BACKWARD",
    "EIGENVECTORS",
    "PRODUCTS",
    "WALKS",
    "Library",
    "Record",
    "library",
    "run",
    "threads_for",
    "why_missing",
]

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_NAME = f"libedgewise_native{_SUFFIX}"
_VARIABLE = "EDGEWISE_NATIVE_LIBRARY"
_ONE_THREAD = 2_000_000  # edge-channels that one thread works through in about a millisecond


class Record:
    """A record of native/edgewise.h: 8 bytes a field, integers and pointers but for doubles.

    Attributes:
        place: The first field of each part, by its name.
        pack: From all fields to bytes.
        size: Bytes.
    """

    def __init__(self, *parts: str) -> None:
        self.place: dict[str, int] = {}
        fields = ""
        for part in parts:
            kind, names = part.split(": ")
            for name in names.split(", "):
                self.place[name] = len(fields)
                fields += _KINDS[kind]
        packer = Struct(f"={fields}")
        self.pack, self.size = packer.pack, packer.size


_KINDS = {"int": "q", "double": "d", "view": 4 * "q", "rows": 14 * "q"}
_ATTENTION = (
    "int: dtype, score, batch, heads, kv_heads, key_dim, value_dim, true_key_dim, true_value_dim",
    "int: threads, wide_out",
    "double: scale, softcap, slope",
    "int: drops, seed, threshold",
    "double: multiplier",
    "view: query, key, value, vector, bias, edge_key, edge_value, out",
    "int: lse",
    "rows: rows",
)
ATTENTION = Record(*_ATTENTION)
BACKWARD = Record(
    *_ATTENTION,
    "rows: reversed",
    "view: grad_out",
    "int: grad_lse, stats",
    "view: grad_query, grad_key, grad_value",
    "int: grad_vector",
    "view: grad_bias, grad_edge_key, grad_edge_value",
)
AGGREGATE = Record(
    "int: dtype, reduce, batch, channels, threads",
    "view: value, out, weight",
    "int: winner",
    "rows: rows",
)
PRODUCTS = Record(
    "int: dtype, batch, channels, threads",
    "view: target, source",
    "int: winner",
    "view: out",
    "rows: rows",
)
EIGENVECTORS = Record("int: count, size, first, wanted, threads, matrices, out")
WALKS = Record(
    "int: components, steps, threads, nodes, ends, position, indptr, indices, share, out"
)
_RECORDS = (ATTENTION, BACKWARD, AGGREGATE, PRODUCTS, EIGENVECTORS, WALKS)

Kernel = Callable[[bytes], int]


@dataclass(frozen=True)
class Library:
    """The kernels.

    Attributes:
        variant: The instruction set they were chosen for.
        threads: Whether they can use more than one thread.
        attention: Forward pass, from a packed record.
        statistics: What the backward pass needs of the forward pass.
        backward: Backward pass.
        aggregate: Sums, means and maxima.
        products: Products of the rows at both ends of each edge.
        eigenvectors: Of many small symmetric matrices.
        walks: Probabilities that random walkers come back.
        schedule: Splits rows into tasks of about equally many edges.
        advise: Requests large pages for new memory.
    """

    variant: str
    threads: bool
    attention: Kernel
    statistics: Kernel
    backward: Kernel
    aggregate: Kernel
    products: Kernel
    eigenvectors: Kernel
    walks: Kernel
    schedule: Callable[..., int]
    advise: Callable[[int, int], None]


@cache
def _loaded() -> Library | str:
    path, subject, cure = _path(), "the compiled library", "install Edgewise again"
    if os.environ.get(_VARIABLE):
        subject = f"the library that {_VARIABLE} names"
        cure = "name another one, or unset the variable"
    if path is None:
        return (
            "no compiled library was installed; install a C++ compiler and install Edgewise again"
        )
    try:
        handle = ctypes.CDLL(str(path))
        for which, record in enumerate(_RECORDS):
            if handle.edgewise_sizes(ctypes.c_int64(which)) != record.size:
                return f"{subject} is of another version; {cure}"
        return _library(handle)
    except (OSError, AttributeError) as error:
        return f"{subject} cannot be loaded ({error}); {cure}"


def _path() -> Path | None:
    """Path of the library: of the environment variable, or installed beside this file."""
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named).absolute()  # a bare name would be searched in the system's folders
    import edgewise.backends.native as package

    for folder in package.__path__:
        path = Path(folder) / _NAME
        if path.exists():
            return path
    return None


def _library(handle: ctypes.CDLL) -> Library:
    handle.edgewise_variant.restype = ctypes.c_char_p
    pointer, integer = ctypes.c_void_p, ctypes.c_int64

    def kernel(name: str) -> Kernel:
        function = getattr(handle, f"edgewise_run_{name}")
        function.argtypes, function.restype = [ctypes.c_char_p], integer
        return function

    schedule = handle.edgewise_schedule
    schedule.argtypes = [pointer, integer, integer, integer, pointer, pointer, pointer, pointer]
    schedule.restype = integer
    advise = handle.edgewise_advise
    advise.argtypes, advise.restype = [pointer, integer], None
    variant, threads = handle.edgewise_variant().decode(), bool(handle.edgewise_has_threads())
    return Library(
        variant,
        threads,
        kernel("attention_forward"),
        kernel("attention_statistics"),
        kernel("attention_backward"),
        kernel("aggregate_forward"),
        kernel("edge_products"),
        kernel("eigenvectors"),
        kernel("walks"),
        schedule,
        advise,
    )


def library() -> Library:
    """The kernels.

    Raises:
        EdgewiseError: there are none; `why_missing` has the reason, and `judge` refuses before.
    """
    loaded = _loaded()
    if isinstance(loaded, str):
        raise EdgewiseError(f"native: {loaded}.")
    return loaded


def why_missing() -> str | None:
    """The reason why there are no kernels, with a cure; None where there are."""
    loaded = _loaded()
    return loaded if isinstance(loaded, str) else None


def run(failed: int) -> None:
    """Raise the error that a kernel returned.

    Raises:
        MemoryError: there was no memory for partial results.
    """
    if failed:
        raise MemoryError(
            "native: no memory for the partial results of rows that are cut. Use a smaller batch."
        )


def threads_for(work: int) -> int:
    """The number of threads for so many edge-channels: one where a second takes longer to start."""
    return 1 if work < _ONE_THREAD else torch.get_num_threads()
