"""What every benchmark shares: agreement first, then both passes, interleaved, into a history."""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _results import Row, path_of, record
from torch import Tensor

FORWARD, BOTH = "forward", "forward + backward"
PASSES = (FORWARD, BOTH)
DTYPES = (torch.float32, torch.bfloat16)

Tensors = tuple[Tensor, ...]
Times = dict[str, dict[str, float]]


# --- Contenders ------------------------------------------------------------------------------


def _as_is(tensors: Tensors) -> Tensors:
    return tensors


@dataclass
class Contender:
    """One way to compute something, in the layout that is natural to it.

    Attributes:
        function: From ``inputs`` to one tensor or several.
        inputs: Leaves that need a gradient.
        grad_out: The gradient of the result, stored as the result is.
        common: From results, and from gradients, to the layout in which contenders are compared.
        tolerance: Largest error allowed, as a share of the largest number.
        plan: How our backend computes it.
    """

    function: Callable[..., Any]
    inputs: Tensors
    grad_out: Tensor | Tensors
    common: Callable[[Tensors], Tensors] = _as_is
    tolerance: float = 1e-4
    plan: str | None = None

    def job(self, *, backward: bool) -> Callable[[], Tensors]:
        """Compute the result, or the gradients of all inputs."""

        constants = tuple(tensor.detach() for tensor in self.inputs)

        def forward() -> Tensors:
            with torch.no_grad():
                out = self.function(*constants)
            return out if isinstance(out, tuple) else (out,)

        def both() -> Tensors:
            return torch.autograd.grad(self.function(*self.inputs), self.inputs, self.grad_out)

        return both if backward else forward


def leaves(tensors: Sequence[Tensor]) -> Tensors:
    """The same numbers, as tensors of their own that need a gradient."""
    return tuple(tensor.detach().requires_grad_() for tensor in tensors)


def attention_contenders(
    functions: dict[str, Callable[..., Tensor]],
    sizes: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    *,
    sources: int | None = None,
) -> dict[str, Contender]:
    """Functions of query, key and value on the same random tensors.

    Args:
        functions: From query, key and value to the output, by name.
        sizes: Batch, heads, targets, channels of a head.
        dtype: Of all tensors.
        sources: Rows of key and value, if they are not as many as the targets.
    """
    batch, heads, targets, dim = sizes
    rows = (targets, sources or targets, sources or targets, targets)
    *parts, grad_out = (torch.randn(batch, heads, count, dim).to(dtype) for count in rows)
    inputs, tolerance = leaves(parts), 1e-4 if dtype == torch.float32 else 3e-2
    return {
        name: Contender(function, inputs, grad_out, tolerance=tolerance)
        for name, function in functions.items()
    }


# --- Agreement -------------------------------------------------------------------------------


