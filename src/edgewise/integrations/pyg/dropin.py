"""A layer of PyTorch Geometric whose messages Edgewise computes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation
from torch_geometric.nn.dense.linear import Linear

from edgewise.errors import ArgumentError
from edgewise.integrations.pyg.tracers import has_hooks_on_all_modules, is_traced

__all__ = [
    "DropIn",
    "has_hooks",
    "is_plain_linear",
    "on_both_sides",
    "originals",
    "scriptable",
    "why_everywhere",
]

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
    ``torch.compile``, ``torch.export``,           a graph reads its edges, which a tracer cannot
    ``torch.jit.trace``, ``torch.fx``
    ``torch.jit.script``                           it reads the source of the original; torch puts
                                                   the originals into the model that it was given
    edges without numbers: fake, on ``meta``, or   there is nothing to read
    different ones in each call of a ``vmap``
    forward-mode derivatives of attention          the original's operations have them
    ``dropout=1.0`` in training                    every weight is dropped
    hooks on all modules of the process            they are for calls that Edgewise does not make
    ``with originals():``                          it is asked for
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
        if self.training and state.get("dropout") == 1.0:
            return "dropout is 1, so all weights are dropped"
        if is_traced():
            return "a tracer cannot read edges"
        return why_everywhere() or self.unusual()

    def __prepare_scriptable__(self) -> nn.Module:
        """An original with the same parameters: what `torch.jit.script` compiles instead."""
        return scriptable(self)

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


def scriptable(layer: Any) -> nn.Module:
    """The original of a drop-in for `torch.jit.script`, which reads sources and types.

    Raises:
        ArgumentError: a subclass, whose own methods the original does not have.
    """
    kind = type(layer)
    if "original" not in kind.__dict__:
        raise ArgumentError(
            f"torch.jit.script: {kind.__name__} is a subclass of a layer of Edgewise, which cannot "
            f"be scripted. Derive it from torch_geometric.nn.{kind.original.__name__}, or use "
            f"torch.compile."
        )
    given = copy.copy(layer)
    given.__class__ = kind.original
    given._modules = dict(layer._modules)  # torch replaces the modules in it
    return given


def has_hooks(module: Any) -> bool:
    """Whether somebody wants to see what goes into a module, or what comes out."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


_ORIGINALS: ContextVar[bool] = ContextVar("originals", default=False)


@contextmanager
def originals() -> Generator[None]:
    """Inside, every drop-in layer computes what its original computes, in the original's way.

    For this thread (or task) alone. Layers that are called inside are concerned, and nothing else:
    a backward pass may run outside.

    Example:
        >>> import torch
        >>> from edgewise.integrations.pyg import GATConv
        >>> layer = GATConv(5, 4, heads=2)
        >>> with originals():
        ...     print(layer.why_original())
        originals were asked for
    """
    token = _ORIGINALS.set(True)
    try:
        yield
    finally:
        _ORIGINALS.reset(token)


def why_everywhere() -> str | None:
    """Why all drop-ins run their originals at present; None where they need not."""
    if _ORIGINALS.get():
        return "originals were asked for"
    return "hooks want to see all modules" if has_hooks_on_all_modules() else None


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
