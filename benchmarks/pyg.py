"""Training epochs of PyTorch Geometric's models: its own layers, ours, and ours swapped in.

    EDGEWISE_DATA=../shared/data python benchmarks/pyg.py            # all, a few minutes
    EDGEWISE_DATA=../shared/data python benchmarks/pyg.py --quick    # small graphs, to try it

An epoch is forward, loss, backward and a step of Adam over the whole graph, on one thread; the
three kinds of a model take turns. Memory is the growth of the process over an epoch, each kind in a
process of its own. Accuracy on Cora is that of several seeds, with the published settings.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from argparse import SUPPRESS
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torch_geometric.nn as stock
from _harness import arguments, begin, interleaved, peak_memory, save
from _results import Row, table
from _workloads import node_graph, power_law
from torch import Tensor, nn

from edgewise.integrations import pyg
from edgewise.integrations.pyg import accelerate
from edgewise.training import load

KINDS = ("stock", "drop-in", "accelerate")


@dataclass(frozen=True)
class Workload:
    """A graph with features and classes, and a model for it."""

    name: str
    bar: float | None
    x: Tensor
    y: Tensor
    edge_index: Tensor
    layer: str
    hidden: int
    heads: int
    dropout: float = 0.0

    def model(self, kind: str) -> nn.Module:
        """The model, with layers of one kind and always the same weights."""
        torch.manual_seed(0)
        library = pyg if kind == "drop-in" else stock
        net = Net(getattr(library, self.layer), self)
        if kind == "accelerate":
            accelerate(net)
        return net


class Net(nn.Module):
    """Two layers of attention, as PyTorch Geometric's example of GAT has them."""

    def __init__(self, layer: type[nn.Module], work: Workload) -> None:
        super().__init__()
        classes = int(work.y.max()) + 1
        self.dropout = work.dropout
        rates = {"dropout": work.dropout}
        self.first = layer(work.x.shape[1], work.hidden, heads=work.heads, **rates)
        self.second = layer(work.hidden * work.heads, classes, heads=1, concat=False, **rates)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        x = F.elu(self.first(x, edge_index))
        x = F.dropout(x, self.dropout, self.training)
        return self.second(x, edge_index)


def cora(*, quick: bool) -> Workload:  # noqa: ARG001 (it is small)
    data = load("cora")
    return Workload("Cora, GAT", 2, data.x, data.y, data.topology.edge_index, "GATConv", 8, 8, 0.6)


def cora_narrow(*, quick: bool) -> Workload:  # noqa: ARG001 (it is small)
    """Cora's graph with 64 features and no dropout: the dense product no longer hides the rest."""
    data = load("cora")
    x = torch.randn(data.x.shape[0], 64)
    return Workload("Cora, 64 features", 2, x, data.y, data.topology.edge_index, "GATConv", 8, 8)


def tolokers(*, quick: bool) -> Workload:
    graph = node_graph("minesweeper" if quick else "tolokers")
    x, y = torch.randn(graph.num_targets, 10), torch.randint(2, (graph.num_targets,))
    return Workload("tolokers, GAT", 3, x, y, graph.edge_index.clone(), "GATConv", 16, 8)


def large(layer: str) -> Callable[..., Workload]:
    def built(*, quick: bool) -> Workload:
        graph = power_law(3_000, 40_000) if quick else power_law(169_000, 2_400_000)
        x, y = torch.randn(graph.num_targets, 128), torch.randint(40, (graph.num_targets,))
        name = f"power law, {layer}"
        return Workload(name, 5, x, y, graph.edge_index.clone(), layer, 16, 8)

    return built


WORK = {
    "cora": cora,
    "cora-narrow": cora_narrow,
    "tolokers": tolokers,
    "power-law": large("GATConv"),
    "power-law-transformer": large("TransformerConv"),
}


