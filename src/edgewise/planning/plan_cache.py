"""The plan cache: prepared plans and fast paths, stored on the graph of a call.

Under ``torch.compile`` a prepared plan is a constant of the compiled code instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgewise.graphs import Graph, recall, recalled
from edgewise.graphs.cache import lasting
from edgewise.graphs.open_sizes import is_open
from edgewise.ops.bias import Bias
from edgewise.ops.scores import Additive, Dot, Score
from edgewise.ops.tracing import is_intercepted, overridden
from edgewise.ops.without_numbers import has_numbers
from edgewise.planning.blank import BlankAggregate, blank_aggregate, blank_attention
from edgewise.planning.call import AggregateCall, Call
from edgewise.planning.checked import CheckedAggregate, checked, checked_aggregate
from edgewise.planning.compiled import compiled_constant, constant
from edgewise.planning.planner import choose
from edgewise.planning.prepared import FastPath, Prepared, PreparedAggregate
from edgewise.planning.question import AggregateQuestion, AttentionQuestion
from edgewise.planning.selection import Selection, around, guarded_selection, selected

__all__ = [
    "fast_path",
    "fast_path_key",
    "prepared_aggregate",
    "prepared_attention",
    "remember_fast_path",
]

_MOST = 64  # plans of one graph: a loop over dropout rates or batch sizes must not grow for ever
_MOST_EXPORTED = 1 << 20  # beyond, the range of a batch is not searched

Sum = PreparedAggregate | CheckedAggregate | BlankAggregate
Key = tuple[Any, ...]


# --- Plans ----------------------------------------------------------------------------------------


def prepared_attention(call: Call, backend: str) -> Prepared:
    """The prepared plan of a call of attention, made once for a graph and a question.

    Raises:
        BackendRefused: the named backend cannot run this call.
        DerivativeError: the named backend lacks a derivative that the call needs.
        PlanError: no backend can, or there is none of this name.
    """
    graph, question = call.graph, call.question
    if not has_numbers(call.inputs.query):
        return blank_attention(call, backend)
    if torch.compiler.is_compiling():
        return compiled_constant(_compiled_attention, graph, backend, *_rounded(question))
    return _stored(graph, question, backend, checked)


def prepared_aggregate(call: AggregateCall, backend: str) -> Sum:
    """The prepared plan of a call of aggregate; errors as of `prepared_attention`."""
    graph, question = call.graph, call.question
    if not has_numbers(call.value):
        return blank_aggregate(call, backend)
    if torch.compiler.is_compiling():
        return compiled_constant(_compiled_aggregate, graph, backend, *_rounded(question))
    return _stored(graph, question, backend, checked_aggregate)


def _stored(
    graph: Graph,
    question: AttentionQuestion | AggregateQuestion,
    backend: str,
    check: Callable[[Any, Graph], Any],
) -> Any:
    """The prepared plan that the graph stores for a question; planned, checked and stored first.

    Args:
        graph: The graph of the call.
        question: What the plan depends on besides the graph.
        backend: A backend's name, or ``"auto"``.
        check: `checked` or `checked_aggregate`.
    """
    plans = recall(graph, "plans", dict[tuple[Any, Selection], Any])
    key = (question, selected(backend))
    prepared = plans.get(key)
    if prepared is None:
        plan = choose(question.about(graph), key[1]).plan
        with lasting():
            prepared = check(plan, graph)
        _remember(plans, key, prepared)
    return prepared


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Store a value; beyond `_MOST`, the oldest are dropped."""
    memory[key] = value
    while len(memory) > _MOST:
        memory.pop(next(iter(memory)), None)


def _compiled_attention(graph: Graph, backend: str, *question: Any) -> Prepared:
    """The prepared plan of a question in plain values, which a compiler can hold constant."""
    problem = AttentionQuestion(*question).about(graph)
    return choose(problem, guarded_selection(backend)).plan.prepared


def _compiled_aggregate(graph: Graph, backend: str, *question: Any) -> PreparedAggregate:
    problem = AggregateQuestion(*question).about(graph)
    return choose(problem, guarded_selection(backend)).plan.prepared


def _rounded(question: AttentionQuestion | AggregateQuestion) -> tuple[Any, ...]:
    """A question of constants, for a batch that is rounded up."""
    rounded = question._replace(batch=_power_of_two(question.batch))
    return tuple(constant(item) for item in rounded)


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


# --- Fast paths -----------------------------------------------------------------------------------
#
# On small graphs the checks and the plan take longer than the attention. Both follow from the graph
# and from this key, so the second call of a key skips them.


def fast_path_key(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score: Score,
    bias: Tensor | Bias | None,
    edge_key: Tensor | None,
    edge_value: Tensor | None,
    dropout: float,
    backend: str,
) -> Key | None:
    """The key of a call's fast path: all but its graph and numbers; None where it has none.

    Arguments are those of `edgewise.attention`, unchecked.
    """
    if (
        bias is not None
        or edge_key is not None
        or edge_value is not None
        or torch.compiler.is_compiling()
        or type(dropout) is not float
        or dropout != 0.0
        or type(score) not in (Dot, Additive)
        or type(backend) is not str
        or is_intercepted((query, key, value))
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


def fast_path(graph: Graph, key: Key | None) -> FastPath | None:
    """The fast path that an earlier call of this key stored on the graph, if any."""
    if key is None:
        return None
    paths = recalled(graph, "shortcuts")
    return None if paths is None else paths.get(key)


def remember_fast_path(call: Call, key: Key | None, prepared: Prepared) -> None:
    """Store the fast path of a prepared plan on the graph of a call, under this key."""
    if key is None:
        return
    paths = recall(call.graph, "shortcuts", dict[Key, FastPath | None])
    if key not in paths:
        _remember(paths, key, prepared.fast_path(call.inputs))
