"""Sizes that a compiler or an exporter leaves open: symbols instead of numbers.

A comparison of open sizes becomes a condition on the compiled code. The constructor of a graph
needs none: what is recorded builds the graph again where it runs, and checks its numbers there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from edgewise.graphs.base import Graph

__all__ = ["has_open_sizes", "holds", "is_open"]


def is_open(item: Any) -> bool:
    """Whether a part of a `Graph.spec` is a size that a compiler leaves open."""
    if isinstance(item, tuple):
        return any(is_open(part) for part in item)
    if isinstance(item, int | torch.SymInt) and not isinstance(item, bool):
        from torch.fx.experimental.symbolic_shapes import has_static_value

        return not has_static_value(item)
    return False


def has_open_sizes(graph: Graph) -> bool:
    """Whether a graph without tensors is made of sizes that are left open, in traced code."""
    if not torch.compiler.is_compiling():
        return False
    spec = graph.spec()
    return spec is not None and is_open(spec)


def holds(condition: Any) -> bool:
    """Whether a condition on sizes holds; of open ones, whether it holds whatever they are."""
    if not torch.compiler.is_compiling():
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)
