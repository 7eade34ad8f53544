"""A layer of PyTorch Geometric whose messages Edgewise computes."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation
from torch_geometric.nn.dense.linear import Linear

__all__ = ["DropIn", "has_hooks", "is_plain_linear", "on_both_sides"]

_AGGREGATIONS = {
    "add": SumAggregation,
    "sum": SumAggregation,
    "mean": MeanAggregation,
    "max": MaxAggregation,
}
_STEPS = (
    *("message", "edge_update", "aggregate", "update", "message_and_aggregate"),
    *("propagate", "edge_updater"),
)
_HOOKS = tuple(
    f"_{step}_forward{pre}_hooks"
    for step in ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
    for pre in ("", "_pre")
)


class DropIn(nn.Module):
    """What all drop-in layers have in common: an original, and when to let it do the work.

    A drop-in **is** an original: the same parameters, buffers, names and settings, only its class
    differs. So weights load both ways, and explainers, ``to_hetero`` and lazy sizes work as ever.
    It computes messages with Edgewise, and lets the original do so, by itself but never without a
    reason (`why_original`), in these cases:

    =============================================  =================================================
    when                                           why
    =============================================  =================================================
    an explainer is at work                        it weighs single messages
    hooks on messages, aggregation, ...            they want to see what is never made
    a subclass (or the layer) has its own          what it says is not what the operator does
    ``message``, ``aggregate``, ...
    another ``aggr`` than the usual ones           sums and means (and maxima, without gradients:
                                                   of equal maxima torch lets each have a share)
    ``decomposed_layers`` above 1                  a setting that saves the memory of messages
    ``torch.compile``, ``torch.jit``               a graph reads its edges, which a tracer cannot
    ``torch_sparse.SparseTensor``                  another library's matrices
    torch's sparse matrices, without attention     torch multiplies them already; attention layers
                                                   take them, unless values are edge features
    attention weights asked for, with dropout      they have to be those that were dropped
    inputs that the original refuses               so the error is the original's
    =============================================  =================================================

    Dropout of attention weights is drawn by Edgewise: the same share, not the same edges as the
    original's. Without it, training goes step by step like the original's, up to rounding.

    Example:
        >>> import torch
        >>> from edgewise.integrations.pyg import GATConv
        >>> layer = GATConv(5, 4, heads=2)
        >>> layer
        GATConv(5, 4, heads=2)
        >>> layer(torch.randn(3, 5), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 8])
        >>> layer.why_original()
        >>> layer.explain = True
        >>> layer.why_original()
        'an explainer is at work'
    """

    original: ClassVar[Any]
    reductions: ClassVar[tuple[str, ...]] = ("add", "sum")
    inspector: Any
    aggr_module: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "original" in cls.__dict__:
            cls.__signature__ = inspect.signature(cls.original)  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The original inspects its own class, and writes code for it: it is to find itself.
        given = type(self)
        if not _own_steps(given):
            self.__class__ = given.original
        try:
            given.original.__init__(self, *args, **kwargs)
        finally:
            self.__class__ = given

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        """Write code for the original's class, not for this one, unless a subclass has its own."""
        given = type(self)
        if _own_steps(given):
            # It looks for calls in sources, by names of classes: ours has the original's.
            sources: dict[str, str] = self.inspector._source_dict
            sources[given.original.__name__] = inspect.getsource(given.original)
        else:
            self.__class__ = given.original
        try:
            given.original._set_jittable_templates(self, raise_on_error)
        finally:
            self.__class__ = given

    def why_original(self) -> str | None:
        """Why the original computes the messages, whatever the inputs; None if Edgewise does."""
        state = self.__dict__
        if state["_explain"]:
            return "an explainer is at work"
        if any(map(state.__getitem__, _HOOKS)):
            return "hooks want to see messages"
        jit: Any = torch.jit
        if torch.compiler.is_compiling() or jit.is_tracing():
            return "a tracer cannot read edges"
        return self.unusual()

    def unusual(self) -> str | None:
        """The part of `why_original` that lies in how the layer was built."""
        state = self.__dict__
        if _own_steps(type(self)) or any(step in state for step in _STEPS if step != "propagate"):
            return "it has its own message, aggregate or update"
        if "propagate" in state and not _written(self):
            return "it has its own propagate"
        if state["_decomposed_layers"] != 1:
            return "decomposed_layers is above 1"
        aggr = state["aggr"]
        kind = _AGGREGATIONS.get(aggr) if isinstance(aggr, str) else None
        module = self.aggr_module
        if aggr not in self.reductions or type(module) is not kind or has_hooks(module):
            return f"aggr={aggr!r} is none of {', '.join(self.reductions)}"
        return None


def on_both_sides(x: Any) -> tuple[Tensor, Tensor | None] | None:
    """Features of both rows of ``edge_index``; None for anything but tensors."""
    if isinstance(x, Tensor):
        return x, x
    if isinstance(x, tuple | list) and len(x) == 2 and isinstance(x[0], Tensor):
        first, second = x
        if second is None or isinstance(second, Tensor):
            return first, second
    return None


def is_plain_linear(module: nn.Module | None) -> bool:
    """Whether a projection is its weight and nothing else: no lazy size, no hooks."""
    return type(module) is Linear and not has_hooks(module)


def has_hooks(module: Any) -> bool:
    """Whether somebody wants to see what goes into a module, or what comes out."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


@cache
def _own_steps(kind: type[DropIn]) -> bool:
    """Whether a subclass changes how messages are made."""
    between = kind.__mro__[: kind.__mro__.index(kind.original)]
    return any(step in vars(parent) for parent in between for step in _STEPS)


def _written(layer: Any) -> bool:
    """Whether ``propagate`` of a layer is one that PyTorch Geometric puts there itself."""
    function = getattr(layer.__dict__["propagate"], "__func__", None)
    kind = type(layer)
    return function in (kind._orig_propagate, kind._jinja_propagate)
