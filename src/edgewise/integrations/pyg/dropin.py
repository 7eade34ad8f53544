"""Base of drop-ins: layers of PyTorch Geometric whose messages Edgewise computes."""

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
from edgewise.integrations.pyg.readable_edges import has_hooks_on_all_modules, is_traced

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
    """Base of drop-in layers: the original, and the cases in which it computes the messages.

    A drop-in **is** an original: the same parameters, buffers, names and settings, only its class
    differs. So weights load both ways, and explainers, ``to_hetero`` and lazy sizes work.
    Messages are computed by Edgewise, except in these cases, with the reason in `why_original`:

    =============================================  =================================================
    when                                           why
    =============================================  =================================================
    an explainer is at work                        it weighs single messages
    hooks on messages, aggregation, ...            they need messages, which are not computed
    a subclass (or the layer) has its own          it may differ from the operator
    ``message``, ``aggregate``, ...
    another ``aggr`` than the usual ones           sums and means (and maxima, without gradients:
                                                   torch divides gradients among equal maxima)
    ``decomposed_layers`` above 1                  a setting that saves the memory of messages
    ``torch.compile``, ``torch.export``,           a graph reads its edges, which a tracer cannot
    ``torch.jit.trace``, ``torch.fx``
    ``torch.jit.script``                           it reads the source of the original; torch puts
                                                   the originals into the model that it was given
    edges without numbers: fake, on ``meta``, or   they cannot be read
    different ones in each call of a ``vmap``
    forward-mode derivatives of attention          operations of the original have them
    ``dropout=1.0`` in training                    every weight is dropped
    hooks on all modules of the process            they are for calls that Edgewise does not make
    ``with originals():``                          it is requested
    ``torch_sparse.SparseTensor``                  matrices of another library
    torch's sparse matrices, without attention     torch multiplies them already; attention layers
                                                   take them, unless values are edge features
    attention weights requested, with dropout      they have to be those that were dropped
    inputs that the original refuses               so its error is raised
    =============================================  =================================================

    Dropout of attention weights is drawn by Edgewise: the same share of edges, but other edges than
    in the original. Without it, training steps equal those of the original, up to rounding.

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
        # The original inspects its class, and writes code for it, so the class is set for the time.
        given = type(self)
        if not _overrides_steps(given):
            self.__class__ = given.original
        try:
            given.original.__init__(self, *args, **kwargs)
        finally:
            self.__class__ = given

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        """Write code for the class of the original, unless a subclass has other steps."""
        given = type(self)
        if _overrides_steps(given):
            # It searches sources for calls, by names of classes, and finds that of the original.
            sources: dict[str, str] = self.inspector._source_dict
            sources[given.original.__name__] = inspect.getsource(given.original)
        else:
            self.__class__ = given.original
        try:
            given.original._set_jittable_templates(self, raise_on_error)
        finally:
            self.__class__ = given

    def why_original(self) -> str | None:
        """The reason for the original to compute messages for any inputs; None without one."""
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
        """An original with the same parameters, which `torch.jit.script` compiles instead."""
        return scriptable(self)

    def unusual(self) -> str | None:
        """The part of `why_original` that depends on the construction of the layer."""
        state = self.__dict__
        if _overrides_steps(type(self)) or any(
            step in state for step in _STEPS if step != "propagate"
        ):
            return "it has its own message, aggregate or update"
        if "propagate" in state and not _is_generated(self):
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
    """Whether a projection is a plain linear layer: no lazy size, no hooks."""
    return type(module) is Linear and not has_hooks(module)


def scriptable(layer: Any) -> nn.Module:
    """The original of a drop-in for `torch.jit.script`, which reads sources and types.

    Raises:
        ArgumentError: a subclass, whose methods the original does not have.
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
    given._modules = dict(layer._modules)  # torch replaces modules in this dictionary
    return given


def has_hooks(module: Any) -> bool:
    """Whether a module has hooks on its inputs, outputs or gradients."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


_ORIGINALS: ContextVar[bool] = ContextVar("originals", default=False)


@contextmanager
def originals() -> Generator[None]:
    """Compute every drop-in layer by its original inside this context.

    For this thread (or task). It applies to layers that are called inside; a backward pass may
    run outside.

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
    """The reason for all drop-ins to run their originals at present; None without a reason."""
    if _ORIGINALS.get():
        return "originals were asked for"
    return "hooks want to see all modules" if has_hooks_on_all_modules() else None


@cache
def _overrides_steps(kind: type[DropIn]) -> bool:
    """Whether a subclass overrides the computation of messages."""
    between = kind.__mro__[: kind.__mro__.index(kind.original)]
    return any(step in vars(parent) for parent in between for step in _STEPS)


def _is_generated(layer: Any) -> bool:
    """Whether ``propagate`` of a layer is generated by PyTorch Geometric."""
    function = getattr(layer.__dict__["propagate"], "__func__", None)
    kind = type(layer)
    return function in (kind._orig_propagate, kind._jinja_propagate)
