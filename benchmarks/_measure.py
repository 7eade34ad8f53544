"""Measuring: interleaved runs, minimum and median, and a record of where they were taken."""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(
    jobs: dict[str, Callable[[], Any]],
    *,
    seconds: float = 2.0,
    rounds: int = 40,
    least: int = 3,
    check: Callable[[dict[str, Any]], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
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


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def processor() -> str:
    """The processor as part of a file's name: ``intel-r-xeon-r-platinum-8481c``.

    Virtual machines may name a family of processors only (``AMD EPYC``); its numbers then follow.
    """
    name = str(machine()["cpu"]).split("@")[0]
    cpuinfo = Path("/proc/cpuinfo")
    if not any(letter.isdigit() for letter in name) and cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        for field in ("cpu family", "model"):
            found = [line.split(":")[1].strip() for line in lines if line.split("\t")[0] == field]
            name += f" {found[0]}" if found else ""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save(name: str, rows: list[dict[str, Any]], **about: Any) -> Path:
    """Write rows and machine as JSON, and return the path; ``about`` completes the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine() | about, "rows": rows}, indent=1) + "\n")
    return path


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A table for a README."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(headers: list[str], rows: list[list[Any]]) -> str:
    """A plain text table, numbers to the right."""
    cells = [headers, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = []
    for row in cells:
        padded = [c.rjust(w) for c, w in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *padded[1:]]))
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
