"""Does the planner choose well, and what does a choice gain?

Regret: problems drawn at random (family, size, density, heads, head_dim, dtype, pass), none of
which the constants were fitted to. All backends that accept one are timed in turn, and the time of
the chosen plan is divided by that of the best. Then named work against honest peers: torch's own
attention, a BigBird graph, batches, and real graphs against every single backend. One thread.

    python benchmarks/planner.py [--seconds 0.2] [--problems 240] [--only regret bigbird] [--quick]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable

import torch
from _harness import (
    BOTH,
    DTYPES,
    FORWARD,
    arguments,
    attention_contenders,
    begin,
    both_passes,
    interleaved,
    save,
)
from _peers import masked, padded_on_the_way
from _problems import Case, grid, label, problem_of
from _results import Row, markdown
from _workloads import debian, molecule_sizes, node_graph, power_law
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import edgewise as ew
from edgewise.backends import BACKENDS, Accepts
from edgewise.planning import BackendPlan, choose
from edgewise.planning.cost import seconds as estimated

FACTOR = 8.0  # a backend that is estimated to take this many times the best is not timed
LONGEST = 0.4  # seconds, by estimate


# --- Regret --------------------------------------------------------------------------------------


def regret_of(case: Case, seconds: float) -> Row | None:
    """Time every backend that accepts a case, and divide."""
    problem = problem_of(case)
    estimates = {}
    for backend in BACKENDS:
        verdict = backend.judge(problem)
        if backend.name != "reference" and isinstance(verdict, Accepts) and verdict.memory < 4e9:
            estimates[backend.name] = estimated(verdict.work, verdict.way, problem)
    plan = choose(problem).plan
    limit = min(LONGEST, FACTOR * min(estimates.values()))
    names = [name for name, time in estimates.items() if time <= limit]
    chosen = plan.backend if isinstance(plan, BackendPlan) else "auto"
    if chosen not in names:
        names.append(chosen)
    if len(names) < 2:
        return None
    run = case.job()
    times = interleaved({name: lambda name=name: run(name) for name in names},
                        seconds=seconds, rounds=400, least=3)  # fmt: skip
    best = min(times, key=lambda name: times[name]["min_ms"])
    return {
        "case": case.name,
        "chosen": plan.name,
        "best": best,
        "regret": times[chosen]["min_ms"] / times[best]["min_ms"],
        "estimate_ms": 1e3 * plan.seconds,
        "ms": {name: time["min_ms"] for name, time in times.items()},
    }


def regret(options: argparse.Namespace) -> list[Row]:
    """Over the whole grid."""
    rows = []
    for number, case in enumerate(grid(options.problems)):
        row = regret_of(case, options.seconds)
        if row is not None:
            rows.append({"work": "regret", **row})
        if number % 20 == 19:
            print(f"  {number + 1} problems, {len(rows)} with a choice", flush=True)
    values = sorted(row["regret"] for row in rows)
    most = values[min(len(values) - 1, math.ceil(0.95 * len(values)) - 1)]
    print(f"\nregret over {len(values)} problems: median {statistics.median(values):.3f}, "
          f"95 % {most:.3f}, worst {values[-1]:.3f}\n")  # fmt: skip
    worst = sorted(rows, key=lambda row: -row["regret"])[:12]
    table = [[r["case"], r["chosen"], r["best"], f"{r['regret']:.2f}"] for r in worst]
    print(markdown(["problem", "chosen", "best", "regret"], table))
    return rows


# --- Named work ----------------------------------------------------------------------------------


def compare(
    work: str, case: Case, peers: dict[str, Callable[..., Tensor]], seconds: float
) -> list[Row]:
    """`auto` against backends by name and other functions of query, key and value."""
    torch.manual_seed(0)
    functions = {"auto": lambda *t: ew.attention(*t, case.graph), **peers}
    sizes = (1, case.heads, case.graph.num_targets, case.dim)
    contenders = attention_contenders(functions, sizes, case.dtype, sources=case.graph.num_sources)
    rows = both_passes(
        contenders,
        base="auto",
        seconds=seconds,
        rounds=2000,
        passes=(BOTH if case.training else FORWARD,),
    )
    (mine,) = (row["min_ms"] for row in rows if row["job"] == "auto")
    plan = choose(problem_of(case)).plan.name
    return [
        {
            "work": work,
            "case": case.name,
            "peer": row.pop("job"),
            "plan": plan,
            "ratio": row["min_ms"] / mine,
            **row,
        }
        for row in rows
    ]


def backends(graph: ew.Graph, *names: str) -> dict[str, Callable[..., Tensor]]:
    """Backends by name, as functions of query, key and value."""
    return {name: lambda *t, name=name: ew.attention(*t, graph, backend=name) for name in names}


def passes() -> list[tuple[torch.dtype, bool]]:
    """Both dtypes, both passes."""
    return [(dtype, training) for dtype in DTYPES for training in (False, True)]


def torch_own(options: argparse.Namespace) -> list[Row]:
    """Complete and causal graphs against torch's own attention."""
    rows = []
    for nodes in (4, 64) if options.quick else (4, 64, 512, 1024, 2048):
        for causal in (False, True):
            graph = ew.Causal(nodes) if causal else ew.Complete(nodes)
            for training in (False, True):
                case = Case(f"{graph}, {label(torch.float32, training)}", graph, 8, 64,
                            torch.float32, training)  # fmt: skip
                peer = {"torch": lambda *t, causal=causal: scaled_dot_product_attention(
                    *t, is_causal=causal)}  # fmt: skip
                rows += compare("torch's own", case, peer, 2 * options.seconds)
    return rows


