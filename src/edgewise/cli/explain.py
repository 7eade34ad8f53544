"""``edgewise explain``: why attention on a graph runs the way it does on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from json import dumps as to_json
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from torch import Tensor

import edgewise as ew
from edgewise.cli.graph import graph_named
from edgewise.cli.options import Flag, at_least_one, bytes_of, device_named, shown
from edgewise.errors import ArgumentError, PlanError
from edgewise.graphs import Graph
from edgewise.measure.memory import as_text, free_memory
from edgewise.measure.threads import check_threads, threads_set
from edgewise.planning.budget import memory_budget as memory_budget_of
from edgewise.planning.call import read_call
from edgewise.problem import Problem

__all__ = ["explain"]

_NOTHING_RUNS = 1
_MOST = 1 << 62  # numbers that torch can count
_COPIES = {False: 2, True: 4}  # of query, key and value: outputs, and their gradients

ExplainedDtype = Literal["float64", "float32", "bfloat16", "float16"]


def explain(
    graph: Annotated[str, tyro.conf.Positional, shown("GRAPH")],
    /,
    heads: Annotated[int, shown("N")] = 8,
    kv_heads: Annotated[int | None, shown("N", "heads")] = None,
    head_dim: Annotated[int, shown("N")] = 64,
    batch: Annotated[int | None, shown("N", "1")] = None,
    dtype: Annotated[ExplainedDtype, shown("float64|float32|bfloat16|float16")] = "float32",
    training: Annotated[bool, Flag, shown(None)] = False,
    dropout: Annotated[float, shown("X")] = 0.0,
    backend: Annotated[str, shown("NAME")] = "auto",
    memory_budget: Annotated[str | None, shown("SIZE", "half of what is free")] = None,
    device: Annotated[str, shown("auto|cpu|cuda")] = "cpu",
    threads: Annotated[int | None, shown("N", "torch's")] = None,
    analyze: Annotated[bool, Flag, shown(None)] = False,
    json: Annotated[bool, Flag, shown(None)] = False,
    num_nodes: Annotated[int | None, shown("N", "what the edges need")] = None,
    graphs: Annotated[int | None, shown("N", "256, or all if fewer")] = None,
    data_root: Annotated[Path | None, shown("DIR", "EDGEWISE_DATA")] = None,
) -> int:
    """Why would attention on this graph run the way it does on this machine?

    Prints the plan, what was dearer, what was refused and why. Nothing is computed, and no tensor
    is made, so a graph of ten million nodes takes no longer than one of ten; with --analyze plans
    run on random tensors, but for those that fit into no memory, or are estimated to take over a
    second and over ten times the choice. Exit code 1 says that no backend can run it here.

    GRAPH is one of these:

      an expression, as graphs print:
        edgewise explain "Window(16384, left=128, right=128) | Hubs(16384, [0])"
        edgewise explain "Causal(4096)" --training --dtype bfloat16
        edgewise explain "disjoint_union([Complete(20), Causal(30)])" --analyze

      a data set (see edgewise datasets); of many graphs the first ones, side by side:
        edgewise explain cora --heads 8 --head-dim 8 --training
        edgewise explain mutag --graphs 64

      a file: .npz or .safetensors with edge_index [2, edges] (the layout of edgewise compare, of
      which x and y may be missing), .npy with that array, or .csv, .tsv, .txt or .edges (also
      .gz) with two columns, source and target:
        edgewise explain soc-LiveJournal1.txt.gz --json

    Args:
        graph: An expression, a data set or a file.
        heads: Heads of the query.
        kv_heads: Heads of key and value, which divide those of the query.
        head_dim: Channels of each head.
        batch: Leading dimension, whose entries share the graph (digits: as many as --graphs).
        dtype: Of all tensors.
        training: A backward pass follows.
        dropout: Share of attention weights that is dropped.
        backend: Only this one: it runs, or says why not.
        memory_budget: What a plan may take: bytes, or like 2GB.
        device: auto, cpu or cuda.
        threads: Threads of the runs that --analyze makes.
        analyze: Run every plan, and print what each took beside what was estimated.
        json: Print JSON and nothing else.
        num_nodes: Nodes of a graph from a file of edges.
        graphs: Graphs of a data set or file of many.
        data_root: Folder of the data sets.
    """
    at_least_one(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        batch=batch,
        num_nodes=num_nodes,
        graphs=graphs,
    )
    check_threads(threads)
    place = torch.device(device_named(device))
    limit = None if memory_budget is None else bytes_of("memory_budget", memory_budget)
    named = graph_named(graph, num_nodes=num_nodes, graphs=graphs, data_root=data_root)
    tensors = _tensors(
        named.graph,
        (batch or named.copies, heads, kv_heads or heads, head_dim),
        torch.empty((), dtype=getattr(torch, dtype), device=place, requires_grad=training),
        random=analyze,
    )
    with threads_set(threads or torch.get_num_threads()), _progress(analyze):
        try:
            explanation = ew.explain(
                *tensors,
                named.graph,
                dropout=dropout,
                backend=backend,
                memory_budget=limit,
                analyze=analyze,
            )
        except PlanError as error:
            if not error.refused:
                raise
            budget = memory_budget_of(place, limit)
            print(_nothing_runs(_problem(tensors, named.graph, dropout), error, budget, json=json))
            return _NOTHING_RUNS
    print(explanation.to_json() if json else explanation)
    return 0


def _tensors(
    graph: Graph, sizes: tuple[int, int, int, int], like: Tensor, *, random: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value: random numbers, or one number expanded to the whole shape."""
    batch, heads, kv_heads, head_dim = sizes
    query = (batch, heads, graph.num_targets, head_dim)
    key = (batch, kv_heads, graph.num_sources, head_dim)
    count = prod(query) + 2 * prod(key)
    if count > _MOST:
        raise ArgumentError(
            f"query, key and value must have fewer than 2**62 numbers together, got {count:,}. "
            f"Ask for a smaller graph, fewer heads or a smaller head_dim."
        )
    if not random:
        return like.expand(query), like.expand(key), like.expand(key)
    needed, free = _COPIES[like.requires_grad] * count * like.itemsize, free_memory(like.device)
    if needed > free:
        raise ArgumentError(
            f"analyze: the tensors must fit into the {as_text(free)} of memory that are free, got "
            f"about {as_text(needed)}. Leave out --analyze, or ask for a smaller problem."
        )
    generator = torch.Generator(like.device).manual_seed(0)

    def random_tensor(shape: tuple[int, ...]) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        return numbers.requires_grad_(like.requires_grad)

    return random_tensor(query), random_tensor(key), random_tensor(key)


