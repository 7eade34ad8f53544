"""Finding the plan of a call: remembered by the graph, constant under ``torch.compile``."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import torch

from edgewise.errors import ArgumentError, PlanError
from edgewise.graphs import Graph, graph_from, recall
from edgewise.graphs.base import lasting
from edgewise.layouts import num_edges
from edgewise.planning import Run, choose
from edgewise.planning.question import AggregateQuestion, AttentionQuestion

__all__ = ["num_edges_of", "planned"]

Question = AttentionQuestion | AggregateQuestion
_Plans = dict[tuple[Question, str], Run]
_MOST_PLANS = 64  # of one graph: a loop over dropout rates or batch sizes must not grow for ever

# Plans that compiled code refers to, as attributes, because that is what a tracer can guard one
# by one. They live as long as the process, like the compiled code itself.
_COMPILED = SimpleNamespace()


def planned(graph: Graph, question: Question, backend: str) -> Run:
    """The plan of a question about a graph, worked out once."""
    if torch.compiler.is_compiling():
        rounded = question._replace(batch=_power_of_two(question.batch))
        return getattr(
            _COMPILED,
            _compiled_name(
                _portable(graph),
                backend,
                type(question).__name__,
                *(_constant(item) for item in rounded),
            ),
        )
    if not isinstance(backend, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PlanError(f"backend must be a name, got {backend!r}. Use 'auto'.")
    plans = recall(graph, "plans", _Plans)
    key = (question, backend)
    plan = plans.get(key)
    if plan is None:
        plan = plans[key] = _run(graph, question, backend)
        while len(plans) > _MOST_PLANS:
            plans.pop(next(iter(plans)), None)
    return plan


def num_edges_of(graph: Graph) -> int:
    """How many edges a graph has; lowers it when the facts do not say."""
    if torch.compiler.is_compiling():
        return _compiled_num_edges(_portable(graph))
    return num_edges(graph)


def _run(graph: Graph, question: Question, backend: str) -> Run:
    plan = choose(question.about(graph), backend).plan
    assert isinstance(plan, Run), "the planner splits nothing yet"
    with lasting():
        return plan.without_graph()


def _power_of_two(batch: int) -> int:
    """Round a batch up, so that compiled code is made again only when it doubles."""
    rounded = 1
    while rounded < batch:
        rounded *= 2
    return rounded


def _constant(item: Any) -> Any:
    """Fix a number that a tracer may hold symbolic: heads, sizes and scales decide the plan."""
    if isinstance(item, tuple) and not hasattr(item, "_fields"):
        return tuple(_constant(part) for part in item)
    if isinstance(item, bool):
        return item
    if isinstance(item, int):
        return operator.index(item)
    return item.__float__() if isinstance(item, float) else item  # float() would stay symbolic


def _portable(graph: Graph) -> Any:
    """What a tracer can hold constant: plain numbers, or the graph itself where it has tensors."""
    spec = graph.spec()
    return graph if spec is None else _constant(spec)


def _compiled_name(graph: Any, backend: str, kind: str, *question: Any) -> str:
    """Plan while tracing, and return the attribute of `_COMPILED` that holds the plan."""
    asked: Question = (
        AttentionQuestion(*question)
        if kind == "AttentionQuestion"
        else AggregateQuestion(*question)
    )
    plan = _run(_real(graph), asked, backend)
    name = f"plan_{id(plan)}"
    setattr(_COMPILED, name, plan)
    return name


def _compiled_num_edges(graph: Any) -> int:
    return num_edges(_real(graph))


# What torch.compiler.assume_constant_result sets. Calling it here would import the compiler, a
# second of every `import edgewise`, for those who never compile.
for _function in (_compiled_name, _compiled_num_edges):
    _function._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _real(graph: Any) -> Graph:
    real = graph_from(graph) if isinstance(graph, tuple) else graph
    if not hasattr(real, "num_targets"):  # the tracer made the object but not yet its fields
        raise ArgumentError(
            "a graph with edge tensors was built inside torch.compile. Build it "
            "outside, and pass it in or close over it."
        )
    return real
