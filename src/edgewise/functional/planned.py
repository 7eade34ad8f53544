"""Finding the plan of a call: remembered by the graph, constant under ``torch.compile``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph, graph_from, recall
from edgewise.graphs.base import lasting
from edgewise.graphs.open_sizes import is_open
from edgewise.layouts import num_edges
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Additive, Dot, Score
from edgewise.ops.tracing import looked_into, overridden
from edgewise.planning import Plan, choose
from edgewise.planning.checked import checked
from edgewise.planning.question import AggregateQuestion, AttentionQuestion
from edgewise.planning.selection import Selection, around, guarded_selection, selected

__all__ = [
    "constant",
    "kind_of",
    "num_edges_of",
    "planned",
    "portable",
    "real_graph",
    "remember_shortcut",
    "shortcut_of",
]

Question = AttentionQuestion | AggregateQuestion
_Plans = dict[tuple[Question, Selection], Plan]
_MOST_PLANS = 64  # of one graph: a loop over dropout rates or batch sizes must not grow for ever

# Plans that compiled code refers to, as attributes, because that is what a tracer can guard one
# by one. They live as long as the process, like the compiled code itself.
_COMPILED = SimpleNamespace()


def planned(graph: Graph, question: Question, backend: str) -> Plan:
    """The plan of a question about a graph, worked out once."""
    if torch.compiler.is_compiling():
        rounded = question._replace(batch=_power_of_two(question.batch))
        return getattr(
            _COMPILED,
            _compiled_name(
                portable(graph),
                backend,
                type(question).__name__,
                *(constant(item) for item in rounded),
            ),
        )
    selection = selected(backend)
    plans = recall(graph, "plans", _Plans)
    key = (question, selection)
    plan = plans.get(key)
    if plan is None:
        plan = plans[key] = checked(_plan(graph, question, selection), graph)
        while len(plans) > _MOST_PLANS:
            plans.pop(next(iter(plans)), None)
    return plan


# --- Calls like one before ------------------------------------------------------------------------
#
# On small graphs the checks and the plan take longer than the attention. Both follow from the kind
# of a call: the second call of a kind skips them. What a kind does not pin down has none.

_Shortcuts = dict[tuple[Any, ...], Callable[[Tensor, Tensor, Tensor], Tensor] | None]


def kind_of(
    query: Tensor, key: Tensor, value: Tensor, score: Score, dropout: float, backend: str
) -> tuple[Any, ...] | None:
    """All that a call on three tensors depends on but its graph and its numbers."""
    if (
        torch.compiler.is_compiling()
        or type(dropout) is not float
        or dropout != 0.0
        or type(score) not in (Dot, Additive)
        or type(backend) is not str
        or looked_into((query, key, value))
        or overridden()
        or not (_in_memory(query) and _in_memory(key) and _in_memory(value))
    ):
        return None
    return (
        query.dtype,
        key.dtype,
        value.dtype,
        query.shape,
        key.shape,
        value.shape,
        query.stride(),
        key.stride(),
        value.stride(),
        torch.is_grad_enabled()
        and (query.requires_grad or key.requires_grad or value.requires_grad),
        torch.get_num_threads(),
        score.spec(),
        around() if backend == "auto" else backend,
    )


def _in_memory(tensor: Tensor | None) -> bool:
    if tensor is None or tensor.is_nested:
        return False
    return tensor.is_cpu and tensor.layout is torch.strided


def shortcut_of(
    graph: Graph, kind: tuple[Any, ...]
) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """What a call of this kind left behind, if anything."""
    memory: Any = getattr(graph, "_memory", None)
    shortcuts = None if memory is None else memory.get("shortcuts")
    return None if shortcuts is None else shortcuts.get(kind)


def remember_shortcut(graph: Graph, kind: tuple[Any, ...], plan: Plan, inputs: Inputs) -> None:
    """Leave behind how to make calls of this kind short."""
    shortcuts = recall(graph, "shortcuts", _Shortcuts)
    if kind not in shortcuts:
        shortcuts[kind] = plan.shortcut(inputs)
        while len(shortcuts) > _MOST_PLANS:
            shortcuts.pop(next(iter(shortcuts)), None)


def num_edges_of(graph: Graph) -> int:
    """How many edges a graph has; lowers it when the facts do not say."""
    if torch.compiler.is_compiling():
        return _compiled_num_edges(portable(graph))
    return num_edges(graph)


def _plan(graph: Graph, question: Question, selection: Selection) -> Plan:
    plan = choose(question.about(graph), selection).plan
    with lasting():
        return plan.without_graph()


_MOST_EXPORTED = 1 << 20  # beyond, the range of a batch is not searched


def _power_of_two(batch: int) -> int:
    """Round a batch up, so that compiled code is made again only when it doubles."""
    rounded = 1
    # One program for every batch: of the largest it may have.
    if torch.compiler.is_exporting() and is_open(batch):
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        while rounded < _MOST_EXPORTED and not statically_known_true(batch <= rounded):
            rounded *= 2
        return rounded if rounded < _MOST_EXPORTED else 1
    while rounded < batch:
        rounded *= 2
    return rounded


def constant(item: Any) -> Any:
    """Fix a number that a tracer may hold symbolic: heads, sizes and scales decide the plan."""
    if isinstance(item, tuple) and not hasattr(item, "_fields"):
        return tuple(constant(part) for part in item)
    if isinstance(item, bool):
        return item
    if isinstance(item, int):
        return operator.index(item)
    return item.__float__() if isinstance(item, float) else item  # float() would stay symbolic


def portable(graph: Graph) -> Any:
    """What a tracer can hold constant: plain numbers, or the graph itself where it has tensors."""
    spec = graph.spec()
    return graph if spec is None else constant(spec)


def _compiled_name(graph: Any, backend: str, kind: str, *question: Any) -> str:
    """Plan while tracing, and return the attribute of `_COMPILED` that holds the plan."""
    asked: Question = (
        AttentionQuestion(*question)
        if kind == "AttentionQuestion"
        else AggregateQuestion(*question)
    )
    plan = _plan(real_graph(graph), asked, guarded_selection(backend))
    name = f"plan_{id(plan)}"
    setattr(_COMPILED, name, plan)
    return name


def _compiled_num_edges(graph: Any) -> int:
    return num_edges(real_graph(graph))


# What torch.compiler.assume_constant_result sets. Calling it here would import the compiler, a
# second of every `import edgewise`, for those who never compile.
for _function in (_compiled_name, _compiled_num_edges):
    _function._dynamo_marked_constant = True  # type: ignore[attr-defined]


def real_graph(graph: Any) -> Graph:
    """The graph that `portable` was given."""
    real = graph_from(graph) if isinstance(graph, tuple) else graph
    if not hasattr(real, "num_targets"):  # the tracer made the object but not yet its fields
        raise ArgumentError(
            "a graph with edge tensors was built inside torch.compile. Build it "
            "outside, and pass it in or close over it."
        )
    return real
