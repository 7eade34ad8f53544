"""The cutter of windows: which graphs are windows, their tiles, and what those cost."""

from __future__ import annotations

from collections.abc import Hashable

from edgewise.backends.banded.eager import GROUPS, EagerStrands
from edgewise.backends.banded.strands import rows_of_tiles, strands_of
from edgewise.backends.banded.traced import TracedStrands
from edgewise.backends.base import Accepts, Work
from edgewise.backends.tiled import Cut
from edgewise.layouts import Band, band
from edgewise.ops.cpu_flash import on_matrix_units
from edgewise.problem import AttentionProblem

__all__ = ["BandCutter"]


class BandCutter:
    """The cutter of windows into dense tiles, which read overlapping views of keys and values."""

    pieces = "tiles"

    def graph_refusal(self, problem: AttentionProblem) -> str | None:
        if band(problem.graph) is None:
            return "the graph is not known to be a window; use Window, Dilated or Causal"
        if problem.facts.min_in_degree == 0:
            return "some targets have nothing to read; leave them out"
        return None

    def accept(self, problem: AttentionProblem) -> Accepts:
        window = _band_of(problem)
        dim = max(problem.head_dim, problem.value_dim)
        planes = problem.batch * problem.heads
        steps = (window.last - window.first) // window.step
        block = rows_of_tiles(steps, problem.dtype)[problem.needs_grad]
        # The stairs of the tiles leave out at most a block on both sides of a row together.
        columns = -(-window.num_sources // window.step)
        pairs = min(
            problem.facts.max_edges + window.num_targets * block, window.num_targets * columns
        )
        ends = window.step * (2 + steps // block)  # tiles that are computed one by one
        memory = planes * dim * _bytes_of_tables(problem) + window.num_targets * planes * 4
        memory += block * (block + steps) * (1 + problem.accumulate.itemsize)  # the mask of a tile
        memory += GROUPS * (1 + 4 * problem.needs_grad)
        numbers = (window.num_targets + window.num_sources) * planes * dim
        work = Work(pairs * planes * dim, pairs * planes, numbers, calls=window.step + ends)
        return Accepts(work, memory, way="tiles", pairs=pairs, spreads=True, hides=True)

    def key(self, problem: AttentionProblem) -> Hashable:
        return on_matrix_units(problem.dtype)

    def cut(self, problem: AttentionProblem) -> Cut:
        strands = strands_of(_band_of(problem), problem.dtype)
        return Cut(EagerStrands(strands), TracedStrands(strands))


def _band_of(problem: AttentionProblem) -> Band:
    """The band of a graph that `BandCutter.graph_refusal` accepts."""
    window = band(problem.graph)
    assert window is not None
    return window


def _bytes_of_tables(problem: AttentionProblem) -> int:
    """Bytes for each channel of tables of nodes: output, gradients, and what has to be copied."""
    T, S, size = problem.facts.num_targets, problem.facts.num_sources, problem.dtype.itemsize
    total = T * size
    if problem.heads != problem.kv_heads:
        total += 2 * S * size
    if problem.head_dim != problem.value_dim:
        total += (T + S) * size
    if problem.needs_grad:
        total += (T + 2 * S) * size
        if size == 2:  # queries, outputs and their gradients as float32, and sums of them
            total += T * 4 * (1 if on_matrix_units(problem.dtype) else 4)
    return total
