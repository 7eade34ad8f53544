"""Attention and aggregation as torch operators that plan when they run, for open sizes.

``torch.compile`` and ``torch.export`` take plans as constants, which is right as long as a graph
has fixed sizes. A symbolic graph of open sizes, such as ``Causal(query.shape[-2])``, has another
plan for each size; and ``torch.jit.trace`` would take every size for a constant. There the call is
recorded as one operator, which holds the graph as text, sizes and tensors, and does at run time
what eager code does: checks, plan, kernels. So what was traced once is right for every size.
"""

# ruff: noqa: ARG001 - torch passes all arguments by position to whatever belongs to an operator
from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgewise.functional.recorded_graph import as_text, graph_of, record_of, with_sizes
from edgewise.graphs import Graph
from edgewise.ops.bias import Bias, DenseBias, EdgeBias, RelativeBias
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot, score_from
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.planning.call import AttentionOptions, call_of, inputs_of, read_aggregate
from edgewise.planning.compiled import constant
from edgewise.planning.plan_cache import prepared_aggregate, prepared_attention
from edgewise.planning.prepared import Prepared
from edgewise.problem import Reduce

__all__ = ["attend", "reduce"]

MaybeTensor = Tensor | None
_NAMES = ("query", "key", "value", "vector", "bias", "edge_key", "edge_value")  # of `Inputs`


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    backend: str,
    options: AttentionOptions,
    *,
    wants_lse: bool,
) -> AttentionState:
    """Attention, recorded as one operator.

    Args:
        query: As of `edgewise.attention`, like the other arguments.
        key: ``[*batch, G, S, D]``.
        value: ``[*batch, G, S, Dv]``.
        graph: Which target reads which source.
        backend: A backend's name, or ``"auto"``.
        options: The other arguments by name.
        wants_lse: Whether the log-sum-exp is used; it is empty otherwise.
    """
    inputs = inputs_of(query, key, value, graph, **options)
    score, dropout = options.get("score", Dot()), options.get("dropout", 0.0)
    bias = inputs.bias
    first = bias.first if isinstance(bias, RelativeBias) else 0
    kind = None if bias is None else bias.kind
    numbers = None if bias is None else bias.values
    given = (
        *(inputs.query, inputs.key, inputs.value, inputs.vector, numbers),
        *(inputs.edge_key, inputs.edge_value, inputs.seed),
    )
    settings = (score.spec(), kind, first, dropout, backend, wants_lse, _needs_grad(given))
    settings = as_text(constant(settings))
    text, sizes, tensors = _recorded(graph)
    out, lse = torch.ops.edgewise.attention_planned(*given, tensors, sizes, text, settings)
    return AttentionState(out, lse)


def reduce(value: Tensor, graph: Graph, how: Reduce, weight: Tensor | None, backend: str) -> Tensor:
    """An aggregation, recorded as one operator."""
    settings = as_text((how, backend, _needs_grad((value, weight))))
    text, sizes, tensors = _recorded(graph)
    return torch.ops.edgewise.aggregate_planned(
        value, weight, graph.num_targets, tensors, sizes, text, settings
    )


