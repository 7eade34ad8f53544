"""Lines of the tables of README and docs, each from the newest results that have its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from _results import Entry, Row, newest

FORWARD, BOTH = "forward", "forward + backward"
SHAPES_PASSES = ("forward", "both")  # as `shapes.py` calls them
COMPILED = "`torch.compile` of gather, softmax, scatter"

Cells = list[str]


# --- Numbers ---------------------------------------------------------------------------------


def times(ratio: float) -> str:
    """A ratio with two decimals below 2, one below 10, and none above: ``1.09x``, ``3.9x``."""
    digits = 2 if ratio < 2 else 1 if ratio < 10 else 0
    return f"{math.floor(ratio * 10**digits + 1e-9) / 10**digits:.{digits}f}x"


def both(ratios: list[float]) -> Cells:
    """Ratios forward and with backward, as two cells."""
    return [times(ratio) for ratio in ratios]


def least(rows: list[Row], **wanted: Any) -> float:
    """The smallest time of the rows with these values; a job may be given by how it begins.

    Raises:
        LookupError: no row has them.
    """
    job = wanted.pop("job")
    fitting = [
        row["min_ms"]
        for row in rows
        if "min_ms" in row
        and (row["job"] == job or row["job"].startswith(f"{job}, "))
        and all(row.get(key) == value for key, value in wanted.items())
    ]
    if not fitting:
        raise LookupError(f"No row has job={job!r}, {wanted}. Was the benchmark changed?")
    return min(fitting)


def ratios(entry: Entry, theirs: str, ours: str, **wanted: Any) -> list[float]:
    """Time of a peer over ours, forward and with backward."""
    return [
        least(entry["rows"], job=theirs, **{"pass": name}, **wanted)
        / min(
            row["min_ms"]
            for row in entry["rows"]
            if row["job"] == ours
            and row["pass"] == name
            and all(row.get(key) == value for key, value in wanted.items())
        )
        for name in (FORWARD, BOTH)
    ]


def where(entry: Entry) -> str:
    """The processor and the day: ``AMD EPYC, 2026-11-21``."""
    cpu = re.sub(r"\(R\)| Processor", "", entry["machine"]["cpu"]).split("@")[0].strip()
    return f"{cpu}, {entry['date']}" if entry["date"] else cpu


# --- Lines -----------------------------------------------------------------------------------


def shapes(kind: str, words: str) -> list[Cells]:
    """Median, 5 % quantile and least of a draw of shapes."""
    entry = newest("shapes")
    found = {
        row["pass"]: row for row in entry["summary"] if (row["kind"], row["dtype"]) == (kind, "all")
    }
    keys = ("median", "5 %", "least")
    cells = [" / ".join(times(found[name][key]) for key in keys) for name in SHAPES_PASSES]
    words = f"{words}, {found['both']['points']} shapes: median / 5 % quantile / least"
    return [[words, COMPILED, *cells, where(entry)]]


def sparse(work: str, words: str, theirs: str, against: str, ours: str = "ours") -> list[Cells]:
    """A line of `sparse_attention.py`, on one thread."""
    entry = newest("sparse_attention", work)
    found = ratios(entry, theirs, ours, work=work, threads=1)
    return [[words, against, *both(found), where(entry)]]


def memory() -> list[Cells]:
    """Extra memory on the power law."""
    entry = newest("sparse_attention", "memory")
    found = {row["job"]: row["bytes"] for row in entry["rows"] if row["work"] == "memory"}
    return [
        [
            f"power law, {words}: extra memory",
            against,
            "",
            f"1/{int(found[peer] / found[ours])}",
            where(entry),
        ]
        for words, ours, against, peer in (
            ("operator", "ours, operator", "the plain formula, eager", "plain"),
            ("layer", "ours", "PyTorch Geometric's `TransformerConv`", "PyG TransformerConv"),
        )
    ]


def windows() -> list[Cells]:
    """Tiles against FlexAttention, and against the next way that has a backward pass."""
    entry = newest("windows")
    lines = []
    for dtype in ("float32", "bfloat16"):
        rows = [row for row in entry["rows"] if row["dtype"] == dtype]
        forward = least(rows, job="flex", **{"pass": FORWARD}) / least(
            rows, job="banded", **{"pass": FORWARD}
        )
        others = (least(rows, job=job, **{"pass": BOTH}) for job in ("native", "copied tiles"))
        trained = min(others) / least(rows, job="banded", **{"pass": BOTH})
        words = f"window of {entry['machine']['reach']} on both sides, 16,384 nodes, {dtype}"
        against = "FlexAttention; with backward: the next way that trains"
        lines.append([words, against, *both([forward, trained]), where(entry)])
    return lines


def bigbird() -> list[Cells]:
    """A plan of several parts against the best single backend."""
    entry = newest("planner", "BigBird")
    lines = []
    for dtype in ("float32", "bfloat16"):
        found = [
            min(
                row["ratio"]
                for row in entry["rows"]
                if row["case"] == f"BigBird, {dtype}, {name}" and row["peer"] != "auto"
            )
            for name in (FORWARD, BOTH)
        ]
        words = f"the same with 64 hubs and 3 random sources a row (BigBird), {dtype}"
        lines.append([words, "the best single backend", *both(found), where(entry)])
    return lines


def documents() -> list[Cells]:
    """Packed documents against a padded batch."""
    entry = newest("ragged", "documents")
    return [
        [
            f"packed causal documents, 64 to 2,048 tokens, {dtype}",
            "one padded batch",
            *both(ratios(entry, "sdpa, padded", "ragged", work="documents", dtype=dtype)),
            where(entry),
        ]
        for dtype in ("float32", "bfloat16")
    ]


def epochs(work: str, words: str) -> list[Cells]:
    """An epoch of a model of PyTorch Geometric with one changed import."""
    entry = newest("pyg", work)
    rows = [row for row in entry["rows"] if row["work"] == work]
    ratio = least(rows, job="stock") / least(rows, job="drop-in")
    return [
        [
            f"{words}, an epoch with one changed import",
            "PyTorch Geometric",
            "",
            times(ratio),
            where(entry),
        ]
    ]


def encodings() -> list[Cells]:
    """Encodings of 10,000 molecules."""
    entry = newest("graph_encodings")
    found = {row["job"]: row["ratio_min"] for row in entry["rows"]}
    return [
        [
            f"{words} encodings of {entry['machine']['molecules']:,} molecules",
            "PyTorch Geometric's transform",
            times(found[peer]),
            "",
            where(entry),
        ]
        for words, peer in (
            ("Laplacian", "AddLaplacianEigenvectorPE"),
            ("random-walk", "AddRandomWalkPE"),
        )
    ]


def pretrained() -> list[Cells]:
    """MiniLM, on two threads."""
    lines = []
    for work, words, ours in (
        ("whole model", "MiniLM on 64 padded sentences, as it is", "edgewise"),
        ("whole model", "the same, converted", "edgewise, converted"),
        ("attention of 6 layers", "the same, attention alone", "edgewise"),
        ("window over a document", "MiniLM with a window over 8,192 tokens", "edgewise"),
    ):
        entry = newest("huggingface", work)
        rows = [r for r in entry["rows"] if r["work"] == work and r.get("sentences", 64) == 64]
        found = {row["job"]: row["min_ms"] for row in rows}
        ratio = times(found["sdpa"] / found[ours])
        lines.append([f"{words}, 2 threads", "Transformers with `sdpa`", ratio, "", where(entry)])
    return lines


def steps(kept: Callable[[Row], bool] = lambda _: True) -> list[Cells]:
    """Training steps of models against their originals."""
    entry = newest("ladder")
    return [
        [
            f"{row['model']}, {row['work']}: a step",
            row["peer"],
            "",
            times(row["ratio"]),
            where(entry),
        ]
        for row in entry["rows"]
        if kept(row)
    ]


def choice() -> list[Cells]:
    """How well plans are chosen, and what choosing, small calls and new graphs take."""
    planned, chosen = newest("planner", "planning"), newest("planner", "regret")
    regrets = sorted(row["regret"] for row in chosen["rows"] if row["work"] == "regret")
    most = regrets[math.ceil(0.95 * len(regrets)) - 1]
    planning = [row["min_ms"] for row in planned["rows"] if row["work"] == "planning"]
    calls, graphs = newest("overhead"), newest("graphs")
    native = {row["pass"]: row["min_us"] for row in calls["rows"] if row["job"] == "native"}
    built = {row["job"]: row["min_ms"] for row in graphs["rows"]}
    union, csr = (built[f"10,000 edge lists: disjoint union{rest}"] for rest in ("", ", CSR"))
    return [
        [
            f"chosen plan over the fastest backend, {len(regrets)} problems: median / 95 % / worst",
            f"{regrets[len(regrets) // 2]:.2f}x / {most:.2f}x / {regrets[-1]:.2f}x",
            where(chosen),
        ],
        [
            "planning for a new graph: least / most",
            f"{min(planning):.2g} / {max(planning):.2g} ms",
            where(planned),
        ],
        [
            "a call on 3 nodes: forward / with backward",
            f"{native[FORWARD]:.2g} / {native[BOTH]:.2g} us",
            where(calls),
        ],
        [
            "10,000 molecules: as one graph / and its CSR",
            f"{union:.2g} / {csr:.2g} ms",
            where(graphs),
        ],
    ]
