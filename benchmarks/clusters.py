"""How fast are clusters as tiles, against the kernels that go edge by edge and against all pairs?

Communities of 100 to 300 and of 600 to 1,000 among 4,096 nodes, with edges to a share of their own
community, 8 heads of 64 channels, one thread, interleaved: `blocked`, `native` and `dense`. With
EDGEWISE_DATA, the tolokers graph as well, by reverse Cuthill-McKee: as published, its tiles are
still emptier.

    python benchmarks/clusters.py [--seconds 1.0] [--quick]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import interleaved, markdown, save
from torch import Tensor

import edgewise as ew
from edgewise.layouts import tile_fill

HEADS, DIM = 8, 64
BACKENDS = ("blocked", "native", "dense")
DENSE_NODES = 5_000  # beyond, all pairs would take minutes


def communities(nodes: int, smallest: int, largest: int, density: float) -> ew.EdgeList:
    """Every community's pairs, each an edge with the given probability."""
    random = torch.Generator().manual_seed(0)
    targets, sources, start = [], [], 0
    while start < nodes:
        size = int(torch.randint(smallest, largest, (1,), generator=random))
        size = min(size, nodes - start)
        target, source = (torch.rand(size, size, generator=random) < density).nonzero().T
        targets.append(target + start)
        sources.append(source + start)
        start += size
    return ew.EdgeList(torch.stack([torch.cat(sources), torch.cat(targets)]), num_nodes=nodes)


def tolokers() -> dict[str, ew.EdgeList]:
    """A real graph, its nodes in an order that brings neighbours together; none without data."""
    path = Path(os.environ.get("EDGEWISE_DATA", "")) / "graphs" / "tolokers.npz"
    if not path.is_file():
        return {}
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    with np.load(path, allow_pickle=False) as data:
        pairs = torch.from_numpy(data["edges"].astype(np.int64)).T
        nodes = len(data["node_labels"])
    both = torch.cat([pairs, pairs.flip(0)], 1)
    ones = np.ones(both.shape[1], dtype=np.int8)
    matrix = coo_array((ones, (both[1].numpy(), both[0].numpy())), shape=(nodes, nodes)).tocsr()
    order = torch.empty(nodes, dtype=torch.int64)
    order[torch.from_numpy(reverse_cuthill_mckee(matrix, symmetric_mode=True).copy()).long()] = (
        torch.arange(nodes)
    )
    return {"tolokers, reverse Cuthill-McKee": ew.EdgeList(order[both], num_nodes=nodes)}


def measure(name: str, graph: ew.EdgeList, dtype: torch.dtype, seconds: float) -> list[Any]:
    """Both passes of all backends."""
    nodes = graph.num_targets
    tensors = [torch.randn(HEADS, nodes, DIM).to(dtype).requires_grad_() for _ in range(3)]
    constants = [tensor.detach() for tensor in tensors]
    push = torch.randn(HEADS, nodes, DIM).to(dtype)
    tiles = tile_fill(graph)
    about = {
        "graph": name,
        "dtype": str(dtype).removeprefix("torch."),
        "edges": graph.num_edges,
        "fill": round(graph.num_edges / (tiles.num_tiles * tiles.rows * tiles.columns), 3),
    }

    def forward(backend: str) -> Tensor:
        return ew.attention(*constants, graph, backend=backend)

    def both(backend: str) -> Tensor:
        out = ew.attention(*tensors, graph, backend=backend)
        return torch.stack(torch.autograd.grad(out, tensors, push))

    rows = []
    for pass_, job in (("forward", forward), ("forward + backward", both)):
        example = constants if job is forward else tensors
        jobs: dict[str, Callable[[], Tensor]] = {
            backend: lambda job=job, backend=backend: job(backend)
            for backend in BACKENDS
            if backend != "dense" or nodes <= DENSE_NODES
        }
        times = interleaved(jobs, seconds=seconds, rounds=50, check=agree(dtype))
        chosen = ew.plan(*example, graph).name
        rows += [
            about | {"pass": pass_, "job": backend, "auto": chosen, **time}
            for backend, time in times.items()
        ]
    return rows


def agree(dtype: torch.dtype) -> Callable[[dict[str, Tensor]], None]:
    """Results may differ by rounding alone."""

    def check(results: dict[str, Tensor]) -> None:
        expected = results["native"].float()
        for name, found in results.items():
            error = float((found.float() - expected).abs().max() / expected.abs().max())
            if error > (1e-4 if dtype == torch.float32 else 3e-2):
                raise SystemExit(f"{name} differs by {error:.1e}: nothing was timed.")

    return check


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for each job, on average")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nodes = 512 if options.quick else 4096
    graphs = {
        f"communities of {low} to {high}, {density:.0%}": communities(nodes, low, high, density)
        for low, high in ((100, 300), (600, 1000))
        for density in ((0.5,) if options.quick else (0.1, 0.3, 0.5, 0.8))
    }
    graphs |= {} if options.quick else tolokers()
    rows = []
    for name, graph in graphs.items():
        for dtype in (torch.float32, torch.bfloat16):
            rows += measure(name, graph, dtype, options.seconds)
    table = []
    for row in rows:
        same = ("graph", "dtype", "pass")
        native = next(
            other["min_ms"]
            for other in rows
            if other["job"] == "native" and all(other[key] == row[key] for key in same)
        )
        names = (row["graph"], f"{row['fill']:.2f}", row["dtype"], row["pass"], row["job"])
        share = f"{row['min_ms'] / native:.2f}x"
        table.append([*names, f"{row['min_ms']:.4g}", share, row["auto"]])
    headers = ["graph", "fill", "dtype", "pass", "job", "ms", "of native's time", "auto takes"]
    print(markdown(headers, table))
    if not options.quick:
        path = save("clusters", rows, nodes=nodes, heads=HEADS, dim=DIM)
        print(f"\nwrote benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
