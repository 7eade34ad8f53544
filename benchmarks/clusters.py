"""How fast are clusters as tiles, against the kernels that go edge by edge and against all pairs?

Communities of 100 to 300 and of 600 to 1,000 among 4,096 nodes, with edges to a share of their own
community, 8 heads of 64 channels, one thread, interleaved: `blocked`, `native` and `dense`. With
EDGEWISE_DATA, the tolokers graph as well, by reverse Cuthill-McKee: as published, its tiles are
still emptier.

    python benchmarks/clusters.py [--seconds 1.0] [--quick]
"""

from __future__ import annotations

import os

import numpy as np
import torch
from _harness import DTYPES, arguments, attention_contenders, begin, both_passes, ratios, save
from _results import Row, markdown
from _workloads import node_graph

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
    if "EDGEWISE_DATA" not in os.environ:
        return {}
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    graph = node_graph("tolokers", loops=False)
    nodes, both = graph.num_targets, graph.edge_index
    ones = np.ones(both.shape[1], dtype=np.int8)
    matrix = coo_array((ones, (both[1].numpy(), both[0].numpy())), shape=(nodes, nodes)).tocsr()
    order = torch.empty(nodes, dtype=torch.int64)
    order[torch.from_numpy(reverse_cuthill_mckee(matrix, symmetric_mode=True).copy()).long()] = (
        torch.arange(nodes)
    )
    return {"tolokers, reverse Cuthill-McKee": ew.EdgeList(order[both], num_nodes=nodes)}


def measure(name: str, graph: ew.EdgeList, dtype: torch.dtype, seconds: float) -> list[Row]:
    """Both passes of all backends."""
    nodes = graph.num_targets
    functions = {
        backend: lambda *t, backend=backend: ew.attention(*t, graph, backend=backend)
        for backend in BACKENDS
        if backend != "dense" or nodes <= DENSE_NODES
    }
    jobs = attention_contenders(functions, (1, HEADS, nodes, DIM), dtype)
    tiles = tile_fill(graph)
    about = {
        "graph": name,
        "dtype": str(dtype).removeprefix("torch."),
        "edges": graph.num_edges,
        "fill": round(graph.num_edges / (tiles.num_tiles * tiles.rows * tiles.columns), 3),
    }
    trained = jobs["native"].inputs
    chosen = {
        "forward": ew.plan(*(tensor.detach() for tensor in trained), graph).name,
        "forward + backward": ew.plan(*trained, graph).name,
    }
    rows = both_passes(jobs, base="native", seconds=seconds, rounds=50)
    return [about | {"auto": chosen[row["pass"]], **row} for row in rows]


def main() -> None:
    """Measure, print, write the JSON."""
    options = begin(arguments(__doc__))
    nodes = 512 if options.quick else 4096
    graphs = {
        f"communities of {low} to {high}, {density:.0%}": communities(nodes, low, high, density)
        for low, high in ((100, 300), (600, 1000))
        for density in ((0.5,) if options.quick else (0.1, 0.3, 0.5, 0.8))
    }
    graphs |= {} if options.quick else tolokers()
    rows = [
        row
        for name, graph in graphs.items()
        for dtype in DTYPES
        for row in measure(name, graph, dtype, options.seconds)
    ]
    cells = []
    for row, ratio in zip(rows, ratios(rows, "native", ("graph", "dtype", "pass")), strict=True):
        names = (row["graph"], f"{row['fill']:.2f}", row["dtype"], row["pass"], row["job"])
        cells.append([*names, f"{row['min_ms']:.4g}", ratio, row["auto"]])
    headers = ["graph", "fill", "dtype", "pass", "job", "ms", "of native's time", "auto takes"]
    print(markdown(headers, cells))
    save("clusters", rows, options, nodes=nodes, heads=HEADS, dim=DIM)


if __name__ == "__main__":
    main()