def largest_error(values: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference, as a share of the largest number of its tensor; NaN is infinite.

    Some gradients are zero but for rounding (that of a bias of all keys, which softmax ignores),
    so no tensor counts as smaller than a hundredth of the largest one.
    """
    sizes = [float(tensor.abs().max()) for tensor in expected]
    errors = [
        float((a.float() - b.float()).abs().max()) / max(size, 0.01 * max(sizes))
        for a, b, size in zip(values, expected, sizes, strict=True)
    ]
    return max(math.inf if math.isnan(error) else error for error in errors)


def agree(contenders: dict[str, Contender], results: dict[str, Any], base: str) -> dict[str, float]:
    """The error of each result against that of ``base``, in the common layout.

    Raises:
        SystemExit: one is larger than the tolerance of its contender.
    """
    common = {name: it.common(results[name]) for name, it in contenders.items()}
    errors = {name: largest_error(found, common[base]) for name, found in common.items()}
    for name, error in errors.items():
        if not error <= contenders[name].tolerance:
            raise SystemExit(f"{name} differs from {base} by {error:.1e}: nothing was timed.")
    return {name: float(f"{error:.1e}") for name, error in errors.items()}


# --- Times -----------------------------------------------------------------------------------


def interleaved(
    jobs: dict[str, Callable[[], Any]],
    *,
    seconds: float = 2.0,
    rounds: int = 40,
    least: int = 3,
    check: Callable[[dict[str, Any]], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Time jobs in turn, round after round, so that a busy moment touches all of them.

    Args:
        jobs: What is timed, by name.
        seconds: Time to spend on each job, on average.
        rounds: At most so many runs of each job.
        least: At least so many, however long they take.
        check: Called with what every job returned, before anything is timed.
        clock: What times are read from; `time.thread_time` for jobs of one thread that are so long
            that other processes interrupt all of them.

    Returns:
        For each job its minimum and median in milliseconds, the number of runs, and the first
        call, which lowers, compiles and fills caches and is not among them.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    first: dict[str, float] = {}
    results: dict[str, Any] = {}
    for name, job in jobs.items():
        before = clock()
        result = job()
        first[name] = clock() - before
        if check is not None:
            results[name] = result
        del result
    if check is not None:
        check(results)
    del results
    start = time.perf_counter()
    for round_ in range(rounds):
        if round_ >= least and time.perf_counter() - start > seconds * len(jobs):
            break
        for name, job in jobs.items():
            before = clock()
            job()
            times[name].append(clock() - before)
    return {
        name: {
            "min_ms": round(1e3 * min(values), 4),
            "median_ms": round(1e3 * statistics.median(values), 4),
            "runs": len(values),
            "first_ms": round(1e3 * first[name], 4),
        }
        for name, values in times.items()
    }


def both_passes(
    contenders: dict[str, Contender],
    *,
    base: str,
    seconds: float,
    rounds: int = 100,
    least: int = 3,
    forward_only: Collection[str] = (),
    beside: dict[str, Callable[[], Any]] | None = None,
    passes: Sequence[str] = PASSES,
) -> list[Row]:
    """Time contenders in turn, forward and then with backward, if all of them agree.

    Args:
        contenders: By name.
        base: The contender with which the others are compared.
        seconds: For each job, on average.
        rounds: At most so many runs of each job.
        least: At least so many.
        forward_only: Contenders without a backward pass.
        beside: Jobs that are timed in the same turns and compared with nothing.
        passes: Some of `PASSES`.

    Returns:
        A row for each pass and job, with ``error``, its largest error against ``base``.
    """
    rows = []
    for name in passes:
        backward = name == BOTH
        torch.compiler.reset()
        chosen = {
            job: it for job, it in contenders.items() if not (backward and job in forward_only)
        }
        jobs = {job: it.job(backward=backward) for job, it in chosen.items()}
        errors: dict[str, float] = {}
        times = interleaved(
            jobs | (beside or {}),
            seconds=seconds,
            rounds=rounds,
            least=least,
            check=lambda results, chosen=chosen, errors=errors: errors.update(
                agree(chosen, results, base)
            ),
        )
        rows += [
            {"pass": name, "job": job, "error": errors.get(job), **time}
            for job, time in times.items()
        ]
    return rows


def ratios(rows: list[Row], base: str, keys: Sequence[str]) -> list[str]:
    """The time of each row over that of ``base`` in the row with the same ``keys``."""
    times = {tuple(row[k] for k in keys): row["min_ms"] for row in rows if row["job"] == base}
    return [f"{row['min_ms'] / times[tuple(row[k] for k in keys)]:.3g}x" for row in rows]


def peak_memory(job: Callable[[], Any]) -> int | None:
    """Largest growth of resident memory while a job runs, in bytes; None where unknown."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None

    def kilobytes(field: str) -> int:
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    job()
    return 1024 * (kilobytes("VmHWM") - before)


# --- Command line ----------------------------------------------------------------------------


def arguments(doc: str | None, *, seconds: float | None = 1.0) -> argparse.ArgumentParser:
    """The options that every benchmark has: seconds a job, threads, and a quick try."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if seconds is not None:
        parser.add_argument(
            "--seconds", type=float, default=seconds, help="for each job, on average"
        )
    parser.add_argument("--quick", action="store_true", help="small, to try it; writes no file")
    return parser


def begin(parser: argparse.ArgumentParser, *, threads: int = 1) -> argparse.Namespace:
    """Read the command line, and set threads, seed and, for a quick try, how long jobs run."""
    options = parser.parse_args()
    if options.quick and "seconds" in options:
        options.seconds = min(options.seconds, 0.02)
    torch.set_num_threads(getattr(options, "threads", threads))
    torch.manual_seed(0)
    return options


def save(name: str, rows: list[Row], options: argparse.Namespace, **about: Any) -> None:
    """Append rows to the history of this processor, unless this is a quick try.

    Args:
        name: Of the benchmark: its script.
        rows: What was measured.
        options: From `begin`.
        about: Completes the description of the machine.
    """
    if options.quick:
        return
    path = record(path_of(name), rows, about=about)
    print(f"\nwrote benchmarks/results/{path.name}")
