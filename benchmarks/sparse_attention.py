"""How fast are the sparse kernels, against honest peers and against the memory they have to read?

Every comparison runs interleaved in one process: a table for one thread, one for all of them, and
how much the second thread gains. Peers get their natural layouts, and what they need beforehand
(padding, sorting, sparse matrices) for nothing; before anything is timed, results and gradients
of all contenders are compared. Bars are floors for the ratio of the smallest times.

    python benchmarks/sparse_attention.py [--threads 1 2] [--only ROW ...] [--quick]

Takes about ten minutes; `--only` some rows leaves the others of that day's entry as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from _harness import BOTH, Contender, arguments, both_passes, peak_memory, save
from _peers import aggregations, layer_pair, nested, node_major, ours, padded, plain
from _results import Row
from _roofline import best_gather
from _sparse_report import report
from _workloads import molecule_sizes, node_graph, power_law

import edgewise as ew

HEADS, DIM = 8, 16
WIDTH = HEADS * DIM
COMPILED = "compiled plain"
LAYERS = ("TransformerConv", "GATConv", "GATv2Conv")
MEMORY_JOBS = ("ours", "PyG TransformerConv", "ours, operator", "plain", COMPILED)
PACKAGES = ("pyg-lib", "torch-scatter", "torch-sparse")  # which PyTorch Geometric would use

Rows = list[Row]


# --- Work ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What one process measures, and at which size."""

    backend: str
    seconds: float
    quick: bool

    @cache  # noqa: B019 (one per process)
    def power_law(self) -> ew.EdgeList:
        return power_law(3_000, 40_000) if self.quick else power_law(169_000, 2_400_000)


def attention_tensors(num_nodes: int, dim: int) -> list[torch.Tensor]:
    """Query, key, value and the gradient of the result: ``[N, H, D]`` each.

    Each has a storage of its own: the backward of torch's nested attention forgets offsets.
    """
    return [torch.randn(num_nodes, HEADS, dim) for _ in range(4)]


def compiled() -> Callable[..., torch.Tensor]:
    """The plain formula, compiled for the shapes of one comparison."""
    return torch.compile(plain, dynamic=False, fullgraph=True)


def citation(settings: Settings) -> Rows:
    """Cora without self-loops: 2,708 nodes, 10,556 edges."""
    graph = node_graph("cora", loops=False)
    tensors = attention_tensors(graph.num_targets, 8)
    contenders = {
        "ours": ours(graph, tensors, settings.backend),
        COMPILED: node_major(compiled(), graph, tensors),
    }
    return compare("citation", graph, contenders, settings)


def power_law_compiled(settings: Settings) -> Rows:
    """Against the compiled formula, and against what memory allows."""
    graph = settings.power_law()
    tensors = attention_tensors(graph.num_targets, DIM)
    contenders = {
        "ours": ours(graph, tensors, settings.backend),
        "ours, head-major": ours(graph, tensors, settings.backend, head_major=True),
        "ours, bfloat16": ours(graph, tensors, settings.backend, dtype=torch.bfloat16),
        COMPILED: node_major(compiled(), graph, tensors),
    }
    return compare("power law", graph, contenders, settings, gathers(graph))


def power_law_eager(settings: Settings) -> Rows:
    """Against the formula as written, apart because it takes long."""
    graph = settings.power_law()
    tensors = attention_tensors(graph.num_targets, DIM)
    contenders = {
        "ours": ours(graph, tensors, settings.backend),
        "plain": node_major(plain, graph, tensors),
    }
    return compare("power law, eager", graph, contenders, settings)


def layers(settings: Settings) -> Rows:
    """Whole layers, projections included."""
    graph, rows = settings.power_law(), []
    for name in LAYERS:
        rows += compare(
            name, graph, layer_pair(name, graph, WIDTH, HEADS, settings.backend), settings
        )
    return rows


def molecules(settings: Settings) -> Rows:
    """A batch of complete graphs of the sizes of real molecules."""
    sizes = molecule_sizes(16 if settings.quick else 256)
    graph = ew.disjoint_union([ew.Complete(size) for size in sizes])
    tensors = attention_tensors(sum(sizes), DIM)
    mine = ours(graph, tensors, settings.backend)
    contenders = {"ours": mine}
    for kind, buckets in (("padded SDPA", 1), ("sorted and padded SDPA", 8)):
        for boolean in (True, False):
            for head_major in (True, False):
                mask = "bool mask" if boolean else "float mask"
                storage = "head-major" if head_major else "node-major"
                contenders[f"{kind}, {mask}, {storage}"] = padded(
                    sizes, tensors, boolean=boolean, head_major=head_major, buckets=buckets
                )
    rows = compare("molecules", graph, contenders, settings)
    # Apart: it moves so much memory that whatever runs next finds its caches empty.
    slow = {"ours": mine, "nested SDPA": nested(sizes, tensors)}
    return rows + compare("molecules, nested", graph, slow, settings)


def aggregate(settings: Settings) -> Rows:
    """Message passing without scores."""
    graph, rows = settings.power_law(), []
    for reduce in ("sum", "mean"):
        contenders = aggregations(graph, WIDTH, reduce, settings.backend)
        rows += compare(f"{reduce} over sources", graph, contenders, settings)
    return rows


ROWS: dict[str, Callable[[Settings], Rows]] = {
    "citation": citation,
    "power-law": power_law_compiled,
    "eager": power_law_eager,
    "layers": layers,
    "molecules": molecules,
    "aggregate": aggregate,
}


