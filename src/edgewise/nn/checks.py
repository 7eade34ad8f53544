"""Checks of what layers are given: every error is a sentence that names the cure."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Graph
from edgewise.graphs.base import check_graph
from edgewise.ops.bias import check_per_edge
from edgewise.ops.tracing import is_intercepted
from edgewise.planning.compiled import num_edges_of
from edgewise.shapes import FLOATING, is_shape_only

__all__ = [
    "can_be_checked",
    "check_choice",
    "check_edge",
    "check_edges",
    "check_features",
    "check_nodes",
    "check_rate",
    "check_size",
    "check_square",
    "check_tensor",
    "checked_edge_weight",
]


def check_size(owner: str, name: str, value: int, minimum: int = 1) -> int:
    """Check that a size is a whole number of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"{owner}: {name} must be a whole number, got {value!r} ({type(value).__name__}). "
            f"Pass an int."
        )
    if value < minimum:
        raise ArgumentError(f"{owner}: {name} must be at least {minimum}, got {value}.")
    return value


def check_rate(owner: str, name: str, value: float) -> float:
    """Check that a share of dropped values lies in ``[0, 1)``."""
    if not 0.0 <= value < 1.0:
        raise ArgumentError(
            f"{owner}: {name} must be at least 0 and below 1, got {value}. "
            f"It is the share of values that is dropped."
        )
    return value


def check_choice(owner: str, name: str, value: object, choices: Collection[object]) -> None:
    """Check that a setting is one of the choices."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ArgumentError(f"{owner}: {name} must be one of {listed}, got {value!r}.")


def check_tensor(owner: str, name: str, value: object) -> None:
    """Check that an input is a tensor, and not a proxy of ``torch.fx``."""
    if isinstance(value, Tensor):
        return
    kind = type(value)
    if kind.__module__.startswith("torch.fx"):
        raise ArgumentError(
            f"{owner}: torch.fx.symbolic_trace gives {name} no shape, and shapes are checked "
            f"against the layer and the graph. Use torch.export.export."
        )
    raise ArgumentError(
        f"{owner}: {name} must be a tensor, got {kind.__name__}. Use torch.as_tensor({name})."
    )


def can_be_checked(tensor: Tensor) -> bool:
    """Whether a check can read the numbers of a tensor: no tracer records it, and it has some.

    >>> import torch
    >>> can_be_checked(torch.arange(3)), can_be_checked(torch.arange(3, device="meta"))
    (True, False)
    """
    return tensor.numel() > 0 and not is_intercepted((tensor,)) and not is_shape_only(tensor)


def check_features(owner: str, name: str, x: Tensor, dim: int, size: str) -> None:
    """Check that ``x`` is ``[*batch, nodes, dim]``; ``size`` is the argument that set ``dim``."""
    check_tensor(owner, name, x)
    if x.dtype not in FLOATING:
        raise ArgumentError(
            f"{owner}: {name} must be float64, float32, bfloat16 or float16, got {x.dtype}. "
            f"Convert it with {name}.{'real' if x.is_complex() else 'float()'}."
        )
    if x.ndim < 2:
        raise ShapeError(
            f"{owner}: {name} must have shape [*batch, nodes, {dim}], got {list(x.shape)}. "
            f"Add the missing axis with {name}[None]."
        )
    if x.shape[-1] != dim:
        raise ShapeError(
            f"{owner}: {name} has {x.shape[-1]} features but the layer was built with "
            f"{size}={dim} ({name}: {list(x.shape)}, axis -1). Build it with "
            f"{size}={x.shape[-1]}, or project {name} first."
        )


def check_edge(owner: str, edge: Tensor | None, edge_dim: int | None) -> None:
    """Check that edge features are there exactly when the layer has parameters for them."""
    if edge is None:
        if edge_dim is not None:
            raise ArgumentError(
                f"{owner}: edge is missing, but the layer was built with edge_dim={edge_dim}. "
                f"Pass edge of shape [edges, {edge_dim}], or build the layer without edge_dim."
            )
        return
    if edge_dim is None:
        raise ArgumentError(
            f"{owner}: edge was given, but the layer was built without edge_dim and would ignore "
            f"it (edge: {list(edge.shape)}). Build it with edge_dim={edge.shape[-1]}."
        )
    check_features(owner, "edge", edge, edge_dim, "edge_dim")


def check_edges(owner: str, edge: Tensor, x: Tensor, graph: Graph) -> None:
    """Check that there is one row for each edge, and no more batch axes than ``x`` has."""
    tail = (num_edges_of(graph), None)
    meaning = "[*batch|1, edges, features]"
    check_per_edge(edge, tuple(x.shape[:-2]), tail, f"{owner}: edge", meaning)


def check_nodes(owner: str, x: Tensor, graph: Graph) -> None:
    """Check that there is one row for each target."""
    check_graph(f"{owner}: graph", graph)
    if x.shape[-2] != graph.num_targets:
        raise ShapeError(
            f"{owner}: x has {x.shape[-2]} nodes but graph has {graph.num_targets} targets "
            f"(x: {list(x.shape)}, axis -2). Build the graph with num_targets={x.shape[-2]}, or "
            f"pass the other set of nodes as source."
        )


def check_square(owner: str, graph: Graph, instead: str) -> None:
    """Check that targets and sources are the same nodes; ``instead`` is the cure."""
    check_graph(f"{owner}: graph", graph)
    if graph.num_targets != graph.num_sources:
        raise ShapeError(
            f"{owner}: the graph must be square, got {graph.num_targets} targets and "
            f"{graph.num_sources} sources. {instead}"
        )


def checked_edge_weight(owner: str, weight: Tensor | None, source: Tensor) -> Tensor | None:
    """Edge weights with as many batch axes as the nodes: ``[*batch | 1, E]``."""
    if weight is None:
        return None
    check_tensor(owner, "edge_weight", weight)
    if not 1 <= weight.ndim < source.ndim:
        raise ShapeError(
            f"{owner}: edge_weight holds one number for every edge, so it must have shape [edges] "
            f"or [*batch, edges] with the batch axes of x, got {list(weight.shape)}. Edge "
            f"features need a layer with edge_dim."
        )
    return weight[(None,) * (source.ndim - 1 - weight.ndim)]