def epoch(work: Workload, model: nn.Module, train: Tensor | None = None) -> Callable[[], float]:
    """One step of training on the whole graph."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=5e-4)

    def step() -> float:
        optimizer.zero_grad()
        out = model(work.x, work.edge_index)
        target = work.y if train is None else work.y[train]
        loss = F.cross_entropy(out if train is None else out[train], target)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def agree(losses: dict[str, float], work: Workload) -> None:
    """The first steps start from the same weights; without dropout they are the same."""
    if not work.dropout and max(losses.values()) > min(losses.values()) * 1.001:
        raise SystemExit(f"{work.name}: the losses differ, {losses}. Nothing was timed.")


def timed(work: Workload, seconds: float) -> list[Row]:
    jobs = {kind: epoch(work, work.model(kind)) for kind in KINDS}
    times = interleaved(
        jobs, seconds=seconds, rounds=200, least=2, check=lambda losses: agree(losses, work)
    )
    sizes = {"nodes": work.x.shape[0], "edges": work.edge_index.shape[1], "bar": work.bar}
    return [{"work": work.name, "job": kind, **sizes, **times[kind]} for kind in KINDS]


def memory(name: str, kind: str, *, quick: bool) -> Row:
    """Growth of memory over an epoch, when graphs and optimizers are there: the median of five.

    What the allocator kept of the epoch before makes single ones differ by a third.
    """
    work = WORK[name](quick=quick)
    step = epoch(work, work.model(kind))
    first, *again = (peak_memory(step) or 0 for _ in range(6))
    bytes_ = statistics.median(again)
    return {"work": work.name, "job": f"{kind}, memory", "first_bytes": first, "bytes": bytes_}


def accuracy(seeds: int, epochs: int) -> list[Row]:
    """Test accuracy on Cora's public split after training with the published settings."""
    work, data = cora(quick=False), load("cora")
    split, rows = data.split(0), []
    for kind in ("stock", "drop-in"):
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = Net((pyg if kind == "drop-in" else stock).GATConv, work)
            step, best, kept = epoch(work, model, split.train), -1.0, 0.0
            for _ in range(epochs):
                model.train()
                step()
                model.eval()
                with torch.no_grad():
                    right = (model(work.x, work.edge_index).argmax(-1) == work.y).float()
                valid = float(right[split.val].mean())
                if valid > best:
                    best, kept = valid, float(right[split.test].mean())
            found.append(100 * kept)
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        rows.append(
            {
                "work": "Cora, test accuracy",
                "job": kind,
                "mean": round(statistics.mean(found), 2),
                "stdev": round(spread, 2),
                "each": [round(value, 1) for value in found],
                "epochs": epochs,
            }
        )
    return rows


def printed(rows: list[Row]) -> str:
    """Ratio first."""
    lines = []
    for work in dict.fromkeys(row["work"] for row in rows if "min_ms" in row):
        of = {row["job"]: row for row in rows if row["work"] == work}
        for kind in KINDS[1:]:
            ratio = of["stock"]["min_ms"] / of[kind]["min_ms"]
            bar = of[kind]["bar"]
            times = f"{of[kind]['min_ms']:.4g} / {of['stock']['min_ms']:.4g} ms"
            reached = "yes" if ratio >= bar else "NO"
            lines.append([f"{work}, {kind}", f"{ratio:.3g}x", f">= {bar}x: {reached}", times])
        grown = [of.get(f"{kind}, memory", {}).get("bytes") for kind in ("drop-in", "stock")]
        if all(grown):
            share, text = grown[1] / grown[0], f"{grown[0] / 1e6:,.0f} / {grown[1] / 1e6:,.0f} MB"
            reached = "yes" if share >= 10 else "NO"
            lines.append([f"{work}, memory", f"1/{share:.3g}", f"<= 1/10: {reached}", text])
    for row in rows:
        if "mean" in row:
            text = f"{row['mean']:.1f} ± {row['stdev']:.1f} %"
            lines.append([f"{row['work']}, {row['job']}", text, "", f"{len(row['each'])} seeds"])
    return table(["work", "gain", "bar", "ours / stock"], lines)


def main() -> None:
    parser = arguments(__doc__, seconds=10.0)
    parser.add_argument("--only", choices=[*WORK, "accuracy"], nargs="*", help="not everything")
    parser.add_argument("--memory", nargs=2, metavar=("WORK", "KIND"), help=SUPPRESS)
    options = begin(parser)
    if options.memory:
        print(json.dumps(memory(*options.memory, quick=options.quick)))
        return
    rows: list[Row] = []
    for name, built in WORK.items():
        if options.only and name not in options.only:
            continue
        rows += timed(built(quick=options.quick), options.seconds)
        if name.startswith("power-law"):
            for kind in ("stock", "drop-in"):
                command = [sys.executable, __file__, "--memory", name, kind]
                command += ["--quick"] if options.quick else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
    if not options.only or "accuracy" in options.only:
        rows += accuracy(*((1, 5) if options.quick else (5, 200)))
    print(printed(rows))
    save("pyg", rows, options)


if __name__ == "__main__":
    main()
