"""The backend: which graphs are windows, and how their tiles are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.banded import flash, written
from edgewise.backends.banded.tiles import Tiles
from edgewise.backends.base import Accepts, AttentionBackend, Refuses, Work
from edgewise.backends.fused import attention, gradients, refusals, scale_of
from edgewise.graphs import recall
from edgewise.layouts import Band, band
from edgewise.ops.fused import Tables, every_head, on_matrix_units
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.ops.tracing import looked_into
from edgewise.problem import AttentionProblem, AttentionSignature

__all__ = ["Banded"]


@dataclass(frozen=True, eq=False)
class _Strand:
    """A band without gaps, cut into tiles.

    Attributes:
        band: The band.
        nodes: Its nodes among those of the graph.
        block: Targets of a tile, forward.
        sources: Sources of a tile, backward.
    """

    band: Band
    nodes: slice
    block: int
    sources: int

    @cached_property
    def tiles(self) -> tuple[Tiles, ...]:
        """Blocks of targets with the sources they read."""
        return Tiles.of(self.band, self.block)

    @cached_property
    def reversed(self) -> tuple[Tiles, ...]:
        """Blocks of sources with the targets that read them."""
        return Tiles.of(self.band.reversed, self.sources)


@dataclass(frozen=True, eq=False)
class _Strands:
    """A band as its strands: what `ops.fused` takes for pieces."""

    strands: tuple[_Strand, ...]

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        tables = every_head(tables)
        if len(self.strands) == 1:
            return flash.forward(tables, self.strands[0].tiles, scale)
        query = tables[0]
        out = torch.empty_like(query)
        lse = query.new_empty(query.shape[:2], dtype=accumulate_dtype(query.dtype))
        for strand in self.strands:
            at = strand.nodes
            out[:, at], lse[:, at] = flash.forward(_strand_of(tables, at), strand.tiles, scale)
        return out, lse

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        tables = every_head(tables)
        if len(self.strands) == 1:
            return flash.backward(tables, results, self.strands[0].reversed, scale)
        query, key, value = tables
        found = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        for strand in self.strands:
            at = strand.nodes
            read = (_strand_of(tables, at), _strand_of(results, at))
            for grad, part in zip(
                found, flash.backward(*read, strand.reversed, scale), strict=True
            ):
                grad[:, at] = part
        return found


class Banded(AttentionBackend):
    """Windows as dense tiles: torch's fused attention on overlapping views of keys and values."""

    name: ClassVar[str] = "banded"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        found = band(problem.graph)
        assert found is not None
        dim = max(problem.head_dim, problem.value_dim)
        planes = problem.batch * problem.heads
        steps = (found.last - found.first) // found.step
        block = _blocks(steps, problem.dtype)[problem.needs_grad]
        # The stairs of the tiles leave out at most a block on both sides of a row together.
        columns = -(-found.num_sources // found.step)
        pairs = min(
            problem.facts.max_edges + found.num_targets * block, found.num_targets * columns
        )
        ends = found.step * (2 + steps // block)  # tiles that are computed one by one
        memory = planes * dim * _tables(problem) + found.num_targets * planes * 4
        memory += block * (block + steps) * (1 + problem.accumulate.itemsize)  # the mask of a tile
        memory += flash.GROUPS * (1 + 4 * problem.needs_grad)
        numbers = (found.num_targets + found.num_sources) * planes * dim
        work = Work(pairs * planes * dim, pairs * planes, numbers, calls=found.step + ends)
        return Accepts(work, memory, way="tiles", pairs=pairs, spreads=True, hides=True)

    def prepare_attention(self, problem: AttentionProblem) -> _Strands:
        found = band(problem.graph)
        assert found is not None

        step = found.step

        def cut() -> _Strands:
            return _Strands(
                tuple(
                    _Strand(
                        strand,
                        slice(start, None, step),
                        *_blocks(strand.last - strand.first, problem.dtype),
                    )
                    for start, strand in enumerate(found.strands)
                )
            )

        return recall(problem.graph, ("banded", on_matrix_units(problem.dtype)), cut)

    def forward(
        self, signature: AttentionSignature, prepared: _Strands, inputs: Inputs
    ) -> AttentionState:
        tensors = (inputs.query, inputs.key, inputs.value)
        plain = partial(_written, prepared)
        if looked_into(tensors):
            return AttentionState(*plain(tensors, scale_of(signature)))
        return attention(plain, signature, prepared, inputs)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: _Strands,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        return gradients(signature, prepared, inputs, state, grad_out, grad_lse)


# --- What it accepts -----------------------------------------------------------------------------


def _refusals(problem: AttentionProblem) -> list[str]:
    graph = None
    if band(problem.graph) is None:
        graph = "the graph is not known to be a window; use Window, Dilated or Causal"
    elif problem.facts.min_in_degree == 0:
        graph = "some targets have nothing to read; leave them out"
    return refusals(problem, "tiles", graph)


def _tables(problem: AttentionProblem) -> int:
    """Bytes for each channel of tables of nodes: output, gradients, and what has to be copied."""
    T, S, size = problem.facts.num_targets, problem.facts.num_sources, problem.dtype.itemsize
    found = T * size
    if problem.heads != problem.kv_heads:
        found += 2 * S * size
    if problem.head_dim != problem.value_dim:
        found += (T + S) * size
    if problem.needs_grad:
        found += (T + 2 * S) * size
        if size == 2:  # queries, outputs and their gradients as float32, and sums of them
            found += T * 4 * (1 if on_matrix_units(problem.dtype) else 4)
    return found


def _blocks(steps: int, dtype: torch.dtype) -> tuple[int, int]:
    """Rows of a tile forward and backward, for rows that read so many sources but one.

    Small tiles leave out more, large ones are faster for each pair, most of all on matrix units.
    """
    if on_matrix_units(dtype):
        both = _power_of_two(steps // 2, 64, 256)
        return both, both
    # Backward, a pair of a tile of 32 rows takes 1.4 times what it takes in larger ones.
    sources = 32 if steps < 64 else _power_of_two(steps // 4, 64, 128)
    return _power_of_two(steps // 16, 32, 128), sources


def _power_of_two(most: int, low: int, high: int) -> int:
    """The largest power of two up to ``most``, between two others."""
    return min(high, max(low, 1 << max(most, 1).bit_length() - 1))


# --- Computing -----------------------------------------------------------------------------------


def _strand_of(tables: Tables, nodes: slice) -> Tables:
    first, second, third = tables
    return first[:, nodes], second[:, nodes], third[:, nodes]


def _written(prepared: _Strands, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
    query, key, value = every_head(tensors, -3)
    outs: list[Tensor] = []
    sums: list[Tensor] = []
    for strand in prepared.strands:
        at = strand.nodes
        read = (query[..., at, :], key[..., at, :], value[..., at, :])
        out, lse = written.forward(read, strand.band, strand.block, scale)
        outs.append(out)
        sums.append(lse)
    if len(prepared.strands) == 1:
        return outs[0], sums[0]
    nodes = torch.arange(query.shape[-2], device="cpu")
    order = torch.argsort(torch.cat([nodes[strand.nodes] for strand in prepared.strands]))
    return torch.cat(outs, -2)[..., order, :], torch.cat(sums, -1)[..., order]
