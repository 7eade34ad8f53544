"""The tables that `sparse_attention.py` prints: ratios, with the floors that they should reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

from _harness import BOTH, FORWARD
from _results import Row, markdown

Rows = list[Row]
COMPILED = "compiled plain"


@dataclass(frozen=True)
class Bar:
    """A line of the table: what is measured against what, and the floors."""

    work: str
    against: str
    forward: float | None = None
    both: float | None = None
    ours: str = "ours"


BARS = (
    Bar("citation", COMPILED, 6, 3),
    Bar("power law", COMPILED, 3, 2),
    Bar("power law", COMPILED, ours="ours, head-major"),
    Bar("power law", COMPILED, ours="ours, bfloat16"),
    Bar("power law, eager", "plain", 15, 12),
    Bar("TransformerConv", "PyG TransformerConv", 8, 6),
    Bar("GATConv", "PyG GATConv", 5, 6),
    Bar("GATv2Conv", "PyG GATv2Conv", 12, 8),
    Bar("molecules", "padded SDPA", 4, 3),
    Bar("molecules", "sorted and padded SDPA", 4, 3),
    Bar("molecules, nested", "nested SDPA"),
    *(
        Bar(f"{reduce} over sources", peer, *floors)
        for reduce in ("sum", "mean")
        for peer, floors in (
            ("CSR matrix", (1.5, 1.5)),
            ("index_add", ()),
            ("compiled index_add", ()),
        )
    ),
)


def smallest(rows: Rows, work: str, name: str, job: str, threads: int) -> float | None:
    """Smallest time of a job, or of the best one whose name begins so; None if not measured."""
    times = [
        row["min_ms"]
        for row in rows
        if (row["work"], row.get("threads"), row["pass"]) == (work, threads, name)
        and (row["job"] == job or (job != "ours" and row["job"].startswith(f"{job}, ")))
    ]
    return min(times, default=None)


def verdict(value: float | None, bar: float | None, text: str) -> str:
    """``7.3x (>= 6x: yes)``."""
    if value is None:
        return "-"
    if bar is None:
        return text.format(value)
    return f"{text.format(value)} (>= {text.format(bar)}: {'yes' if value >= bar else 'NO'})"


def lines(rows: Rows, threads: int) -> list[list[str]]:
    """All lines of the table for one count of threads."""
    found = [line(bar, rows, threads) for bar in BARS]
    found += roofline_lines(rows, threads)
    return [cells for cells in found if cells is not None]


def line(bar: Bar, rows: Rows, threads: int) -> list[str] | None:
    """One comparison; None if it was not measured."""
    cells, times = [], []
    for name, floor in ((FORWARD, bar.forward), (BOTH, bar.both)):
        mine = smallest(rows, bar.work, name, bar.ours, threads)
        peer = smallest(rows, bar.work, name, bar.against, threads)
        if mine is None or peer is None:
            return None
        cells.append(verdict(peer / mine, floor, "{:.3g}x"))
        times.append(f"{mine:.4g} / {peer:.4g}")
    work = bar.work + bar.ours.removeprefix("ours")
    return [work, bar.against, *cells, *times]


def roofline_lines(rows: Rows, threads: int) -> list[list[str] | None]:
    """Which share of the speed of bare gathering is reached.

    Each edge reads two rows forward (key, value), and four more backward: two of its source by
    target, two of its target (query, gradient) by source.
    """

    def roof(job: str, name: str) -> float:
        return smallest(rows, "power law", name, job, threads) or math.nan

    def line(against: str, floors: tuple[float | None, ...], times: list[float]) -> list[str]:
        mine = [smallest(rows, "power law", name, "ours", threads) or math.nan for name in passes]
        shares = [100 * time / own for time, own in zip(times, mine, strict=True)]
        cells = [verdict(s, bar, "{:.0f} %") for s, bar in zip(shares, floors, strict=True)]
        both = [f"{own:.4g} / {time:.4g}" for own, time in zip(mine, times, strict=True)]
        return ["power law, share of", against, *cells, *both]

    passes = (FORWARD, BOTH)
    if smallest(rows, "power law", FORWARD, "ours", threads) is None:
        return []
    random, target, source, order = (
        [roof(job, name) for name in passes]
        for job in (
            "random rows, one an edge",
            "rows by target, two an edge",
            "rows by source, two an edge",
            "rows in order, one an edge",
        )
    )
    return [
        line("gathering random rows", (70, 55), [2 * random[0], 6 * random[1]]),
        line("gathering the graph's rows", (None, None), [target[0], 2 * target[1] + source[1]]),
        line("reading rows in order", (None, None), [2 * order[0], 6 * order[1]]),
    ]


def scaling_lines(rows: Rows, most: int) -> list[list[str]]:
    """What more threads gain."""
    cells, times = [], []
    for name, floor in ((FORWARD, 1.7), (BOTH, 1.6)):
        one, many = (smallest(rows, "power law", name, "ours", count) for count in (1, most))
        if one is None or many is None or most == 1:
            return []
        cells.append(verdict(one / many, floor if most == 2 else None, "{:.2f}x"))
        times.append(f"{many:.4g} / {one:.4g}")
    return [[f"power law, {most} threads", "1 thread", *cells, *times]]


def memory_lines(rows: Rows) -> list[list[str]]:
    """Extra memory, as a share of the peer's."""
    found = {row["job"]: row["bytes"] for row in rows if row["work"] == "memory" and row["bytes"]}
    pairs = (
        ("ours", "PyG TransformerConv", 1 / 12),
        ("ours, operator", "plain", None),
        ("ours, operator", COMPILED, None),
    )
    cells = []
    for mine, peer, bar in pairs:
        if mine in found and peer in found:
            share = found[mine] / found[peer]
            reached = "" if bar is None else f" (<= 1/12: {'yes' if share <= bar else 'NO'})"
            megabytes = f"{found[mine] / 1e6:,.0f} / {found[peer] / 1e6:,.0f} MB"
            name = "layer" if mine == "ours" else "operator"
            cells.append(
                [f"memory, {name}", peer, "-", f"1/{1 / share:.3g}{reached}", "-", megabytes]
            )
    return cells


def report(rows: Rows) -> None:
    """Print a table for each count of threads, then scaling and memory."""
    headers = ["work", "against", "forward (bar)", "forward + backward (bar)"]
    headers += ["ours / theirs, ms: forward", "forward + backward"]
    counts = sorted({row["threads"] for row in rows if "threads" in row})
    for count in counts:
        print(f"\n{count} thread{'s' * (count > 1)}\n\n{markdown(headers, lines(rows, count))}")
        print(f"\n{footnote(rows, count)}")
    rest = memory_lines(rows) + (scaling_lines(rows, max(counts)) if counts else [])
    if rest:
        print(f"\nMemory and threads\n\n{markdown(headers, rest)}")


def footnote(rows: Rows, threads: int) -> str:
    """How large the graphs are, and what the first calls of compiled peers took."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.get("threads") == threads:
            size = f"{row['nodes']:,} nodes, {row['edges']:,} edges"
            notes = found.setdefault(row["work"], [size])
            if row["job"].startswith("compiled"):
                seconds = f"{row['first_ms'] / 1e3:.1f} s"
                notes.append(f"compiling {row['pass']} of {row['job'].split()[-1]} {seconds}")
    return "\n".join(f"- {work}: {', '.join(notes)}" for work, notes in found.items())
