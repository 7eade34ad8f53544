"""Tracers: calls are recorded as a node or an operator, and refused by ``torch.jit.script``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch
import torch.fx
from torch import Tensor

from edgewise.errors import ArgumentError, GraphError
from edgewise.functional import at_run_time
from edgewise.graphs import Graph
from edgewise.graphs.open_sizes import has_open_sizes, is_open
from edgewise.ops.tracing import are_transforms_active, in_onnx_export
from edgewise.planning.call import AttentionOptions
from edgewise.problem import Reduce

__all__ = ["not_scriptable", "traced_aggregate", "traced_attention"]

F = TypeVar("F", bound=Callable[..., Any])


def not_scriptable(function: F) -> F:
    """Make ``torch.jit.script`` refuse a function in a sentence."""

    def refuse() -> NoReturn:
        raise ArgumentError(
            f"{function.__name__} cannot be compiled by torch.jit.script, which knows no graphs. "
            f"Use torch.compile, torch.export or torch.jit.trace."
        )

    function.__prepare_scriptable__ = refuse  # type: ignore[attr-defined]  # torch calls it first
    return function


def traced_attention(
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    backend: str,
    options: AttentionOptions,
    *,
    wants_lse: bool = False,
) -> Any:
    """The node or result that a tracer records for a call; None where the call is planned now.

    Args:
        function: `edgewise.attention`, or with ``wants_lse`` `edgewise.attention_state`.
        query: As of `edgewise.attention`, like the other arguments.
        key: ``[*batch, G, S, D]``.
        value: ``[*batch, G, S, Dv]``.
        graph: Which target reads which source.
        backend: A backend's name, or ``"auto"``.
        options: The other arguments by name.
        wants_lse: Whether the log-sum-exp is part of the answer.
    """
    node = _fx_node(function, (query, key, value, graph), options, backend)
    if node is not None or not _takes_over(graph):
        return node
    state = at_run_time.attend(query, key, value, graph, backend, options, wants_lse=wants_lse)
    return state if wants_lse else state.out


def traced_aggregate(
    function: Callable[..., Any],
    value: Tensor,
    graph: Graph,
    reduce: Reduce,
    weight: Tensor | None,
    backend: str,
) -> Any:
    """The node or result that a tracer records for a sum; None where the call is planned now."""
    node = _fx_node(function, (value, graph, reduce), {"weight": weight}, backend)
    if node is not None or not _takes_over(graph):
        return node
    return at_run_time.reduce(value, graph, reduce, weight, backend)


def _fx_node(
    function: Callable[..., Any],
    arguments: Sequence[object],
    options: Mapping[str, object],
    backend: str,
) -> Any:
    """The node of a call in a trace of ``torch.fx``; None where the call is not traced.

    ``torch.fx`` traces by values that have no shape, so a call is recorded as it is.
    """
    for argument in (*arguments, *options.values(), backend):
        if isinstance(argument, torch.fx.Proxy):
            settings = {**options, "backend": backend}
            return argument.tracer.create_proxy(
                "call_function", function, tuple(arguments), settings
            )
    return None


def _takes_over(graph: Graph) -> bool:
    """Whether a call on a graph has to be recorded as one operator; see `at_run_time`.

    Raises:
        GraphError: a graph of open sizes holds what cannot be recorded.
    """
    if torch.compiler.is_compiling():
        if not isinstance(graph, Graph):  # pyright: ignore[reportUnnecessaryIsInstance]
            return False  # the checks of the call refuse it
        _check_recordable(graph)
        return has_open_sizes(graph) and not _inside_transforms()
    return torch.jit.is_tracing() and not in_onnx_export() and not are_transforms_active()  # pyright: ignore[reportPrivateImportUsage]


def _check_recordable(graph: Graph) -> None:
    """Refuse a graph that an exporter built of open sizes, and that has no record.

    torch.compile is left out, since it holds the sizes of graphs open that were built outside.
    """
    if torch.compiler.is_dynamo_compiling() or graph.spec() is not None:
        return
    if is_open((graph.num_targets, graph.num_sources)):
        raise GraphError(
            f"{type(graph).__name__}: cannot be built inside traced code of an open number of "
            f"nodes, because it holds tensors or a function. Build it outside, of a fixed size, "
            f"or make that size static."
        )


def _inside_transforms() -> bool:
    return are_transforms_active()


_inside_transforms._dynamo_marked_constant = True  # type: ignore[attr-defined]
