"""Hubs: nodes that read all nodes and are read by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.counts import count, counts
from edgewise.graphs.facts import Facts
from edgewise.graphs.open_sizes import holds, is_open

__all__ = ["Hubs"]


@dataclass(frozen=True, repr=False)
class Hubs(Graph, parsed=True):
    r"""Some nodes read all nodes and are read by all (global tokens, virtual nodes).

    .. math::  (s \to t) \in E \iff t \in \text{hubs} \;\lor\; s \in \text{hubs}

    Args:
        num_targets: Number of nodes ``N``; sources are the same nodes.
        hubs: Node numbers; order and repetition do not matter.

    Raises:
        GraphError: a hub is outside ``[0, N)``.

    Example:
        >>> from edgewise import draw
        >>> print(draw(Hubs(4, [1])))
        .#..
        ####
        .#..
        .#..

    References:
        Beltagy et al. Longformer. 2020, arXiv:2004.05150, section 3.1 (global attention);
        Zaheer et al. BigBird. 2020, arXiv:2007.14062, section 2.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    hubs: Sequence[int]

    def __post_init__(self) -> None:
        N = count("Hubs", "num_targets", self.num_targets)
        hubs = counts("Hubs", "hubs", self.hubs)
        if not is_open(hubs):  # open sizes have no order; where the graph is built again, they have
            hubs = tuple(sorted(set(hubs)))
        for hub in hubs[-1:] if not is_open(hubs) else hubs:
            if holds(hub >= N):
                raise GraphError(
                    f"Hubs: hubs must be below num_targets={N}, got {hub}. "
                    f"Number the nodes from 0, or raise num_targets."
                )
        object.__setattr__(self, "num_targets", N)
        object.__setattr__(self, "hubs", hubs)

    @property
    def num_sources(self) -> int:
        """Columns; the same nodes as the targets."""
        return self.num_targets

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        is_hub = torch.zeros(self.num_targets, dtype=torch.bool, device=target.device)
        is_hub[list(self.hubs)] = True
        return is_hub[target] | is_hub[source]

    def facts(self) -> Facts:
        N, h = self.num_targets, len(self.hubs)
        edges = 2 * h * N - h * h
        degrees = (N, N) if h == N else (h, N if h else 0)
        band = max(self.hubs[-1], N - 1 - self.hubs[0]) if h else 0
        return Facts.bounded(
            N,
            N,
            min_edges=edges,
            max_edges=edges,
            left=band,
            right=band,
            in_degree=degrees,
            out_degree=degrees,
        )

    def reversed(self) -> Graph:
        return self

    def __repr__(self) -> str:
        return f"Hubs({self.num_targets}, {list(self.hubs)})"