def _problem(tensors: tuple[Tensor, Tensor, Tensor], graph: Graph, dropout: float) -> Problem:
    return read_call(*tensors, graph, seeded=False, dropout=dropout).question.about(graph)


def _nothing_runs(problem: Problem, error: PlanError, budget: int, *, json: bool) -> str:
    """The reasons that no backend runs, printed like an explanation of a plan."""
    if json:
        refused = [
            {"backend": name, "reasons": list(reasons)} for name, reasons in error.refused.items()
        ]
        record = {"problem": str(problem), "plan": None, "dearer": [], "refused": refused}
        return to_json({**record, "budget": budget}, indent=2)
    lines = [str(problem), "└─ nothing can run this here", ""]
    for name, reasons in error.refused.items():
        lines += [f"refused  {name:<9} {reason}" for reason in reasons]
    return "\n".join([*lines, f"budget   {as_text(budget)}"])


@contextmanager
def _progress(analyze: bool) -> Generator[None]:
    """Shows on a terminal which plan is running; prints nothing to a file or a pipe."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not (analyze and console.is_terminal):
        yield
        return
    text = "Running every plan on random tensors; Ctrl-C stops."
    with console.status(text) as status:
        handler = _PlanProgress(lambda words: status.update(f"{text} Now {words}."))
        logger = logging.getLogger("edgewise.planning.analyze")
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _PlanProgress(logging.Handler):
    """Passes the text of each log record of the analysis to a function."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())
