"""Checked computation: a fast function, and an exact one if a result is not finite.

Products with zeros in place of missing edges are fast, but zero times NaN is NaN: a number in a
row that no edge reads may spread into results, which are then not finite. So the sum of a result
shows whether it is valid; if it is not, it is computed again by the exact function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.ops.tracing import is_intercepted, many_at_once

__all__ = ["Checks", "Compute", "all_finite", "are_large", "trains"]

_SMALL = 1 << 20  # numbers of a tensor that a hook may keep

Compute = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is NaN or infinite; a sum that overflows counts as infinite.

    Complexity: one sum of each tensor, 2 us where it is small.
    """
    for tensor in tensors:
        values = tensor.detach() if tensor.requires_grad else tensor
        if tensor.dtype == torch.float16:  # ends at 65,504, which a sum of finite numbers passes
            total = values.sum(dtype=torch.float32).item()
        else:
            total = values.sum().item()
        if total - total != 0.0:
            return False
    return True


class Checks:
    """Checks of the gradients of calls of the same kind; where to check is cached after the first.

    If a single node of autograd computes the gradients of all tensors, a hook on it is enough.

    Args:
        first_decides: Whether the gradient of the first tensor is not finite wherever another is
            not, so that one sum is enough if it has a gradient.
    """

    def __init__(self, *, first_decides: bool) -> None:
        self._first_decides = first_decides
        self._place: _NodePosition | None = None
        self._searched = False

    @property
    def at_node(self) -> bool:
        """Whether a hook is enough, as cached."""
        return self._place is not None

    def call(
        self, fast: Compute, exact: Compute, tensors: Sequence[Tensor], also: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        """The result of ``fast`` if it is finite, else that of ``exact``; the same for gradients.

        Args:
            fast: Function of the tensors. Its first result is checked.
            exact: The same function, exact whatever the numbers.
            tensors: Arguments of both.
            also: Further tensors that have to be finite.
        """
        if not trains(tensors):
            results = fast(tensors)
            return results if all_finite((results[0], *also)) else exact(tensors)
        if not are_large(tensors) and (self._place is not None or not self._searched):
            results = fast(tensors)
            if not all_finite((results[0], *also)):
                return exact(tensors)
            if self.follow(results, exact, tensors):
                return results
        places = [i for i, tensor in enumerate(tensors) if tensor.requires_grad]
        record = _CallRecord(exact, tensors, places, self._first_decides)
        inputs = list(tensors)
        guarded: Any = _Guard.apply(record, *(tensors[i] for i in places))
        for place, tensor in zip(places, guarded, strict=True):
            inputs[place] = tensor
        results = fast(inputs)
        if not all_finite((results[0], *also)):
            return exact(tensors)
        record.follow(results)
        return results

    def follow(self, outputs: Sequence[Tensor], exact: Compute, tensors: Sequence[Tensor]) -> bool:
        """Check the gradients of the tensors at a single node, if there is such a node.

        Args:
            outputs: Results of the function.
            exact: The exact function.
            tensors: Arguments of the function.
        """
        place = self._place
        wrong = place is not None and any(
            tensor.requires_grad != (edge is not None)
            for tensor, edge in zip(tensors, place.edges, strict=True)
        )
        if place is None or wrong:
            self._searched = True
            place = self._place = _NodePosition.of(outputs, tensors)
        node = None if place is None else place.node(outputs[0])
        if place is None or node is None:
            self._place = None
            return False
        shapes = [output.shape for output in outputs]
        first = self._first_decides and place.edges[0] == 0
        node.register_hook(partial(_checked_gradients, exact, tensors, place.edges, shapes, first))
        return True


def are_large(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are so large that they are saved by autograd, not by a hook.

    A hook would keep them as long as the output, also if autograd offloads saved tensors.
    """
    return any(tensor.numel() > _SMALL for tensor in tensors)


def trains(tensors: Sequence[Tensor]) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


# --- Between the inputs and the outputs -----------------------------------------------------------


class _CallRecord:
    """Record of a call for its recomputation: the function, and gradients of its outputs."""

    def __init__(
        self, exact: Compute, tensors: Sequence[Tensor], places: Sequence[int], first_decides: bool
    ) -> None:
        self.exact, self.places = exact, places
        self.first_decides = first_decides and places[0] == 0
        # Tensors with gradients are saved by autograd, which may offload them.
        self.others = [None if tensor.requires_grad else tensor for tensor in tensors]
        self.grad_outs: dict[int, dict[int, Tensor]] = {}  # by thread

    def follow(self, outputs: Sequence[Tensor]) -> None:
        """Store the gradients of these outputs until `take`."""
        for place, output in enumerate(outputs):
            if output.requires_grad:
                output.register_hook(partial(self._keep, place))

    def _keep(self, place: int, grad: Tensor) -> None:
        self.grad_outs.setdefault(get_ident(), {})[place] = grad

    def take(self) -> dict[int, Tensor]:
        """Return and remove the gradients of the outputs."""
        return self.grad_outs.pop(get_ident(), {})

    def again(
        self, tensors: Sequence[Tensor], grad_outs: dict[int, Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Exact gradients of the tensors that need a gradient."""
        everything = list(self.others)
        for place, tensor in zip(self.places, tensors, strict=True):
            everything[place] = tensor
        return _gradients(self.exact, everything, self.places, grad_outs)  # type: ignore[arg-type]


class _Guard(Function):
    @staticmethod
    def forward(ctx: Any, record: _CallRecord, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.record = record
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        grad_outs = ctx.record.take()
        if not grad_outs or _is_valid(grads, ctx.record.first_decides):
            return None, *grads
        return None, *ctx.record.again(ctx.saved_tensors, grad_outs)


# --- At one node of autograd ----------------------------------------------------------------------

# Operations that keep the order of numbers.
_VIEWS = {
    f"{name}Backward{version}"
    for name in ("View", "UnsafeView", "ReshapeAlias", "Alias", "Squeeze", "Unsqueeze")
    for version in range(3)
}
Node = torch.autograd.graph.Node


@dataclass(frozen=True)
class _NodePosition:
    """Position of the node of autograd that computes the gradients of the tensors of a call.

    Attributes:
        views: Number of views between it and the output.
        name: Name of the node, as a check.
        edges: For each tensor, the number of its gradient at the node; None without one.
    """

    views: int
    name: str
    edges: tuple[int | None, ...]

    @classmethod
    def of(cls, outputs: Sequence[Tensor], tensors: Sequence[Tensor]) -> _NodePosition | None:
        """Search the node; None if there is no single one."""
        node, views = outputs[0].grad_fn, 0
        if node is None or any(output.grad_fn not in (None, node) for output in outputs[1:]):
            return None
        while len(outputs) == 1 and _is_view(node):
            node, views = node.next_functions[0][0], views + 1
            assert node is not None
        left = {i: _source(*edge) for i, edge in enumerate(node.next_functions) if edge[0]}
        edges: list[int | None] = []
        for tensor in tensors:
            if not tensor.requires_grad:
                edges.append(None)
                continue
            tensor_source = _source(tensor.grad_fn, tensor.output_nr) if tensor.grad_fn else tensor
            edge = next((i for i, source in left.items() if _same(source, tensor_source)), None)
            if edge is None:
                return None
            del left[edge]
            edges.append(edge)
        return None if left else cls(views, node.name(), tuple(edges))

    def node(self, output: Tensor) -> Node | None:
        """The node of an output of another call; None if it has another name."""
        node = output.grad_fn
        for _ in range(self.views):
            if node is None or not _is_view(node):
                return None
            node = node.next_functions[0][0]
        return node if node is not None and node.name() == self.name else None


def _is_view(node: Node) -> bool:
    return node.name() in _VIEWS and node.next_functions[0][0] is not None


def _source(node: Node | None, place: int) -> tuple[Node, int] | Tensor:
    """Destination of the gradients of a node, after views: an output of a node, or a tensor."""
    assert node is not None
    while _is_view(node):
        node, place = node.next_functions[0]
        assert node is not None
    variable = getattr(node, "variable", None)
    return (node, place) if variable is None else variable


def _same(a: tuple[Node, int] | Tensor, b: tuple[Node, int] | Tensor) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return a == b


def _checked_gradients(
    exact: Compute,
    tensors: Sequence[Tensor],
    edges: Sequence[int | None],
    shapes: Sequence[torch.Size],
    first_decides: bool,
    grads: Sequence[Tensor | None],
    output_grads: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...] | None:
    if torch.is_grad_enabled():
        return None  # second derivatives are computed by another path
    if _is_valid(grads, first_decides):
        return None
    grad_outs = {
        i: grad_out.reshape(shape)
        for i, (grad_out, shape) in enumerate(zip(output_grads, shapes, strict=False))
        if grad_out is not None
    }
    places = [place for place, edge in enumerate(edges) if edge is not None]
    exact_grads = dict(zip(places, _gradients(exact, tensors, places, grad_outs), strict=True))
    better = list(grads)
    for place, grad in exact_grads.items():
        edge = edges[place]
        assert edge is not None
        old = grads[edge]
        better[edge] = None if old is None or grad is None else grad.reshape(old.shape)
    return tuple(better)


def _is_valid(grads: Sequence[Tensor | None], first_decides: bool) -> bool:
    if is_intercepted(grads) or many_at_once(grads):
        return True  # no numbers can be read
    if first_decides and grads[0] is not None:
        return all_finite((grads[0],))
    return all_finite(grad for grad in grads if grad is not None)


def _gradients(
    exact: Compute, tensors: Sequence[Tensor], places: Sequence[int], grad_outs: dict[int, Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of the tensors at these positions, by recomputation.

    Args:
        exact: The exact function.
        tensors: Its arguments.
        places: Positions of the tensors that need a gradient.
        grad_outs: Gradients of its results, by position.
    """
    twice = torch.is_grad_enabled()
    if not twice:
        tensors = [t.detach().requires_grad_(i in places) for i, t in enumerate(tensors)]
    with torch.enable_grad():
        outputs = exact(tensors)
    with_grad = [place for place in grad_outs if outputs[place].requires_grad]
    return torch.autograd.grad(
        [outputs[place] for place in with_grad],
        [tensors[place] for place in places],
        [grad_outs[place] for place in with_grad],
        allow_unused=True,
        create_graph=twice,
    )