# --- Measuring -------------------------------------------------------------------------------


def compare(
    work: str,
    graph: ew.Graph,
    contenders: dict[str, Contender],
    settings: Settings,
    rooflines: dict[str, Callable[[], object]] | None = None,
) -> Rows:
    """Time all contenders of one comparison in turn; the last one is never ours."""
    about = {
        "work": work,
        "nodes": graph.num_targets,
        "edges": ew.edges(graph).num_edges,
        "threads": torch.get_num_threads(),
    }
    *_, peer = contenders
    rows = both_passes(
        contenders, base=peer, seconds=settings.seconds, rounds=200, least=2, beside=rooflines
    )
    plans = {job: it.plan for job, it in contenders.items()}
    return [about | {"plan": plans.get(row["job"]), **row} for row in rows]


def gathers(graph: ew.Graph) -> dict[str, Callable[[], object]]:
    """Reading rows and nothing else: random ones, those of the graph, and one after the other."""
    csr, back = ew.lower(graph, ew.Csr), ew.lower(graph, ew.ReversedCsr)
    first, second = (torch.randn(graph.num_sources, WIDTH) for _ in range(2))
    sources, targets = csr.indices.int(), back.indices.int()
    drawn = torch.randint(graph.num_sources, (csr.num_edges,), dtype=torch.int32)
    ordered = torch.arange(csr.num_edges, dtype=torch.int32) % graph.num_sources
    jobs = {
        "random rows, one an edge": best_gather([first], drawn),
        "rows by target, two an edge": best_gather([first, second], sources),
        "rows by source, two an edge": best_gather([first, second], targets),
        "rows in order, one an edge": best_gather([first], ordered),
    }
    for name, (_, prefetch) in jobs.items():
        print(f"{name}: best with prefetch {prefetch}", file=sys.stderr)
    return {name: job for name, (job, _) in jobs.items()}


def memory(job: str, settings: Settings) -> Rows:
    """Extra memory of one forward and backward on the power law, in a process of its own."""
    graph = settings.power_law()
    run = memory_contender(job, graph, settings.backend).job(backward=True)
    first, again = peak_memory(run), peak_memory(run)
    return [{"work": "memory", "pass": BOTH, "job": job, "first_bytes": first, "bytes": again}]


def memory_contender(job: str, graph: ew.Graph, backend: str) -> Contender:
    """Build one contender without building the others."""
    tensors = attention_tensors(graph.num_targets, DIM)
    if job == "ours, operator":
        return ours(graph, tensors, backend)
    if job in ("plain", COMPILED):
        return node_major(plain if job == "plain" else compiled(), graph, tensors)
    return layer_pair("TransformerConv", graph, WIDTH, HEADS, backend)[job]


# --- Processes -------------------------------------------------------------------------------


def child(options: argparse.Namespace, threads: int, *part: str) -> Rows:
    """Measure in a fresh process, whose thread pools have the right size from the start."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # No idle compiler disturbs the rest.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        # Peers are prototypes (nested tensors) and betas (sparse matrices), and say so.
        "PYTHONWARNINGS": "ignore::UserWarning",
    }
    if not options.quick:  # compile times are those of a first run
        environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    flags = ["--threads", str(threads), "--seconds", str(options.seconds)]
    flags += ["--backend", options.backend, *(["--quick"] if options.quick else [])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, __file__, *flags, "--rows-to", str(path), *part]
        failed = subprocess.run(command, env=environment, check=False).returncode
        if failed:  # the child has said why
            raise SystemExit(failed)
        return json.loads(path.read_text())


def measure(options: argparse.Namespace) -> Rows:
    """The work of a child."""
    torch.set_num_threads(options.threads[0])
    torch.manual_seed(0)
    settings = Settings(options.backend, options.seconds, options.quick)
    if options.memory:
        return memory(options.memory, settings)
    rows = []
    for name in options.only:
        print(f"{options.threads[0]} threads: {name}", file=sys.stderr, flush=True)
        rows += ROWS[name](settings)
    return rows


def about(options: argparse.Namespace, load: float) -> dict[str, Any]:
    """What the machine does not say: versions, and how idle it was."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {
        "threads": options.threads,
        "backend": options.backend,
        "load_before": round(load, 2),
        "accelerators_of_pyg": found,
    }


def options_of_call() -> argparse.Namespace:
    parser = arguments(__doc__)
    everything = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="+", default=everything)
    parser.add_argument("--backend", default="native")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*ROWS, "memory"],
        metavar="ROW",
        default=[*ROWS, "memory"],
        help=f"some of {', '.join([*ROWS, 'memory'])}",
    )
    parser.add_argument("--memory", choices=MEMORY_JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--rows-to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seconds = min(options.seconds, 0.02) if options.quick else options.seconds
    return options


def main() -> None:
    """Measure everything in child processes, print the tables, write the JSON."""
    options, load = options_of_call(), os.getloadavg()[0]
    if options.rows_to:
        options.rows_to.write_text(json.dumps(measure(options)))
        return
    rows: Rows = []
    timed = [name for name in options.only if name != "memory"]
    for threads in options.threads if timed else ():
        rows += child(options, threads, "--only", *timed)
    for job in MEMORY_JOBS if "memory" in options.only else ():
        rows += child(options, 1, "--memory", job)
    report(rows)
    save("sparse_attention", rows, options, **about(options, load))


if __name__ == "__main__":
    main()
