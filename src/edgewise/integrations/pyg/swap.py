"""Swapping the layers of a model that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch_geometric.nn.attention as attentions
from torch import nn
from torch_geometric import nn as originals
from torch_geometric.nn import MessagePassing, aggr, pool
from torch_geometric.nn.aggr import utils as aggregators

from edgewise.errors import ArgumentError
from edgewise.integrations.pyg.convolution import GCNConv, GINConv, SAGEConv
from edgewise.integrations.pyg.dropin import DropIn
from edgewise.integrations.pyg.gat import GATConv, GATv2Conv
from edgewise.integrations.pyg.gmm import GMMConv
from edgewise.integrations.pyg.gps import GPSConv
from edgewise.integrations.pyg.transformer import TransformerConv

__all__ = ["Swaps", "accelerate", "restore"]

_DROP_INS: dict[type[nn.Module], type[nn.Module]] = {
    drop_in.__bases__[-1]: drop_in
    for drop_in in (
        *(GATConv, GATv2Conv, TransformerConv, GCNConv, SAGEConv, GINConv, GMMConv, GPSConv),
    )
}
_ORIGINALS = {drop_in: original for original, drop_in in _DROP_INS.items()}

# What attends outside of message passing, over all nodes or over those of a graph.
_ATTENTION: tuple[type[nn.Module], ...] = (
    *(getattr(attentions, name) for name in attentions.__all__),
    *(aggr.GraphMultisetTransformer, aggr.SetTransformerAggregation, aggr.AttentionalAggregation),
    *(aggr.SoftmaxAggregation, aggr.Set2Set, pool.MemPooling),
    *(aggregators.MultiheadAttentionBlock, aggregators.SetAttentionBlock),
    *(aggregators.InducedSetAttentionBlock, aggregators.PoolingByMultiheadAttention),
    *(nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerDecoder, nn.Transformer),
)


@dataclass(frozen=True)
class Swaps:
    """What `accelerate` did: print it.

    Attributes:
        swapped: Name in the model and class of every layer that Edgewise computes now.
        left: Name, class and reason of every layer that passes messages, or attends in another
            way, and was left as it is.
    """

    swapped: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        rows = [("swapped", name, kind) for name, kind in self.swapped]
        rows += [("left", name, f"{kind}: {why}") for name, kind, why in self.left]
        if not rows:
            return "nothing to swap: no layer of this model passes messages or attends"
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
    _check_module("accelerate", model)
    swapped: list[tuple[str, str]] = []
    left: list[tuple[str, str, str]] = []
    reported: tuple[str, ...] = ()  # names of modules whose parts are not reported one by one
    for path, module in model.named_modules():
        name, kind = path or "(model)", type(module)
        if isinstance(module, GPSConv):
            reported += (f"{path}.attn" if path else "attn",)
        if isinstance(module, DropIn | GPSConv) or _is_within(path, reported):
            continue
        drop_in = _DROP_INS.get(kind)
        why = _no_drop_in(module) if drop_in is None else _swap(module, drop_in)
        if why is None:
            swapped.append((name, kind.__name__))
        elif why:
            left.append((name, kind.__name__, why))
        if isinstance(module, originals.GPSConv):
            reported += (f"{path}.attn" if path else "attn",)
        elif isinstance(module, _ATTENTION):
            reported += (path,)
    return Swaps(tuple(swapped), tuple(left))


def restore(model: nn.Module) -> tuple[str, ...]:
    """Turn all drop-in layers of a model into originals, in place: `accelerate` undone.

    A layer keeps everything but its class. Subclasses of drop-ins are left as they are.

    Args:
        model: Any module with layers inside, or a layer.

    Returns:
        The names of the layers that are originals again.

    Example:
        >>> import torch_geometric.nn as pyg
        >>> model = pyg.GAT(5, 8, num_layers=2)
        >>> print(accelerate(model))
        swapped  convs.0  GATConv
        swapped  convs.1  GATConv
        >>> restore(model)
        ('convs.0', 'convs.1')
    """
    _check_module("restore", model)
    restored: list[str] = []
    for path, module in model.named_modules():
        original = _ORIGINALS.get(type(module))
        if original is not None:
            module.__class__ = original
            restored.append(path or "(model)")
    return tuple(restored)


def _check_module(owner: str, model: object) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"{owner}: model must be a torch.nn.Module, got {type(model).__name__}. Pass the model "
            f"itself, or one of its layers."
        )


def _is_within(path: str, names: tuple[str, ...]) -> bool:
    """Whether a module is one of these, or a part of one."""
    return any(path == name or path.startswith(f"{name}." if name else "") for name in names)


def _swap(module: Any, drop_in: type[nn.Module]) -> str | None:
    """Change the class, unless the original would do the work for good; then say why."""
    original, module.__class__ = type(module), drop_in
    why = module.unusual()
    if why is not None:
        module.__class__ = original
    return why


def _no_drop_in(module: nn.Module) -> str:
    """Why there is no drop-in; empty for modules that neither pass messages nor attend."""
    for parent in type(module).__mro__[1:]:
        if parent in _DROP_INS:
            return f"a subclass of {parent.__name__} may have changed anything"
    if isinstance(module, MessagePassing):
        return "there is no drop-in for it"
    return "there is no drop-in for its attention" if isinstance(module, _ATTENTION) else ""
