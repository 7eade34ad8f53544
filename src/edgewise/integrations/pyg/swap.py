"""Swap of the layers of an existing model for drop-ins, and back."""

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
from edgewise.integrations.pyg.gat_conv import GATConv, GATv2Conv
from edgewise.integrations.pyg.gmm import GMMConv
from edgewise.integrations.pyg.gps_conv import GPSConv
from edgewise.integrations.pyg.transformer import TransformerConv

__all__ = ["Swaps", "accelerate", "restore"]

_DROP_INS: dict[type[nn.Module], type[nn.Module]] = {
    drop_in.__bases__[-1]: drop_in
    for drop_in in (
        *(GATConv, GATv2Conv, TransformerConv, GCNConv, SAGEConv, GINConv, GMMConv, GPSConv),
    )
}
_ORIGINALS = {drop_in: original for original, drop_in in _DROP_INS.items()}

# Attention modules outside of message passing, over all nodes or over those of a graph.
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
    """The result of `accelerate`, to print.

    Attributes:
        swapped: Name in the model and class of every layer that was swapped.
        left: Name, class and reason of every layer of message passing or attention that was not.
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
    """Compute the layers of a model of PyTorch Geometric with Edgewise, in place.

    A layer keeps everything but its class: it is the same object, with its weights, buffers,
    hooks, settings and mode. So optimizers, checkpoints and other references stay valid.
    Only layers of exactly the class of an original are swapped; a subclass may differ.

    Args:
        model: Any module with layers inside, or a layer.

    Returns:
        The layers that were swapped, and the others with reasons. A second call swaps none.

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
    reported: tuple[str, ...] = ()  # names of modules whose parts are not reported
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
    """Turn all drop-in layers of a model into originals, in place: the inverse of `accelerate`.

    A layer keeps everything but its class. Subclasses of drop-ins are left as they are.

    Args:
        model: Any module with layers inside, or a layer.

    Returns:
        The names of the layers that were turned into originals.

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
    """Whether a module has one of these names, or is inside such a module."""
    return any(path == name or path.startswith(f"{name}." if name else "") for name in names)


def _swap(module: Any, drop_in: type[nn.Module]) -> str | None:
    """Change the class; the reason if the original would compute every call, and no change."""
    original, module.__class__ = type(module), drop_in
    why = module.unusual()
    if why is not None:
        module.__class__ = original
    return why


def _no_drop_in(module: nn.Module) -> str:
    """The reason for no drop-in; empty for modules without message passing or attention."""
    for parent in type(module).__mro__[1:]:
        if parent in _DROP_INS:
            return f"a subclass of {parent.__name__} may have changed anything"
    if isinstance(module, MessagePassing):
        return "there is no drop-in for it"
    return "there is no drop-in for its attention" if isinstance(module, _ATTENTION) else ""
