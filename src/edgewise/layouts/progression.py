"""Progressions: graphs whose rows are arithmetic progressions, as three numbers a row.

Complete, causal, window, dilated, prefix, block and self-loop graphs all read, in each row,
``first, first + step, first + 2 * step, ...``. So their edges cost O(E) with no comparison, and
counts of edges in blocks of pairs cost O(1) a row and block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.graphs.base import Graph
from edgewise.graphs.blocks import Blocks
from edgewise.graphs.sequence import Causal, Complete, Dilated, PrefixCausal, SelfLoops, Window
from edgewise.layouts.formats import Edges

__all__ = ["Progression", "progression"]


@dataclass(frozen=True, eq=False)
class Progression:
    """Row ``t`` reads ``first[t] + step * i`` for ``i < length[t]``.

    Attributes:
        first: ``[T]``, int64.
        length: ``[T]``, int64.
        step: Distance between neighbouring sources of a row.
    """

    first: Tensor
    length: Tensor
    step: int

    def edges(self) -> Edges:
        """Every edge, by target, then source."""
        T = self.first.shape[0]
        target = torch.repeat_interleave(torch.arange(T), self.length)
        before = torch.repeat_interleave(self.length.cumsum(0) - self.length, self.length)
        within = torch.arange(target.shape[0]) - before
        return Edges(target, self.first[target] + self.step * within)


def progression(graph: Graph) -> Progression | None:
    """The rows of a graph as progressions; None for other families."""
    T, S = graph.num_targets, graph.num_sources
    t = torch.arange(T)
    zero = torch.zeros_like(t)
    match graph:
        case Complete():
            return Progression(zero, torch.full_like(t, S), 1)
        case Causal():
            return Progression(zero, (t + 1 + S - T).clamp(0, S), 1)
        case Window():
            left, right = graph.reach
            first = (t + (S - T) - left).clamp(min=0)
            last = (t + (S - T) + right).clamp(max=S - 1)
            return Progression(first, (last - first + 1).clamp(min=0), 1)
        case Dilated():
            left, right = graph.reach
            step = min(graph.dilation, max(T, 1))
            before = (t // step).clamp(max=left)
            after = ((T - 1 - t) // step).clamp(max=right)
            return Progression(t - before * step, before + after + 1, step)
        case PrefixCausal():
            return Progression(zero, (t + 1).clamp(min=graph.prefix), 1)
        case SelfLoops():
            return Progression(t, torch.ones_like(t), 1)
        case Blocks():
            rows = torch.tensor(graph.sizes, dtype=torch.int64)
            columns = torch.tensor(graph.source_sizes, dtype=torch.int64)
            return Progression(
                torch.repeat_interleave(graph.source_ends[:-1], rows),
                torch.repeat_interleave(columns, rows),
                1,
            )
        case _:
            return None
