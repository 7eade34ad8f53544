"""Does an order of rows of their own make attention faster, and for which graphs?

Names of nodes are shuffled, so that neighbours in the graph are not neighbours in memory. The
kernels then take the rows in each order; the tensors stay where they are. 8 heads of 16 channels,
float32, nodes outermost. All orders of a graph run interleaved.

    python benchmarks/node_order.py [--nodes 170000] [--seconds 2] [--only GRAPH ...] [--seed 0]
                                    [--quick]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from _harness import arguments, begin, interleaved, save
from _results import table
from _workloads import power_law
from scipy.sparse import csgraph, csr_matrix

import edgewise as ew
from edgewise.backends.native import row_order as orders
from edgewise.backends.native.functions import attention
from edgewise.backends.native.layout import Layout, Rows
from edgewise.backends.native.operands import Operands, settings_of
from edgewise.backends.native.row_order import cuthill_mckee, in_better_order, near
from edgewise.layouts import csr

HEADS, DIM, DEGREE = 8, 16, 14
HEADERS = ["order", "forward", "both", "find ms", "apply ms", "near", "reads saved a row"]


# --- Graphs ----------------------------------------------------------------------------------


def _shuffled(low: np.ndarray, high: np.ndarray, n: int, seed: int) -> ew.EdgeList:
    """Both directions of each pair, no loops, no pair twice, names drawn."""
    name = np.random.default_rng(seed).permutation(n)
    low, high = name[low[low != high]], name[high[low != high]]
    keys = np.unique(np.concatenate([low * n + high, high * n + low]))
    target, source = np.divmod(keys, n)
    return ew.EdgeList(torch.from_numpy(np.stack([source, target])), num_nodes=n)


def _grid(n: int, dims: int, seed: int) -> ew.EdgeList:
    """Every node and all that touch it: 8 neighbours in two dimensions, 26 in three."""
    width = round(n ** (1 / dims))
    at = np.indices((width,) * dims).reshape(dims, -1)
    steps = np.indices((3,) * dims).reshape(dims, -1).T - 1
    pairs = []
    for step in steps[len(steps) // 2 + 1 :]:
        to = at + step[:, None]
        inside = ((to >= 0) & (to < width)).all(0)
        scale = width ** np.arange(dims)[::-1]
        pairs.append(np.stack([scale @ at[:, inside], scale @ to[:, inside]]))
    return _shuffled(*np.concatenate(pairs, 1), width**dims, seed)


def _geometric(n: int, seed: int) -> ew.EdgeList:
    from scipy.spatial import cKDTree

    points = np.random.default_rng(seed).random((n, 2))
    pairs = cKDTree(points).query_pairs((DEGREE / np.pi / n) ** 0.5, output_type="ndarray")
    return _shuffled(*pairs.T.astype(np.int64), n, seed)


def _communities(n: int, seed: int, count: int = 200, inside: float = 0.9) -> ew.EdgeList:
    random = np.random.default_rng(seed)
    size = n // count
    n, edges = size * count, n * DEGREE // 2
    low = random.integers(0, n, edges)
    near_by = low // size * size + random.integers(0, size, edges)
    high = np.where(random.random(edges) < inside, near_by, random.integers(0, n, edges))
    return _shuffled(low, high, n, seed)


def _ring(n: int, seed: int, rewired: float = 0.0) -> ew.EdgeList:
    random = np.random.default_rng(seed)
    low = np.arange(n).repeat(DEGREE // 2)
    high = (low + np.tile(np.arange(1, DEGREE // 2 + 1), n)) % n
    drawn = random.random(len(low)) < rewired
    high[drawn] = random.integers(0, n, drawn.sum())
    return _shuffled(low, high, n, seed)


GRAPHS: dict[str, Callable[[int, int], ew.EdgeList]] = {
    "2D grid": lambda n, seed: _grid(n, 2, seed),
    "3D grid": lambda n, seed: _grid(n, 3, seed),
    "random geometric": _geometric,
    "communities": _communities,
    "ring": _ring,
    "small world": lambda n, seed: _ring(n, seed, 0.05),
    "power law": lambda n, seed: power_law(n, DEGREE * n, seed),
}


# --- Orders ----------------------------------------------------------------------------------


def _matrix(rows: Rows) -> csr_matrix:
    parts = (np.ones(rows.num_edges, np.int32), rows.indices.numpy(), rows.indptr.numpy())
    return csr_matrix(parts, shape=(rows.num_rows, rows.num_columns))


def _breadth_first(rows: Rows) -> np.ndarray:
    """From the first node of the largest component; what is not reached comes last."""
    matrix = _matrix(rows)
    _, component = csgraph.connected_components(matrix, directed=False)
    largest = component == np.bincount(component).argmax()
    start = np.flatnonzero(largest)[0]
    reached = csgraph.breadth_first_order(matrix, start, return_predecessors=False)
    return np.concatenate([reached, np.flatnonzero(~largest)])


def _community(rows: Rows, rounds: int = 6) -> np.ndarray:
    """Label propagation; communities and their nodes each in reverse Cuthill-McKee order.

    Raghavan, Albert, Kumara. Near linear time algorithm to detect community structures. 2007.
    """
    random = np.random.default_rng(0)
    n = rows.num_rows
    label, source = np.arange(n), rows.indices.numpy()
    target = np.repeat(np.arange(n), rows.indptr.diff().numpy())
    for _ in range(rounds):
        keys, count = np.unique(target * n + label[source], return_counts=True)
        of, found = np.divmod(keys, n)
        best = np.lexsort((random.random(len(keys)), count, of))
        last = best[np.append(of[1:] != of[:-1], True)]  # sorted by node first, so these agree
        chosen = label.copy()
        chosen[of[last]] = found[last]
        label = np.where(random.random(n) < 0.6, chosen, label)  # all at once would swing
    label = np.unique(label, return_inverse=True)[1]
    ones = np.ones(len(target), np.int32)
    coarse = csr_matrix((ones, (label[target], label[source])))
    inner = np.argsort(csgraph.reverse_cuthill_mckee(_matrix(rows)))
    outer = np.argsort(csgraph.reverse_cuthill_mckee(coarse))
    return np.lexsort((inner, outer[label]))


def _mckee(rows: Rows) -> torch.Tensor:
    found = cuthill_mckee(rows)
    assert found is not None
    return found[0]


ORDERS: dict[str, Callable[[Rows], torch.Tensor]] = {
    "degree": lambda rows: torch.argsort(rows.indptr.diff(), descending=True, stable=True),
    "reverse Cuthill-McKee": _mckee,
    "breadth first": lambda rows: torch.from_numpy(_breadth_first(rows).astype(np.int64)),
    "communities": lambda rows: torch.from_numpy(_community(rows)),
}


# --- Measuring -------------------------------------------------------------------------------


def _jobs(layouts: dict[str, Layout], nodes: int, *, backward: bool) -> dict:
    settings = settings_of(ew.Dot(), DIM, 0.0)
    q, k, v, push = (torch.randn(nodes, HEADS, DIM).transpose(0, 1)[None] for _ in range(4))

    def job(layout: Layout) -> Callable[[], object]:
        def run() -> object:
            leaves = [t.detach().requires_grad_(backward) for t in (q, k, v)]
            out, _ = attention(settings, layout, Operands(*leaves), None)
            return (out, *torch.autograd.grad(out, leaves, push)) if backward else (out,)

        return run

    return {name: job(layout) for name, layout in layouts.items()}


def _identical(results: dict) -> None:
    """An order changes no number."""
    first = results["none"]
    for name, found in results.items():
        assert all(map(torch.equal, found, first)), name


def measure(name: str, nodes: int, seconds: float, seed: int, which: list[str]) -> list[dict]:
    """One graph in every order."""
    graph = GRAPHS[name](nodes, seed)
    plain = Layout.of(csr(graph))
    layouts, find, apply = {"none": plain}, {"none": 0.0}, {"none": 0.0}
    _ = plain.reversed
    for label in which:
        start = time.perf_counter()
        order = ORDERS[label](plain.rows)
        found = time.perf_counter()
        rows, columns = plain.rows.in_order(order), plain.reversed.in_order(order)
        layouts[label] = Layout.of_rows(rows, columns, label)
        find[label], apply[label] = found - start, time.perf_counter() - found
    start = time.perf_counter()
    taken = in_better_order(plain)
    decision = {"used": taken is not plain, "decided_ms": 1e3 * (time.perf_counter() - start)}
    lines: list[dict] = []
    times = [
        interleaved(
            _jobs(layouts, graph.num_targets, backward=backward),
            seconds=seconds,
            check=_identical,
        )
        for backward in (False, True)
    ]
    degree = plain.rows.num_edges / plain.rows.num_rows
    for label, layout in layouts.items():
        share = near(layout.rows)
        lines.append(
            {
                "graph": name,
                "nodes": plain.rows.num_rows,
                "edges": plain.rows.num_edges,
                "seed": seed,
                "order": label,
                **{
                    f"ratio_{which_pass}": round(
                        time_["none"]["min_ms"] / time_[label]["min_ms"], 3
                    )
                    for which_pass, time_ in zip(("forward", "both"), times, strict=True)
                },
                "find_ms": round(1e3 * find[label], 1),
                "apply_ms": round(1e3 * apply[label], 1),
                "near": round(share, 3),
                "saved_reads_per_row": round((share - near(plain.rows)) * degree, 2),
                "forward": times[0][label],
                "both": times[1][label],
                **decision,
            }
        )
    return lines


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--nodes", type=int, default=170_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=GRAPHS, default=list(GRAPHS))
    parser.add_argument("--orders", nargs="*", choices=ORDERS, default=list(ORDERS))
    options = begin(parser)
    options.nodes = 2_000 if options.quick else options.nodes
    lines: list[dict] = []
    for name in options.only:
        mine = measure(name, options.nodes, options.seconds, options.seed, options.orders)
        lines += mine
        first = mine[0]
        print(
            f"\n{name}: {first['nodes']:,} nodes, {first['edges']:,} edges; faster than no order"
            f" (x); no order takes {first['forward']['min_ms']:.0f} and"
            f" {first['both']['min_ms']:.0f} ms; "
            f"{'used' if first['used'] else 'not used'} ({first['decided_ms']:.0f} ms)"
        )
        keys = ("order", "ratio_forward", "ratio_both", "find_ms", "apply_ms", "near")
        print(
            table(HEADERS, [[*(x[k] for k in keys), x["saved_reads_per_row"]] for x in mine]),
            flush=True,
        )
    save("node_order", lines, options, own=orders.OWN)


if __name__ == "__main__":
    main()
