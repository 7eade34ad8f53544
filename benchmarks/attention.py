"""How long does attention take on four graphs, by backend and against its peers?

Peers: torch's own kernel where the graph is complete or causal, and everywhere the plain formula
of graph-learning libraries (gather, softmax, scatter), eager and compiled by ``torch.compile``,
which is the honest one. All jobs of a row run interleaved. One thread by default.

    python benchmarks/attention.py [--threads 1] [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _measure import interleaved, peak_memory, save, table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import edgewise as ew

BACKENDS = ("reference", "gather", "dense")
HEADS, DIM = 8, 64


def ring(num_nodes: int, degree: int) -> ew.EdgeList:
    """Each node reads its ``degree`` nearest neighbours on a circle."""
    target = torch.arange(num_nodes).repeat_interleave(degree)
    steps = torch.tensor([s for s in range(-(degree // 2), degree // 2 + 1) if s])
    source = (target + steps.repeat(num_nodes)) % num_nodes
    return ew.EdgeList(torch.stack([source, target]), num_nodes=num_nodes)


def cora(*, loops: bool = True) -> ew.EdgeList:
    """The citation graph, edges both ways, with self-loops unless said otherwise."""
    if "EDGEWISE_DATA" not in os.environ:
        raise SystemExit("EDGEWISE_DATA must name the folder of data sets; `make bench` sets it.")
    path = Path(os.environ["EDGEWISE_DATA"]) / "planetoid" / "cora.npz"
    with np.load(path, allow_pickle=False) as data:
        index = torch.from_numpy(data["edges"].astype(np.int64))
    nodes = int(index.max()) + 1
    index = index[:, index[0] != index[1]]
    both = torch.cat([index, index.flip(0)], dim=1).unique(dim=1)
    if loops:
        both = torch.cat([both, torch.arange(nodes).expand(2, -1)], dim=1)
    return ew.EdgeList(both, num_nodes=nodes)


def plain(query: Tensor, key: Tensor, value: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Gather, softmax, scatter: the layer as it is usually written; nodes first, [N, H, D]."""
    score = (query[target] * key[source]).sum(-1) * query.shape[-1] ** -0.5
    index = target[:, None].expand_as(score)
    top = torch.full_like(query[..., 0], -torch.inf).scatter_reduce(0, index, score, "amax")
    share = (score - top[target]).exp()
    total = torch.zeros_like(top).index_add(0, target, share)
    weight = share / total[target]
    return torch.zeros_like(query).index_add(0, target, weight[..., None] * value[source])


def jobs(
    graph: ew.Graph, heads: int, dim: int, *, backward: bool
) -> dict[str, Callable[[], object]]:
    """Everything that computes this graph, by name."""
    n = graph.num_targets
    tensors = [torch.randn(1, heads, n, dim, requires_grad=backward) for _ in range(3)]
    found = ew.edges(graph)
    flat = [t.detach()[0].transpose(0, 1).contiguous().requires_grad_(backward) for t in tensors]
    compiled = torch.compile(plain, dynamic=False)

    def job(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
        def run() -> object:
            out = function(*inputs)
            return torch.autograd.grad(out.sum(), inputs) if backward else out

        return run

    todo = {
        name: job(lambda q, k, v, name=name: ew.attention(q, k, v, graph, backend=name), *tensors)
        for name in BACKENDS
    }
    todo["auto"] = job(lambda q, k, v: ew.attention(q, k, v, graph), *tensors)
    for name, formula in (("plain", plain), ("compiled plain", compiled)):
        todo[name] = job(
            lambda q, k, v, formula=formula: formula(q, k, v, found.target, found.source), *flat
        )
    if isinstance(graph, ew.Complete | ew.Causal):
        causal = isinstance(graph, ew.Causal)
        todo["torch sdpa"] = job(
            lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=causal), *tensors
        )
    return todo


def main() -> None:
    """Measure all graphs, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    graphs = {
        "complete, 512 nodes": (ew.Complete(512), HEADS, DIM),
        "causal, 512 nodes": (ew.Causal(512), HEADS, DIM),
        "ring of degree 8, 4,096 nodes": (ring(4096, 8), HEADS, DIM),
        "Cora, 8 x 8": (cora(), HEADS, 8),
    }
    rows = []
    for name, (graph, heads, dim) in graphs.items():
        for backward in (False, True):
            todo = jobs(graph, heads, dim, backward=backward)
            times = interleaved(todo, seconds=options.seconds)
            like = torch.randn(1, heads, graph.num_targets, dim, requires_grad=backward)
            chosen = ew.plan(like, like, like, graph)
            for job, time in times.items():
                rows.append(
                    {
                        "graph": name,
                        "edges": ew.edges(graph).num_edges,
                        "pass": "forward + backward" if backward else "forward",
                        "job": job,
                        "plan": chosen.name if job == "auto" else None,
                        "ratio_to_auto": round(time["min_ms"] / times["auto"]["min_ms"], 3),
                        "peak_bytes": peak_memory(todo[job]),
                        "estimated_bytes": _estimate(job, like, graph),
                        **time,
                    }
                )
    for name in graphs:
        mine = [row for row in rows if row["graph"] == name]
        print(
            f"\n{name}: {mine[0]['edges']:,} edges; ratio to auto, then milliseconds (min, median)"
        )
        print(_table(mine))
    print(f"\nwrote benchmarks/results/{save('attention', rows).name}")


def _estimate(job: str, like: Tensor, graph: ew.Graph) -> int | None:
    if job not in BACKENDS:
        return None
    plan = ew.plan(like, like, like, graph, backend=job, memory_budget=1 << 50)
    return plan.to_dict()["memory"]


def _table(rows: list[dict]) -> str:
    names = list(dict.fromkeys(row["job"] for row in rows))
    lines = []
    for name in names:
        both = [row for row in rows if row["job"] == name]
        cells = [f"{row['ratio_to_auto']:.2f}x" for row in both]
        cells += [f"{row['min_ms']:.2f} / {row['median_ms']:.2f}" for row in both]
        plans = {row["plan"] for row in both if row["plan"]}
        lines.append([name + (f" ({', '.join(sorted(plans))})" if plans else ""), *cells])
    return table(["job", "fwd", "fwd+bwd", "fwd ms", "fwd+bwd ms"], lines)


if __name__ == "__main__":
    main()
