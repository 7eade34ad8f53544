"""How fast are attention and sums on any shape, not only on those that other benchmarks name?

A seeded draw of shapes: 1 to 16 heads of 1 to 160 channels, 500 to 200,000 nodes of 2 to 200 edges
each, float32 and bfloat16, forward and with gradients. At each of them run, in turn and on one
thread, our operator (`auto`, and every backend that `auto` might have chosen), the plain formula
compiled by torch for exactly these shapes, and ours again at the next width that is a multiple of
16. Times are process times, so what else runs on the machine does not count as ours.

    python benchmarks/shapes.py [--points 130] [--seconds 1] [--only attention|sums]
                                [--nodes-max N] [--seed 0] [--out FILE] [--fresh] [--warm] [--quick]

Results go to `results/shapes-PROCESSOR.json` after each point, and the map to a picture beside it;
a run that was stopped goes on where it ended. `--fresh` measures again, `--warm` only compiles
(torch keeps what it compiled), `--report` only prints what a file says. About 35 minutes of one
core, two thirds of which are the compiler's.
"""

from __future__ import annotations

import os

# One thread, and the compiler in as many processes as we measure in: before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from _harness import Contender, largest_error
from _results import history, machine, path_of, record, table
from _shapes import Point, Work, first_points

PASSES = ("forward", "both")
PEER, AUTO, ROUNDED = "compiled", "auto", "auto, rounded width"
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
# Floors for the ratio of the peer's time to ours: median, 5 % quantile, least.
BARS = {"forward": (4.0, 2.0, 1.0), "both": (2.2, 1.3, 1.0)}
MOST_LOST = 1.1  # to the fastest backend that `auto` might have chosen
SHORTEST = 2e-3  # seconds of one timing
LEAST_ROUNDS, MOST_ROUNDS = 4, 60
MOST_A_CHANNEL = 1.35  # of what a channel takes at the next multiple of 16

Row = dict[str, Any]


# --- Measuring -------------------------------------------------------------------------------


def measure(point: Point, seconds: float) -> list[Row]:
    """Both passes of a point."""
    return [_measure_pass(point, name, seconds) for name in PASSES]


def _measure_pass(point: Point, name: str, seconds: float) -> Row:
    torch.compiler.reset()
    training = name == "both"
    work = Work(point, training)
    chosen, rivals = work.rivals()
    contenders = {PEER: work.peer(), AUTO: work.ours("auto")}
    contenders |= {rival: work.ours(rival) for rival in rivals}
    jobs = {job: it.job(backward=training) for job, it in contenders.items()}
    if point.width % 16:
        wide = Work(point.rounded, training).ours("auto")
        jobs[ROUNDED] = wide.job(backward=training)
    results = {job: run() for job, run in jobs.items()}
    error = _agree(point, contenders, results)
    del results
    times = alternate(jobs, seconds)
    return {
        "point": point.key,
        **{field: getattr(point, field) for field in point.__dataclass_fields__},
        "pass": name,
        "chosen": chosen,
        "milliseconds": {job: round(1e3 * min(found), 4) for job, found in times.items()},
        "rounds": len(times[AUTO]),
        "error": error,
    }