def bigbird(options: argparse.Namespace) -> list[Row]:
    """A window of 128 on both sides, 64 hubs, 3 random sources a row."""
    nodes = 2048 if options.quick else 16_384
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(nodes).repeat_interleave(3)
    source = torch.randint(nodes, target.shape, generator=generator)
    keys = torch.unique(target * nodes + source)
    edges = ew.EdgeList(torch.stack([keys % nodes, keys // nodes]), num_nodes=nodes)
    hubs = ew.Hubs(nodes, range(0, nodes, nodes // 64))
    graph = ew.Window(nodes, left=128, right=128) | hubs | edges
    rows = []
    for dtype, training in passes():
        case = Case(f"BigBird, {label(dtype, training)}", graph, 8, 64, dtype, training)
        accepted = [b.name for b in BACKENDS if isinstance(b.judge(problem_of(case)), Accepts)]
        single = [n for n in accepted if n not in ("reference", "gather", "dense", "flex")]
        rows += compare("BigBird", case, backends(graph, *single), 8 * options.seconds)
    return rows


def batches(options: argparse.Namespace) -> list[Row]:
    """Molecules and packed documents against padding and against a mask."""
    rows = []
    sizes = molecule_sizes(16 if options.quick else 256)
    draw = random.Random(5)
    longs: list[int] = []
    while sum(longs) < (2048 if options.quick else 8192):
        longs.append(int(2 ** draw.uniform(6, 10)))
    for dtype, training in passes():
        name = label(dtype, training)
        graph = ew.Blocks(sizes)
        case = Case(f"{len(sizes)} molecules, {name}", graph, 8, 16, dtype, training)
        rows += compare("batches", case, {"padded": padded_on_the_way(sizes, causal=False)},
                        4 * options.seconds)  # fmt: skip
        packed = ew.disjoint_union([ew.Causal(size) for size in longs])
        case = Case(f"{len(longs)} documents, {name}", packed, 8, 64, dtype, training)
        peers = {"padded": padded_on_the_way(longs, causal=True), "block mask": masked(packed)}
        rows += compare("batches", case, peers, 4 * options.seconds)
    return rows


def real(options: argparse.Namespace) -> list[Row]:
    """Real graphs and a power law against every single backend."""
    rows = []
    graphs = {"Cora": (node_graph("cora"), 8, 8)}
    if not options.quick:
        graphs |= {
            "tolokers": (node_graph("tolokers"), 8, 16),
            "Debian": (debian(), 8, 16),
            "power law": (power_law(169_000, 2_400_000), 8, 16),
        }
    for name, (graph, heads, dim) in graphs.items():
        for dtype, training in passes():
            case = Case(f"{name}, {label(dtype, training)}", graph, heads, dim, dtype, training)
            problem = problem_of(case)
            names = []
            for backend in BACKENDS:
                verdict = backend.judge(problem)
                if backend.name == "reference" or not isinstance(verdict, Accepts):
                    continue
                slow = estimated(verdict.work, verdict.way, problem) > 5
                if verdict.memory < 5e9 and not slow:
                    names.append(backend.name)
            rows += compare("real graphs", case, backends(graph, *names), 4 * options.seconds)
    return rows


def planning(options: argparse.Namespace) -> list[Row]:
    """How long choosing takes, for a graph that nobody has seen: least of many."""
    nodes = 16_384
    hubs = range(0, nodes, nodes // 64)
    sizes = molecule_sizes(256)
    edges = [
        (name, graph.edge_index, graph.num_targets)
        for name, graph in (("Cora", node_graph("cora")), ("tolokers", node_graph("tolokers")))
    ]
    fresh: dict[str, Callable[[], ew.Graph]] = {
        "complete": lambda: ew.Complete(nodes),
        "causal": lambda: ew.Causal(nodes),
        "window": lambda: ew.Window(nodes, left=128, right=128),
        "window and 64 hubs": lambda: ew.Window(nodes, left=128, right=128) | ew.Hubs(nodes, hubs),
        "256 molecules": lambda: ew.Blocks(sizes),
        "21 documents": lambda: ew.disjoint_union([ew.Causal(400 + n) for n in range(21)]),
    } | {
        name: lambda index=index, count=count: ew.EdgeList(index, num_nodes=count)
        for name, index, count in edges
    }  # fmt: skip
    listed = {name for name, _, _ in edges}
    rows = []
    for name, build in fresh.items():
        for training in (False, True):
            graphs = [build() for _ in range(5 if options.quick else 20)]
            nodes = graphs[0].num_targets
            query = torch.zeros(1, 8, 1, 64).expand(-1, -1, nodes, -1).requires_grad_(training)

            def plan(graph: ew.Graph, query: Tensor = query) -> str:
                return ew.plan(query, query, query, graph).name

            times = [clocked(lambda graph=graph: plan(graph)) for graph in graphs]
            row = {"work": "planning", "case": f"{name}, {label(torch.float32, training)}",
                   "plan": plan(graphs[0]), "min_ms": min(times),
                   "median_ms": statistics.median(times)}  # fmt: skip
            if name in listed:  # what any kernel for sparse graphs has to do
                row["csr_ms"] = min(clocked(lambda: ew.lower(build(), ew.Csr))  # noqa: B023
                                    for _ in graphs)  # fmt: skip
            rows.append(row)
    table = [
        [r["case"], r["plan"], *(f"{r[k]:.3g}" if k in r else "" for k in TIMES)] for r in rows
    ]
    print(markdown(["graph", "plan", "ms", "median ms", "building CSR, ms"], table))
    return rows


TIMES = ("min_ms", "median_ms", "csr_ms")


def clocked(job: Callable[[], object]) -> float:
    """Milliseconds of one run."""
    before = time.perf_counter()
    job()
    return 1e3 * (time.perf_counter() - before)


SECTIONS = {
    "planning": planning,
    "regret": regret,
    "torch": torch_own,
    "bigbird": bigbird,
    "batches": batches,
    "real": real,
}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = arguments(__doc__, seconds=0.2)
    parser.add_argument("--problems", type=int, default=240, help="of the grid of regret")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = begin(parser)
    if options.quick:
        options.problems = 12
    for name in options.only:
        found = SECTIONS[name](options)
        if name not in ("planning", "regret"):
            table = [[r["case"], r["peer"], r["plan"], f"{r['min_ms']:.4g}", f"{r['ratio']:.3g}x"]
                     for r in found]  # fmt: skip
            print(markdown(["work", "job", "plan of auto", "ms", "of auto's time"], table))
        save("planner", found, options)


if __name__ == "__main__":
    main()
