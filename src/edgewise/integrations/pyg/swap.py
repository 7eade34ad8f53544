"""Swapping the layers of a model that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch_geometric.nn import MessagePassing

from edgewise.integrations.pyg.convolution import GCNConv, GINConv, SAGEConv
from edgewise.integrations.pyg.dropin import DropIn
from edgewise.integrations.pyg.gat import GATConv, GATv2Conv
from edgewise.integrations.pyg.gmm import GMMConv
from edgewise.integrations.pyg.gps import GPSConv
from edgewise.integrations.pyg.transformer import TransformerConv

__all__ = ["Swaps", "accelerate"]

_DROP_INS: dict[type[nn.Module], type[nn.Module]] = {
    drop_in.__bases__[-1]: drop_in
    for drop_in in (
        *(GATConv, GATv2Conv, TransformerConv, GCNConv, SAGEConv, GINConv, GMMConv, GPSConv),
    )
}


@dataclass(frozen=True)
class Swaps:
    """What `accelerate` did: print it.

    Attributes:
        swapped: Name in the model and class of every layer that Edgewise computes now.
        left: Name, class and reason of every layer that passes messages and was left as it is.
    """

    swapped: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        rows = [("swapped", name, kind) for name, kind in self.swapped]
        rows += [("left", name, f"{kind}: {why}") for name, kind, why in self.left]
        if not rows:
            return "nothing to swap: no layer of this model passes messages"
        width = max(len(name) for _, name, _ in rows)
        return "\n".join(f"{what:<9}{name:<{width}}  {rest}" for what, name, rest in rows)


def accelerate(model: nn.Module) -> Swaps:
    """Let Edgewise compute the layers of a model of PyTorch Geometric, in place.

    A layer keeps everything but its class: it is the same object, with its weights, buffers,
    hooks, settings and mode. So optimizers, checkpoints and whoever else refers to it go on.
    Only layers of exactly an original's class are swapped; a subclass may have changed anything.

    Args:
        model: Any module with layers inside, or a layer.

    Returns:
        What was swapped, and what was left and why. A second call finds nothing more to do.

    Example:
        >>> import torch_geometric.nn as pyg
        >>> model = pyg.Sequential(
        ...     "x, edge_index",
        ...     [
        ...         (pyg.GATConv(5, 4, heads=2), "x, edge_index -> x"),
        ...         (pyg.ChebConv(8, 4, K=2), "x, edge_index -> x"),
        ...     ],
        ... )
        >>> print(accelerate(model))
        swapped  module_0  GATConv
        left     module_1  ChebConv: there is no drop-in for it
    """
    swapped: list[tuple[str, str]] = []
    left: list[tuple[str, str, str]] = []
    for path, module in model.named_modules():
        name, kind = path or "(model)", type(module)
        if isinstance(module, DropIn | GPSConv):
            continue
        drop_in = _DROP_INS.get(kind)
        why = _no_drop_in(kind) if drop_in is None else _swap(module, drop_in)
        if why is None:
            swapped.append((name, kind.__name__))
        elif why:
            left.append((name, kind.__name__, why))
    return Swaps(tuple(swapped), tuple(left))


def _swap(module: Any, drop_in: type[nn.Module]) -> str | None:
    """Change the class, unless the original would do the work for good; then say why."""
    original, module.__class__ = type(module), drop_in
    why = module.why_original() if drop_in is GPSConv else module.unusual()
    if why is not None:
        module.__class__ = original
    return why


def _no_drop_in(kind: type[nn.Module]) -> str:
    """Why there is no drop-in; empty for modules that pass no messages."""
    for parent in kind.__mro__[1:]:
        if parent in _DROP_INS:
            return f"a subclass of {parent.__name__} may have changed anything"
    return "there is no drop-in for it" if issubclass(kind, MessagePassing) else ""