def _needs_grad(tensors: Sequence[MaybeTensor]) -> bool:
    """Whether a backward pass may follow: of code that is kept, always."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return True
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _recorded(graph: Graph) -> tuple[str, list[Any], list[Tensor]]:
    """The record of a graph, as the arguments of an operator: text, open sizes, tensors."""
    if not torch.compiler.is_compiling():
        text, tensors = record_of(graph)
        return text, [], tensors
    sizes: list[Any] = []
    return as_text(constant(with_sizes(graph.spec(), sizes))), sizes, []


# --- Attention -----------------------------------------------------------------------------------

_GRAPH = "Tensor[] tensors, SymInt[] sizes, str graph, str settings"
_OPERANDS = (
    "Tensor query, Tensor key, Tensor value, Tensor? vector, Tensor? bias, Tensor? edge_key, "
    "Tensor? edge_value, Tensor? seed"
)
_NUM_OPERANDS = 8


class _RecordedCall:
    """A call of attention, read back from the arguments of its recorded operator."""

    def __init__(self, args: Sequence[Any]) -> None:
        *given, tensors, sizes, graph, settings = args
        score, self.kind, self.first, self.dropout, self.backend, wants_lse, needs_grad = (
            json.loads(settings)
        )
        self.score = score_from(tuple(score))
        self.needs_grad, self.keeps_lse = needs_grad, wants_lse or needs_grad
        self.graph = graph_of(graph, sizes, tensors)
        query, key, value, vector, bias, edge_key, edge_value, seed = given
        wrapped = None if bias is None else self._bias(bias)
        self.inputs = Inputs(query, key, value, vector, wrapped, edge_key, edge_value, seed)

    def _bias(self, values: Tensor) -> Bias:
        if self.kind == "relative":
            offset = self.graph.num_sources - self.graph.num_targets
            return RelativeBias(values, self.first, offset)
        return DenseBias(values) if self.kind == "dense" else EdgeBias(values)

    def prepared(self) -> Prepared:
        """The prepared plan of this call; checks its tensors."""
        call = call_of(self.inputs, self.graph, self.score, self.dropout, wants_lse=self.keeps_lse)
        question = call.question._replace(needs_grad=self.needs_grad)
        return prepared_attention(call._replace(question=question), self.backend)


def _attention(*args: Any) -> tuple[Tensor, Tensor]:
    call = _RecordedCall(args)
    prepared = call.prepared()
    query = call.inputs.query
    if not call.keeps_lse:
        out = prepared.attend(call.inputs)
        return _unshared(out, args), query.new_empty(0, dtype=accumulate_dtype(query.dtype))
    state = prepared.forward(call.inputs)
    return _unshared(state.out, args), _unshared(state.lse, args)


def _attention_fake(*args: Any) -> tuple[Tensor, Tensor]:
    query, value, settings = args[0], args[2], json.loads(args[-1])
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    shape = query.shape[:-1] if settings[-1] or settings[-2] else (0,)
    return out, query.new_empty(shape, dtype=accumulate_dtype(query.dtype))


def _attention_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *given, tensors, ctx.sizes, ctx.graph, ctx.settings = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *given, *tensors)


def _attention_derivative(ctx: Any, grad_out: MaybeTensor, grad_lse: MaybeTensor) -> Any:
    """Gradients of `_attention`, in the shapes of its arguments; None for each that needs none.

    ``grad_out`` is ``[*batch, H, T, Dv]`` and ``grad_lse`` ``[*batch, H, T]``; None is zero.
    """
    out, lse, *saved = ctx.saved_tensors
    given, tensors = saved[:_NUM_OPERANDS], saved[_NUM_OPERANDS:]
    wanted = list(ctx.needs_input_grad[:_NUM_OPERANDS])
    rest = (tensors, ctx.sizes, ctx.graph, ctx.settings)
    nothing = _nothing(ctx, _NUM_OPERANDS)
    if torch.is_grad_enabled():
        history = differentiable_gradients(
            partial(_attention_plain, rest), given, wanted, (grad_out, grad_lse)
        )
        return *history, *nothing
    grad_out = torch.zeros_like(out) if grad_out is None else grad_out
    grad_lse = torch.zeros_like(lse) if grad_lse is None else grad_lse
    grads = iter(
        torch.ops.edgewise.attention_planned_backward(
            grad_out, grad_lse, out, lse, *given, *rest, wanted
        )
    )
    return *(next(grads) if needed else None for needed in wanted), *nothing


def _attention_plain(rest: Sequence[Any], *given: MaybeTensor) -> tuple[Tensor, Tensor]:
    """The call as eager code makes it, differentiable by autograd."""
    call = _RecordedCall((*given, *rest))
    state = call.prepared().forward(call.inputs)
    return state.out, state.lse


def _attention_backward(*args: Any) -> list[Tensor]:
    grad_out, grad_lse, out, lse, *rest = args
    *given, wanted = rest
    call = _RecordedCall(given)
    named = call.inputs.tensors()
    needed = {name: wanted[place] for place, name in enumerate(_NAMES)}
    with _autograd():
        leaves = {
            name: tensor.detach().requires_grad_(needed[name]) for name, tensor in named.items()
        }
        inputs = call.inputs.with_tensors(leaves)
        grads = call.prepared().backward(
            inputs, AttentionState(out.detach(), lse.detach()), grad_out.detach(), grad_lse.detach()
        )
    return [
        _unshared(
            grads[name].to(named[name].dtype) if name in grads else torch.zeros_like(named[name]),
            args,
        )
        for name in _NAMES
        if needed[name]
    ]


def _attention_backward_fake(*args: Any) -> list[Tensor]:
    given, wanted = args[4 : 4 + _NUM_OPERANDS], args[-1]
    pairs = zip(given, wanted, strict=True)
    return [tensor.new_empty(tensor.shape) for tensor, needed in pairs if needed]


# --- Aggregation ---------------------------------------------------------------------------------


def _aggregate_plain(
    rest: Sequence[Any], value: Tensor, weight: MaybeTensor, *_: object
) -> tuple[Tensor]:
    """The call as eager code makes it, differentiable by autograd."""
    _, tensors, sizes, graph, settings = rest
    how, backend, needs_grad = json.loads(settings)
    built = graph_of(graph, sizes, tensors)
    call = read_aggregate(value, built, how, weight)
    call = call._replace(question=call.question._replace(needs_grad=needs_grad))
    return (prepared_aggregate(call, backend).aggregate(call.value, call.weight),)


def _aggregate(value: Tensor, weight: MaybeTensor, *rest: Any) -> Tensor:
    return _unshared(_aggregate_plain(rest, value, weight)[0], (value, weight))


def _aggregate_fake(value: Tensor, weight: MaybeTensor, num_targets: int, *rest: Any) -> Tensor:
    return value.new_empty((*value.shape[:-2], num_targets, value.shape[-1]))


def _aggregate_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, weight, ctx.num_targets, tensors, ctx.sizes, ctx.graph, ctx.settings = inputs
    ctx.save_for_backward(value, weight, *tensors)


def _aggregate_derivative(ctx: Any, grad: Tensor) -> Any:
    value, weight, *tensors = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[:2])
    rest = (ctx.num_targets, tensors, ctx.sizes, ctx.graph, ctx.settings)
    nothing = _nothing(ctx, 2)
    if torch.is_grad_enabled():
        history = differentiable_gradients(
            partial(_aggregate_plain, rest), (value, weight), wanted, (grad,)
        )
        return *history, *nothing
    grads = iter(torch.ops.edgewise.aggregate_planned_backward(grad, value, weight, *rest, wanted))
    return *(next(grads) if needed else None for needed in wanted), *nothing


def _aggregate_backward(
    grad: Tensor, value: Tensor, weight: MaybeTensor, *rest: Any
) -> list[Tensor]:
    *call, wanted = rest
    with _autograd():
        given = (value.detach(), None if weight is None else weight.detach())
        grads = differentiable_gradients(
            partial(_aggregate_plain, call), given, wanted, (grad.detach(),)
        )
    return [_unshared(each.detach(), (grad, value, weight)) for each in grads if each is not None]


def _aggregate_backward_fake(
    grad: Tensor, value: Tensor, weight: MaybeTensor, *rest: Any
) -> list[Tensor]:
    pairs = zip((value, weight), rest[-1], strict=True)
    return [
        tensor.new_empty(tensor.shape) for tensor, needed in pairs if needed and tensor is not None
    ]


def _nothing(ctx: Any, start: int) -> tuple[Any, ...]:
    """No gradient for the arguments from ``start`` on: None, and a list of it for each list."""
    rest = ctx.needs_input_grad[start:]
    return tuple([None] * len(each) if isinstance(each, list | tuple) else None for each in rest)


# --- Registration --------------------------------------------------------------------------------


def _unshared(result: Tensor, inputs: Sequence[Any]) -> Tensor:
    """A result in one piece that shares no memory with an argument, as torch requires."""
    shared = any(
        isinstance(each, Tensor)
        and each.untyped_storage()._cdata == result.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
        for each in inputs
    )
    return result.clone(memory_format=torch.contiguous_format) if shared else result.contiguous()


@contextmanager
def _autograd() -> Generator[None]:
    """Record gradients inside an operator, where torch has switched its autograd off."""
    include = torch._C._dispatch_tls_local_include_set()  # pyright: ignore[reportPrivateUsage]
    exclude = torch._C._dispatch_tls_local_exclude_set()  # pyright: ignore[reportPrivateUsage]
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor"):
        exclude = exclude.remove(getattr(torch._C.DispatchKey, key))  # pyright: ignore[reportPrivateUsage]
    with torch._C._ForceDispatchKeyGuard(include, exclude), torch.enable_grad():  # pyright: ignore[reportPrivateUsage]
        yield


def _define(name: str, signature: str, run: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Define a torch operator, and return its full name; ``fake`` returns empty results."""
    full = f"edgewise::{name}"
    torch.library.define(full, signature)
    torch.library.impl(full, "CompositeExplicitAutograd", run)
    torch.library.register_fake(full, fake)
    return full


_AGGREGATE = f"Tensor value, Tensor? weight, SymInt num_targets, {_GRAPH}"

torch.library.register_autograd(
    _define(
        "attention_planned",
        f"({_OPERANDS}, {_GRAPH}) -> (Tensor, Tensor)",
        _attention,
        _attention_fake,
    ),
    _attention_derivative,
    setup_context=_attention_setup,
)
_define(
    "attention_planned_backward",
    f"(Tensor grad_out, Tensor grad_lse, Tensor out, Tensor lse, {_OPERANDS}, {_GRAPH}, "
    "bool[] wanted) -> Tensor[]",
    _attention_backward,
    _attention_backward_fake,
)
torch.library.register_autograd(
    _define("aggregate_planned", f"({_AGGREGATE}) -> Tensor", _aggregate, _aggregate_fake),
    _aggregate_derivative,
    setup_context=_aggregate_setup,
)
_define(
    "aggregate_planned_backward",
    f"(Tensor grad, {_AGGREGATE}, bool[] wanted) -> Tensor[]",
    _aggregate_backward,
    _aggregate_backward_fake,
)