def alternate(jobs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Process times of a call of each job, round after round, so that a busy moment touches all.

    Before a job is timed it runs once, so that none profits from what the one before it has left in
    the caches. Short jobs are timed several calls at a time.
    """
    calls: dict[str, int] = {}
    for name, job in jobs.items():
        before = time.process_time()
        job()
        calls[name] = max(1, min(100, int(SHORTEST / (time.process_time() - before))))
    times: dict[str, list[float]] = {name: [] for name in jobs}
    start = time.process_time()
    for round_ in range(MOST_ROUNDS):
        if round_ >= LEAST_ROUNDS and time.process_time() - start > seconds * len(jobs):
            break
        for name, job in jobs.items():
            job()
            before = time.process_time()
            for _ in range(calls[name]):
                job()
            times[name].append((time.process_time() - before) / calls[name])
    return times


def _agree(point: Point, contenders: dict[str, Contender], results: dict[str, Any]) -> float:
    """The largest error against the compiled formula; too large a one ends the run.

    Not compared: maxima in half precision, where sources tie, and ours give the gradient to the
    first of them while torch shares it out.
    """
    if point.reduce == "max" and point.dtype != "float32":
        return 0.0
    common = {
        name: tuple(tensor.float() for tensor in it.common(results[name]))
        for name, it in contenders.items()
    }
    errors = {name: largest_error(found, common[PEER]) for name, found in common.items()}
    wrong = {name: error for name, error in errors.items() if error > TOLERANCE[point.dtype]}
    if wrong:
        raise SystemExit(f"{point.key}: {wrong} are not what the compiled formula gives")
    return max(errors.values())


def compile_only(point: Point) -> None:
    """Have torch compile what a point will run, into the cache that it keeps on disk."""
    torch.compiler.reset()
    for training in (False, True):
        Work(point, training).peer().job(backward=training)()


# --- Reading -------------------------------------------------------------------------------------


def speed(row: Row) -> float:
    """How many times as fast as the compiled formula."""
    return row["milliseconds"][PEER] / row["milliseconds"][AUTO]


def lost(row: Row) -> tuple[float, str]:
    """Time of the backend that `auto` chose over that of the fastest one, and which one that is.

    The chosen one was measured twice, by its name too: the difference is the noise.
    """
    own = row["milliseconds"]
    rivals = {name: ms for name, ms in own.items() if name not in (PEER, AUTO, ROUNDED)}
    best = min(rivals, key=lambda name: rivals[name])
    return min(own[AUTO], own.get(row["chosen"], own[AUTO])) / rivals[best], best


def a_channel(row: Row) -> float | None:
    """What a channel takes, over what one takes at the next multiple of 16; None at a multiple."""
    if ROUNDED not in row["milliseconds"]:
        return None
    rounded = -(-row["width"] // 16) * 16
    ratio = row["milliseconds"][AUTO] / row["milliseconds"][ROUNDED]
    return ratio * rounded / row["width"]


def against_rounded(row: Row) -> float | None:
    """Time over that at the next multiple of 16."""
    if ROUNDED not in row["milliseconds"]:
        return None
    return row["milliseconds"][AUTO] / row["milliseconds"][ROUNDED]


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which this share lies, between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(rows: list[Row]) -> list[Row]:
    """For each kind, dtype and pass: speeds against the peer, and what odd widths take."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        for dtype in (row["dtype"], "all"):
            groups.setdefault((row["kind"], row["pass"], dtype), []).append(row)
    found = []
    for (kind, name, dtype), group in sorted(groups.items()):
        speeds = [speed(row) for row in group]
        channels = [c for row in group if row["width"] > 16 and (c := a_channel(row)) is not None]
        whole = [c for row in group if (c := against_rounded(row)) is not None]
        found.append(
            {
                "kind": kind,
                "pass": name,
                "dtype": dtype,
                "points": len(group),
                "median": round(statistics.median(speeds), 2),
                "5 %": round(quantile(speeds, 0.05), 2),
                "least": round(min(speeds), 2),
                "below 1": sum(each < 1 for each in speeds),
                "auto loses": sum(lost(row)[0] > MOST_LOST for row in group),
                "a channel, 95 %": round(quantile(channels, 0.95), 2) if channels else None,
                "over rounded, 95 %": round(quantile(whole, 0.95), 2) if whole else None,
            }
        )
    return found


def report(rows: list[Row]) -> None:
    """The summary, and every row that misses a bar."""
    found = summary(rows)
    print(table(list(found[0]), [list(line.values()) for line in found]))
    bars = "; ".join(f"{name}: {bar}" for name, bar in BARS.items())
    print(f"Bars (median, 5 %, least): {bars}. A channel of an odd width: {MOST_A_CHANNEL}.")
    for title, chosen, number in (
        ("Slower than the compiled formula:", lambda row: speed(row) < 1, speed),
        ("`auto` loses to another backend:", lambda row: lost(row)[0] > MOST_LOST, lost),
        (
            "A channel takes more than at the next multiple of 16 (widths above 16):",
            lambda row: row["width"] > 16 and (a_channel(row) or 0) > MOST_A_CHANNEL,
            a_channel,
        ),
    ):
        _list(title, [row for row in rows if chosen(row)], number)


def _list(title: str, rows: list[Row], number: Callable[[Row], Any]) -> None:
    if not rows:
        return
    print(title)
    for row in rows:
        value = number(row)
        ratio, other = value if isinstance(value, tuple) else (value, "")
        print(f"  {ratio:5.2f} {other} {row['pass']}: {row['point']} ({row['chosen'] or 'auto'})")


# --- The map -------------------------------------------------------------------------------------


def draw(rows: list[Row], out: Path) -> None:
    """Speed against the compiled formula: a square for each point, heads by width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True)
    for line, kind in zip(panels, ("attention", "sums"), strict=True):
        for axes, name in zip(line, PASSES, strict=True):
            found = [row for row in rows if row["kind"] == kind and row["pass"] == name]
            image = _panel(axes, found, TwoSlopeNorm(1.0, 0.25, 8.0))
            axes.set_title(f"{kind}, {name}")
    bar = figure.colorbar(image, ax=panels, shrink=0.7, extend="both")
    bar.set_label("times as fast as the compiled formula")
    cpu = machine()["cpu"]
    figure.suptitle(f"Heads and widths, one thread of {cpu}. Squares: float32, circles: bfloat16.")
    figure.savefig(out, dpi=110)


def _panel(axes: Any, rows: list[Row], norm: Any) -> Any:
    image = None
    for dtype, marker in (("float32", "s"), ("bfloat16", "o")):
        own = [row for row in rows if row["dtype"] == dtype]
        # Sums have one head: their other axis is the number of edges a node has.
        image = axes.scatter(
            [row["width"] for row in own],
            [
                row["heads"] if row["kind"] == "attention" else row["edges"] / row["nodes"]
                for row in own
            ],
            c=[speed(row) for row in own],
            cmap="RdYlGn",
            norm=norm,
            marker=marker,
            s=130,
            edgecolors="#555555",
            linewidths=0.4,
        )
    for row in rows:
        at = row["heads"] if row["kind"] == "attention" else row["edges"] / row["nodes"]
        axes.annotate(f"{speed(row):.1f}", (row["width"], at), ha="center", va="center", fontsize=5)
    sums = bool(rows) and rows[0]["kind"] == "sums"
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], [1, 2, 4, 8, 16, 32, 64, 128])
    axes.set_xlabel("channels of a head")
    axes.set_ylabel("edges of a node" if sums else "heads")
    if sums:
        axes.set_yscale("log")
    return image


# --- Command line --------------------------------------------------------------------------------


def _load(path: Path) -> list[Row]:
    """Rows of the newest entry, if it was measured on this processor with this torch."""
    entries = history(path)
    own = machine()
    same = entries and all(entries[-1]["machine"].get(n) == own[n] for n in ("cpu", "torch"))
    return entries[-1]["rows"] if same else []


def _save(path: Path, rows: list[Row], seed: int) -> None:
    """All rows, or none: a run may be stopped at any moment."""
    record(path, rows, about={"seed": seed}, summary=summary(rows))


def main() -> None:
    options = _options()
    path = options.out or path_of("shapes")
    if options.quick:
        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name) / path.name
        options.points, options.seconds = 1, 0.02
    rows = [] if options.fresh else _load(path)
    todo = first_points(options.points, options.seed, options.nodes_max, options.only)
    torch.set_num_threads(1)
    if options.report:
        return report(rows)
    if options.warm:
        for number, point in enumerate(todo, 1):
            compile_only(point)
            print(f"{number}/{len(todo)} {point.key}", flush=True)
        return None
    done = {row["point"] for row in rows}
    start = time.perf_counter()
    for number, point in enumerate(todo, 1):
        if point.key in done:
            continue
        new = measure(point, options.seconds)
        rows += new
        _save(path, rows, options.seed)
        words = ", ".join(
            f"{row['pass']} {speed(row):.2f}x (auto {lost(row)[0]:.2f} of {lost(row)[1]})"
            for row in new
        )
        spent = (time.perf_counter() - start) / 60
        print(f"{number}/{len(todo)} {point.key}: {words}; {spent:.1f} min", flush=True)
    report(rows)
    draw(rows, path.with_suffix(".png"))
    print(f"Written: {path} and {path.with_suffix('.png')}")
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--points", type=int, default=130, help="how many shapes")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each job at each shape")
    parser.add_argument("--only", choices=("attention", "sums"), help="one kind of work")
    parser.add_argument("--nodes-max", type=int, default=200_000, help="largest graph")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--out", type=Path, help="file of results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--warm", action="store_true", help="only compile")
    parser.add_argument("--quick", action="store_true", help="one shape; writes no file")
    parser.add_argument("--report", action="store_true", help="only print what the file says")
    return parser.parse_args()


if __name__ == "__main__":
    main()
