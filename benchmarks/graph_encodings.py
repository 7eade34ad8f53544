"""How fast are positional encodings of many small graphs, against one graph at a time?

The first 10,000 molecules of ZINC with more than 8 atoms (PyTorch Geometric has no eigenvectors for
fewer), one thread and the time that the processor gave it, interleaved: ours on the disjoint union
of all of them, from their edges on, so with everything that a new graph costs; theirs molecule by
molecule, as a data set is prepared.

- `laplacian_eigenvectors` (8) against PyTorch Geometric's transform, told that all is undirected,
- `random_walk` (20 steps) against its transform, which works in float32, ours in float64,
- `shortest_paths` between all atoms of each molecule against SciPy's Dijkstra and networkx.

All results are compared before anything is timed.

    python benchmarks/graph_encodings.py [--seconds 20] [--quick]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import Any

import networkx as nx
import numpy as np
import scipy
import torch
from _harness import arguments, begin, interleaved, save
from _results import Row, markdown
from _workloads import bonds, zinc
from scipy.sparse import csgraph, csr_array
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE, AddRandomWalkPE

import edgewise as ew
from edgewise.nn import laplacian_eigenvectors, random_walk, shortest_paths
from edgewise.training.data.topology import Separate

EIGENVECTORS, STEPS = 8, 20


def molecules(count: int) -> Separate:
    """Bonds in both directions of the first molecules that have enough atoms."""
    every = bonds(zinc())
    chosen = (every.sizes > EIGENVECTORS).nonzero()[:count, 0]
    part = every.part(chosen)
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), part.sizes.cumsum(0)])
    counts = every.edge_ptr.diff()[chosen]
    edge_ptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Separate(part.edge_index - ends[:-1].repeat_interleave(counts), ends, edge_ptr)


def contenders(data: Separate) -> dict[str, dict[str, Callable[[], Any]]]:
    """For each encoding, ours and the others, as functions without arguments."""
    whole, sizes, graphs = data.whole(), data.sizes.tolist(), data.graphs()
    apart = [Data(edge_index=graph.edge_index, num_nodes=graph.num_targets) for graph in graphs]
    pairs = ew.Blocks(sizes)

    def union() -> ew.Graph:
        return ew.EdgeList(whole.edge_index, num_nodes=sum(sizes))

    def transformed(transform: Callable[[Data], Data]) -> list[Tensor]:
        return [transform(one).pe for one in apart]

    def by_scipy() -> list[Any]:
        found = []
        for graph in graphs:
            source, target = graph.edge_index.numpy()
            shape = (graph.num_targets, graph.num_targets)
            matrix = csr_array((np.ones(len(target)), (target, source)), shape)
            found.append(csgraph.shortest_path(matrix, method="D", unweighted=True))
        return found

    def by_networkx() -> list[Any]:
        found = []
        for graph in graphs:
            one = nx.DiGraph()
            one.add_nodes_from(range(graph.num_targets))
            one.add_edges_from(graph.edge_index.T.tolist())
            found.append(dict(nx.all_pairs_shortest_path_length(one)))
        return found

    laplacian = AddLaplacianEigenvectorPE(EIGENVECTORS, "pe", is_undirected=True)
    walk = AddRandomWalkPE(STEPS, "pe")
    return {
        f"laplacian_eigenvectors, k={EIGENVECTORS}": {
            "edgewise": lambda: laplacian_eigenvectors(union(), EIGENVECTORS),
            "AddLaplacianEigenvectorPE": partial(transformed, laplacian),
        },
        f"random_walk, k={STEPS}": {
            "edgewise": lambda: random_walk(union(), STEPS),
            "AddRandomWalkPE": partial(transformed, walk),
        },
        "shortest_paths": {
            "edgewise": lambda: shortest_paths(union(), pairs),
            "scipy": by_scipy,
            "networkx": by_networkx,
        },
    }


def agree(data: Separate, what: str) -> Callable[[dict[str, Any]], None]:
    """All results are the same numbers; eigenvectors have the same eigenvalues."""

    def check(results: dict[str, Any]) -> None:
        ours = results.pop("edgewise")
        for name, theirs in results.items():
            if what.startswith("laplacian"):
                error = float((_energy(data, ours) - _energy(data, torch.cat(theirs))).abs().max())
            elif what.startswith("random"):
                error = float((ours - torch.cat(theirs)).abs().max())
            else:
                error = float((ours - _flat(theirs)).abs().max())
            if not error < 1e-4:
                raise SystemExit(f"{what}: {name} differs by {error:.1e}: nothing was timed.")

    return check


def _energy(data: Separate, u: Tensor) -> Tensor:
    """The eigenvalue of each eigenvector, by molecule: ``u' L u``."""
    source, target = data.whole().edge_index
    root = torch.bincount(target).double()[:, None].sqrt()
    jumps = (u[source] / root[source] - u[target] / root[target]).double() ** 2 / 2
    each = torch.arange(data.num_graphs).repeat_interleave(data.edge_ptr.diff())
    return torch.zeros(data.num_graphs, u.shape[1], dtype=torch.float64).index_add(0, each, jumps)


def _flat(found: list[Any]) -> Tensor:
    """Distances in the order of ours; every molecule is connected."""
    rows = [_table(one) if isinstance(one, dict) else one for one in found]
    return torch.from_numpy(np.concatenate([row.ravel() for row in rows])).long()


def _table(lengths: dict[int, dict[int, int]]) -> np.ndarray:
    return np.array([[lengths[j][i] for j in range(len(lengths))] for i in range(len(lengths))])


def main() -> None:
    """Measure, print, write the JSON."""
    options = begin(arguments(__doc__, seconds=20.0))
    warnings.filterwarnings("ignore", message=".*sparse.*")
    data = molecules(100 if options.quick else 10_000)
    rows: list[Row] = []
    table = []
    for what, jobs in contenders(data).items():
        times = interleaved(
            jobs, seconds=options.seconds, rounds=100, check=agree(data, what), clock=thread_time
        )
        ours = times["edgewise"]
        for name, time in times.items():
            least = time["min_ms"] / ours["min_ms"]
            median = time["median_ms"] / ours["median_ms"]
            about = {"encoding": what, "job": name, "ratio_min": round(least, 2)}
            rows.append({**about, "ratio_median": round(median, 2), **time})
            each = 1e3 * time["min_ms"] / data.num_graphs
            table.append([what, name, f"{least:.3g}x", f"{median:.3g}x", f"{each:.4g}"])
    headers = ["encoding", "job", "min, of ours", "median, of ours", "us a molecule"]
    print(markdown(headers, table))
    versions = {m.__name__: m.__version__ for m in (scipy, nx)}
    size = {"molecules": data.num_graphs, "nodes": data.num_nodes, "edges": data.num_edges}
    save("graph_encodings", rows, options, clock="thread_time", **versions, **size)


if __name__ == "__main__":
    main()
