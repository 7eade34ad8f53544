"""Diagonal blocks: packed documents, batches of complete graphs, readouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.counts import counts
from edgewise.graphs.cuts import Cuts
from edgewise.graphs.facts import Facts

__all__ = ["Blocks"]


@dataclass(frozen=True, repr=False)
class Blocks(Graph, parsed=True):
    r"""Block-diagonal graph: every target reads every source of its block.

    Packed documents, or a batch of complete graphs. Blocks may be rectangular: with one target
    per block this is the readout of a batch of graphs.

    Args:
        sizes: Targets of each block.
        source_sizes: Sources of each block; the same as ``sizes`` when left out.

    Raises:
        GraphError: a size is negative, or the two lists differ in length.

    Example:
        >>> from edgewise import draw
        >>> print(draw(Blocks([1, 2])))
        #..
        .##
        .##
        >>> Blocks([1, 1], [2, 3]).facts().max_edges
        5
    """

    sizes: Sequence[int]
    source_sizes: Sequence[int] = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        sizes = counts("Blocks", "sizes", self.sizes)
        given: Any = self.source_sizes
        columns = sizes if given is None else counts("Blocks", "source_sizes", given)
        if len(columns) != len(sizes):
            raise GraphError(
                f"Blocks: source_sizes has {len(columns)} blocks but sizes has "
                f"{len(sizes)}. Give one source size for each block."
            )
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "source_sizes", columns)
        object.__setattr__(self, "_totals", (sum(sizes), sum(columns)))

    @cached_property
    def target_ends(self) -> Tensor:
        """Where each block's targets start and end: ``[num_blocks + 1]``, int64."""
        return torch.tensor((0, *self.sizes)).cumsum(0)

    @cached_property
    def source_ends(self) -> Tensor:
        """Where each block's sources start and end: ``[num_blocks + 1]``, int64."""
        return torch.tensor((0, *self.source_sizes)).cumsum(0)

    @property
    def num_targets(self) -> int:
        """Rows: the sum of all block sizes."""
        return self.__dict__["_totals"][0]

    @property
    def num_sources(self) -> int:
        """Columns: the sum of all source sizes."""
        return self.__dict__["_totals"][1]

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        target_ends = self.target_ends[1:].to(target.device)
        source_ends = self.source_ends[1:].to(source.device)
        row = torch.bucketize(target.contiguous(), target_ends, right=True)
        column = torch.bucketize(source.contiguous(), source_ends, right=True)
        return row == column

    def facts(self) -> Facts:
        if not self.sizes:
            return Facts.bounded(0, 0)
        cuts = Cuts(self.target_ends.numpy(), self.source_ends.numpy())
        rows, columns = cuts.target_sizes, cuts.source_sizes
        row_degrees, column_degrees = columns[rows > 0], rows[columns > 0]
        shift = cuts.targets[:-1] - cuts.sources[:-1]
        held = (rows > 0) & (columns > 0)
        left, right = (shift + rows - 1)[held], (columns - 1 - shift)[held]
        pairs = cuts.num_pairs
        return Facts.bounded(
            self.num_targets,
            self.num_sources,
            min_edges=pairs,
            max_edges=pairs,
            left=int(left.max()) if left.size else 0,
            right=int(right.max()) if right.size else 0,
            in_degree=(int(row_degrees.min()), int(row_degrees.max()))
            if row_degrees.size
            else (0, 0),
            out_degree=(
                (int(column_degrees.min()), int(column_degrees.max()))
                if column_degrees.size
                else (0, 0)
            ),
            cuts=cuts,
        )

    def reversed(self) -> Graph:
        return Blocks(self.source_sizes, self.sizes)

    def __repr__(self) -> str:
        sizes, columns = list(self.sizes), list(self.source_sizes)
        if len(sizes) > 64:
            return f"Blocks(<{len(sizes)} blocks: {self.num_targets} x {self.num_sources}>)"
        return f"Blocks({sizes})" if sizes == columns else f"Blocks({sizes}, {columns})"
