"""A fast computation whose results are checked, and an exact one that replaces what is not finite.

Products with zeros in place of missing edges are fast, but zero times NaN is NaN: a number that
nobody reads may fill the result. It always shows, since what it reaches is not finite. So one sum
over a result tells whether it can be trusted, and one that cannot is computed again, exactly.
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

from edgewise.ops.tracing import looked_into, many_at_once

__all__ = ["Checks", "Compute", "all_finite", "are_large", "trains"]

_SMALL = 1 << 20  # numbers of a tensor that a hook may keep

Compute = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is NaN or infinite; a sum that overflows counts as infinite.

    Complexity: one sum of each tensor, 2 us where it is small.
    """
    for tensor in tensors:
        known = tensor.detach() if tensor.requires_grad else tensor
        if tensor.dtype == torch.float16:  # ends at 65,504, which a sum of finite numbers passes
            total = known.sum(dtype=torch.float32).item()
        else:
            total = known.sum().item()
        if total - total != 0.0:
            return False
    return True


class Checks:
    """How the gradients of calls of one kind are checked; remembered from the first of them.

    Where one node of autograd sends gradients straight to the tensors, a hook on it is enough.

    Args:
        first_tells: Whether the gradient of the first tensor is not finite wherever another is
            not, so that one sum is enough where it has one.
    """

    def __init__(self, *, first_tells: bool) -> None:
        self._first_tells = first_tells
        self._place: _GradientPlace | None = None
        self._looked = False

    @property
    def at_node(self) -> bool:
        """Whether a hook is enough, as far as is known."""
        return self._place is not None

    def call(
        self, fast: Compute, exact: Compute, tensors: Sequence[Tensor], also: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        """What ``fast`` returns if it is finite, else what ``exact`` returns; gradients likewise.

        Args:
            fast: Function of the tensors. Its first result is checked.
            exact: The same function, exact whatever the numbers.
            tensors: What both are computed on.
            also: Tensors that have to be finite too.
        """
        if not trains(tensors):
            found = fast(tensors)
            return found if all_finite((found[0], *also)) else exact(tensors)
        if not are_large(tensors) and (self._place is not None or not self._looked):
            found = fast(tensors)
            if not all_finite((found[0], *also)):
                return exact(tensors)
            if self.follow(found, exact, tensors):
                return found
        places = [i for i, tensor in enumerate(tensors) if tensor.requires_grad]
        watch = _Watch(exact, tensors, places, self._first_tells)
        own = list(tensors)
        guarded: Any = _Guard.apply(watch, *(tensors[i] for i in places))
        for place, tensor in zip(places, guarded, strict=True):
            own[place] = tensor
        found = fast(own)
        if not all_finite((found[0], *also)):
            return exact(tensors)
        watch.follow(found)
        return found

    def follow(self, outputs: Sequence[Tensor], exact: Compute, tensors: Sequence[Tensor]) -> bool:
        """Check the gradients that one node sends to the tensors, if there is such a node.

        Args:
            outputs: What was computed.
            exact: The same function of the tensors.
            tensors: What the outputs were computed on.
        """
        place = self._place
        wrong = place is not None and any(
            tensor.requires_grad != (edge is not None)
            for tensor, edge in zip(tensors, place.edges, strict=True)
        )
        if place is None or wrong:
            self._looked = True
            place = self._place = _GradientPlace.of(outputs, tensors)
        node = None if place is None else place.node(outputs[0])
        if place is None or node is None:
            self._place = None
            return False
        shapes = [output.shape for output in outputs]
        tells = self._first_tells and place.edges[0] == 0
        node.register_hook(partial(_checked_gradients, exact, tensors, place.edges, shapes, tells))
        return True


def are_large(tensors: Sequence[Tensor]) -> bool:
    """Whether autograd decides where the tensors are kept until a backward pass, and how long.

    A hook would keep them as long as the output, and in memory where autograd may have moved them.
    """
    return any(tensor.numel() > _SMALL for tensor in tensors)


def trains(tensors: Sequence[Tensor]) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


# --- Between the inputs and the outputs -----------------------------------------------------------


class _Watch:
    """What a backward pass needs to be computed again: the function, and what was sent back."""

    def __init__(
        self, exact: Compute, tensors: Sequence[Tensor], places: Sequence[int], first_tells: bool
    ) -> None:
        self.exact, self.places = exact, places
        self.first_tells = first_tells and places[0] == 0
        # Those with gradients are kept by autograd, which may have moved them elsewhere.
        self.others = [None if tensor.requires_grad else tensor for tensor in tensors]
        self.pushes: dict[int, dict[int, Tensor]] = {}  # by thread, as graphs may be shared

    def follow(self, outputs: Sequence[Tensor]) -> None:
        """Keep the gradients of these outputs until `take`."""
        for place, output in enumerate(outputs):
            if output.requires_grad:
                output.register_hook(partial(self._keep, place))

    def _keep(self, place: int, grad: Tensor) -> None:
        self.pushes.setdefault(get_ident(), {})[place] = grad

    def take(self) -> dict[int, Tensor]:
        """The gradients of the outputs, which are then forgotten."""
        return self.pushes.pop(get_ident(), {})

    def again(
        self, tensors: Sequence[Tensor], pushes: dict[int, Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Exact gradients of the tensors that need one."""
        everything = list(self.others)
        for place, tensor in zip(self.places, tensors, strict=True):
            everything[place] = tensor
        return _gradients(self.exact, everything, self.places, pushes)  # type: ignore[arg-type]


class _Guard(Function):
    @staticmethod
    def forward(ctx: Any, watch: _Watch, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.watch = watch
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        pushes = ctx.watch.take()
        if not pushes or _trusted(grads, ctx.watch.first_tells):
            return None, *grads
        return None, *ctx.watch.again(ctx.saved_tensors, pushes)


# --- At one node of autograd ----------------------------------------------------------------------

# What leaves the order of numbers as it is.
_VIEWS = {
    f"{name}Backward{version}"
    for name in ("View", "UnsafeView", "ReshapeAlias", "Alias", "Squeeze", "Unsqueeze")
    for version in range(3)
}
Node = torch.autograd.graph.Node


@dataclass(frozen=True)
class _GradientPlace:
    """Where the node is that sends gradients to the tensors of a call.

    Attributes:
        views: So many views stand between it and the output.
        name: Of the node, as a second look at it.
        edges: For each tensor, which of the gradients of the node is its own; None where it needs
            none.
    """

    views: int
    name: str
    edges: tuple[int | None, ...]

    @classmethod
    def of(cls, outputs: Sequence[Tensor], tensors: Sequence[Tensor]) -> _GradientPlace | None:
        """Look for the node; None where there is no single one."""
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
            own = _source(tensor.grad_fn, tensor.output_nr) if tensor.grad_fn else tensor
            edge = next((i for i, source in left.items() if _same(source, own)), None)
            if edge is None:
                return None
            del left[edge]
            edges.append(edge)
        return None if left else cls(views, node.name(), tuple(edges))

    def node(self, output: Tensor) -> Node | None:
        """The node behind an output of another call; None if it is not there."""
        node = output.grad_fn
        for _ in range(self.views):
            if node is None or not _is_view(node):
                return None
            node = node.next_functions[0][0]
        return node if node is not None and node.name() == self.name else None


def _is_view(node: Node) -> bool:
    return node.name() in _VIEWS and node.next_functions[0][0] is not None


def _source(node: Node | None, place: int) -> tuple[Node, int] | Tensor:
    """Where gradients go that reach a node: an output of another, or a tensor; views are passed."""
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
    first_tells: bool,
    grads: Sequence[Tensor | None],
    pushes: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...] | None:
    if torch.is_grad_enabled():
        return None  # asked to differentiate once more, which has its own way
    if _trusted(grads, first_tells):
        return None
    known = {
        i: push.reshape(shape)
        for i, (push, shape) in enumerate(zip(pushes, shapes, strict=False))
        if push is not None
    }
    places = [place for place, edge in enumerate(edges) if edge is not None]
    found = dict(zip(places, _gradients(exact, tensors, places, known), strict=True))
    better = list(grads)
    for place, grad in found.items():
        edge = edges[place]
        assert edge is not None
        old = grads[edge]
        better[edge] = None if old is None or grad is None else grad.reshape(old.shape)
    return tuple(better)


def _trusted(grads: Sequence[Tensor | None], first_tells: bool) -> bool:
    if looked_into(grads) or many_at_once(grads):
        return True  # no numbers can be read
    if first_tells and grads[0] is not None:
        return all_finite((grads[0],))
    return all_finite(grad for grad in grads if grad is not None)


def _gradients(
    exact: Compute, tensors: Sequence[Tensor], places: Sequence[int], pushes: dict[int, Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of the tensors at these places, by computing everything again."""
    twice = torch.is_grad_enabled()
    if not twice:
        tensors = [t.detach().requires_grad_(i in places) for i, t in enumerate(tensors)]
    with torch.enable_grad():
        found = exact(tensors)
    wanted = [place for place in pushes if found[place].requires_grad]
    return torch.autograd.grad(
        [found[place] for place in wanted],
        [tensors[place] for place in places],
        [pushes[place] for place in wanted],
        allow_unused=True,
        create_graph=twice,
    )
