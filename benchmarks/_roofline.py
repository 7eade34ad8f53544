"""The roofline of sparse attention: gathering rows as fast as this machine can, and no more."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SOURCE = Path(__file__).with_name("_roofline.cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-pthread", "-shared", "-fPIC")
_NO_PREFETCH = (0, 2)
_PREFETCHES = [_NO_PREFETCH, *[(d, hint) for d in (4, 8, 16, 32, 64) for hint in (0, 1)]]


def best_gather(tables: list[Tensor], index: Tensor) -> tuple[Callable[[], float], dict[str, Any]]:
    """A job that reads row ``index[i]`` of every table, and the prefetch that made it fastest.

    Args:
        tables: ``[N, C]`` each, of the same shape and dtype.
        index: ``[E]``, int32.
    """
    jobs = {prefetch: _gather(tables, index, *prefetch) for prefetch in _PREFETCHES}
    times = {prefetch: min(_timed(job) for _ in range(2)) for prefetch, job in jobs.items()}
    best = min(times, key=times.__getitem__)
    return jobs[best], {"distance": best[0], "hint": ("t0", "t1", "none")[best[1]]}


def _gather(tables: list[Tensor], index: Tensor, distance: int, hint: int) -> Callable[[], float]:
    threads, function = torch.get_num_threads(), _library().gather
    pointers = (ctypes.c_void_p * len(tables))(*(table.data_ptr() for table in tables))
    row_bytes = tables[0].shape[1] * tables[0].element_size()
    assert index.dtype == torch.int32
    assert row_bytes % 256 == 0
    assert all(table.is_contiguous() and table.data_ptr() % 64 == 0 for table in tables)

    def run() -> float:
        return function(
            pointers,
            len(tables),
            ctypes.c_void_p(index.data_ptr()),
            ctypes.c_int64(index.numel()),
            ctypes.c_int64(row_bytes),
            ctypes.c_int64(distance),
            hint,
            threads,
        )

    return run


def _timed(job: Callable[[], object]) -> float:
    before = time.perf_counter()
    job()
    return time.perf_counter() - before


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roofline.so"
        subprocess.run(["c++", *_FLAGS, str(_SOURCE), "-o", str(path)], check=True)
        library = ctypes.CDLL(str(path))  # stays loaded when the file is gone
    library.gather.restype = ctypes.c_float
    return library
