"""Permutation: a graph whose nodes have other numbers."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, OverOne, check_graph
from edgewise.graphs.edge_list import EdgeList
from edgewise.graphs.facts import Facts, facts_of_permutation
from edgewise.graphs.sequence import Complete

__all__ = ["Permutation", "permute"]


@dataclass(frozen=True, repr=False, eq=False)
class Permutation(OverOne):
    """The same graph with its nodes renamed: old target ``i`` becomes ``targets[i]``."""

    targets: Tensor
    sources: Tensor

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            raise GraphError(
                "permute: cannot be built inside torch.compile, because its checks read the "
                "numbers. Build it outside, and pass it in or close over it."
            )
        for name, size in (
            ("targets", self.graph.num_targets),
            ("sources", self.graph.num_sources),
        ):
            object.__setattr__(self, name, _checked_order(name, getattr(self, name), size))
        inverse = (torch.argsort(self.targets), torch.argsort(self.sources))
        object.__setattr__(self, "_inverse", inverse)

    @property
    def holds_tensors(self) -> bool:
        return True

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        targets, sources = self.__dict__["_inverse"]
        return self.graph.contains(
            targets.to(target.device)[target], sources.to(source.device)[source]
        )

    def facts(self) -> Facts:
        return facts_of_permutation(self.graph.facts())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Permutation)
            and self.graph == other.graph
            and torch.equal(self.targets, other.targets)
            and torch.equal(self.sources, other.sources)
        )

    def __hash__(self) -> int:
        return hash((Permutation, self.graph))

    def __repr__(self) -> str:
        if max(self.num_targets, self.num_sources) > 32:
            return f"permute({self.graph!r}, <{self.num_targets} targets>)"
        orders = [self.targets.tolist(), self.sources.tolist()]
        words = [
            repr(self.graph),
            *(repr(o) for o in (orders[:1] if orders[0] == orders[1] else orders)),
        ]
        return f"permute({', '.join(words)})"


def _checked_order(name: str, order: Tensor, size: int) -> Tensor:
    whole = not (order.is_floating_point() or order.is_complex() or order.dtype == torch.bool)
    fits = order.shape == (size,) and (whole or not size)  # an empty list has no integer dtype
    if not fits or not torch.equal(order.long().sort().values.cpu(), torch.arange(size)):
        raise GraphError(
            f"permute: {name} must hold each whole number from 0 to {size - 1} once, got "
            f"{reprlib.repr(order.tolist())}. Use torch.randperm({size}), for example."
        )
    return order.detach().to(torch.int64, copy=True)


def permute(
    graph: Graph, targets: Tensor | list[int], sources: Tensor | list[int] | None = None
) -> Graph:
    r"""Rename the nodes: old target ``i`` is now ``targets[i]``, old source ``j`` ``sources[j]``.

    .. math::  \mathrm{attend}(pG, pq, pk, pv) = p\,\mathrm{attend}(G, q, k, v)

    The edges of a permuted `EdgeList` keep their order; so per-edge tensors stay valid.

    Args:
        graph: Any graph.
        targets: New number of each target: ``[T]``.
        sources: New number of each source: ``[S]``; the same as ``targets`` when left out.

    Raises:
        GraphError: an order is not a permutation.

    Example:
        >>> permute(EdgeList([[0], [1]], num_nodes=3), [2, 0, 1])
        EdgeList([[2], [0]], num_nodes=3)
    """
    check_graph("permute: graph", graph)
    rows = torch.as_tensor(targets)
    columns = rows if sources is None else torch.as_tensor(sources)
    renamed = Permutation(graph, rows, columns)
    if isinstance(graph, Complete):
        return graph
    if isinstance(graph, EdgeList):
        device = graph.edge_index.device
        pairs = torch.stack(
            [renamed.sources.to(device)[graph.source], renamed.targets.to(device)[graph.target]]
        )
        return EdgeList(pairs, num_targets=graph.num_targets, num_sources=graph.num_sources)
    return renamed
