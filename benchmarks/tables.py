"""Write the tables of README and docs from the results in this folder.

A page says where a table stands by two comments, which stay; what is between them is replaced:

    <!-- table: speed -->
    <!-- end of table -->

    python benchmarks/tables.py [--check]

Each number is the newest that was measured, on whichever processor that was; the last column says
on which, and when. Ratios are those of the smallest times and are cut off, never rounded up.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _results import Entry, Row, markdown, newest

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
FORWARD, BOTH = "forward", "forward + backward"
SHORT = {"forward": "forward", "both": "forward + backward"}  # of `shapes.py`

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
    cells = [
        " / ".join(times(found[name][key]) for key in ("median", "5 %", "least")) for name in SHORT
    ]
    words = f"{words}, {found['both']['points']} shapes: median / 5 % quantile / least"
    return [[words, "`torch.compile` of gather, softmax, scatter", *cells, where(entry)]]


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


# --- Tables ----------------------------------------------------------------------------------

COMPILED = "`torch.compile` of gather, softmax, scatter"


def speed() -> list[Cells]:
    """The table of README: any shape, then the best known peers of a few kinds of work."""
    return [
        *shapes("attention", "attention, 1 to 16 heads of 1 to 160 channels"),
        *shapes("sums", "sums over sources, 1 to 160 channels"),
        *sparse("citation", "Cora, 8 heads of 8", "compiled plain", COMPILED),
        *sparse("GATConv", "power law, layer", "PyG GATConv", "PyTorch Geometric's `GATConv`"),
        *sparse(
            "molecules",
            "256 molecules as complete graphs",
            "sorted and padded SDPA",
            "sorted and padded `scaled_dot_product_attention`",
        ),
        *windows()[:1],
        *bigbird()[:1],
        *documents()[:1],
        *epochs("tolokers, GAT", "GAT on tolokers"),
        *pretrained()[-1:],
        *steps(lambda row: row["peer"] == "HF BertModel, padded"),
    ]


def kernels() -> list[Cells]:
    """Sparse kernels."""
    layers = [
        line
        for name in ("TransformerConv", "GATConv", "GATv2Conv")
        for line in sparse(name, "power law, layer", f"PyG {name}", f"PyTorch Geometric's `{name}`")
    ]
    molecules = [
        line
        for work, peer, against in (
            ("molecules", "padded SDPA", "padded `scaled_dot_product_attention`"),
            ("molecules", "sorted and padded SDPA", "sorted and padded bucket by bucket"),
            ("molecules, nested", "nested SDPA", "nested `scaled_dot_product_attention`"),
        )
        for line in sparse(work, "256 molecules as complete graphs", peer, against)
    ]
    sums = [
        line
        for name in ("sum", "mean")
        for line in sparse(
            f"{name} over sources",
            f"{name} over sources, 128 channels",
            "CSR matrix",
            "a `torch.sparse` CSR matrix",
        )
    ]
    bfloat16 = "ours, bfloat16"
    return [
        *sparse("citation", "Cora, 8 heads of 8", "compiled plain", COMPILED),
        *sparse("power law", "power law, 8 heads of 16", "compiled plain", COMPILED),
        *sparse(
            "power law", "the same in bfloat16", "compiled plain", "the same in float32", bfloat16
        ),
        *sparse(
            "power law, eager", "power law, 8 heads of 16", "plain", "the plain formula, eager"
        ),
        *layers,
        *memory(),
        *molecules,
        *sums,
        *shapes("attention", "attention, 1 to 16 heads of 1 to 160 channels"),
        *shapes("sums", "sums over sources, 1 to 160 channels"),
    ]


def tiles() -> list[Cells]:
    """Dense tiles, buckets of blocks, and plans of several parts."""
    return [*windows(), *bigbird(), *documents()]


def models() -> list[Cells]:
    """Models in practice."""
    return [
        *epochs("tolokers, GAT", "GAT on tolokers"),
        *epochs("power law, GATConv", "GAT on the power law"),
        *epochs("power law, TransformerConv", "TransformerConv on the power law"),
        *epochs("Cora, 64 features", "GAT on Cora with 64 features"),
        *epochs("Cora, GAT", "GAT on Cora as published"),
        *encodings(),
        *pretrained(),
        *steps(),
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


HEADERS = ["work", "against", FORWARD, BOTH, "measured on"]
TABLES: dict[str, tuple[list[str], Callable[[], list[Cells]]]] = {
    "speed": (HEADERS, speed),
    "kernels": (HEADERS, kernels),
    "tiles": (HEADERS, tiles),
    "models": (HEADERS, models),
    "choice": (["what", "takes", "measured on"], choice),
}


def render(name: str) -> str:
    """A table as Markdown.

    Raises:
        LookupError: there is no such table, or a number that it needs was not measured.
    """
    if name not in TABLES:
        raise LookupError(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
    headers, lines = TABLES[name]
    return markdown(headers, lines())


def filled(page: str) -> str:
    """The page with each of its tables as the results have it."""
    return MARKED.sub(lambda found: f"{found[1]}{render(found[2])}\n{found[3]}", page)


def pages() -> list[Path]:
    """README and docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    """Write the tables, or say which pages differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if pages differ")
    options = parser.parse_args()
    differ = []
    for page in pages():
        text = page.read_text("utf-8")
        if (new := filled(text)) != text:
            differ.append(page.relative_to(ROOT).as_posix())
            if not options.check:
                page.write_text(new, "utf-8")
    if not differ:
        print("All tables are as measured.")
    elif options.check:
        names = ", ".join(differ)
        print(
            f"Other numbers than measured: {names}. Run: python benchmarks/tables.py",
            file=sys.stderr,
        )
    else:
        print(f"Written: {', '.join(differ)}")
    return 1 if differ and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
