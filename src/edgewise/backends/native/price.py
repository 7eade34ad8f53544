"""The cost of the kernels: multiply-adds, exponentials, numbers, cache misses, and memory."""

from __future__ import annotations

import torch

from edgewise.backends.base import Work
from edgewise.backends.native.layout import TILE
from edgewise.backends.native.row_order import may_pay
from edgewise.backends.native.storage import READ_OFTEN, STEP
from edgewise.graphs import Facts, Graph, recall
from edgewise.layouts import fill_of_clusters
from edgewise.ops.scores import Dot
from edgewise.ops.state import accumulate_dtype
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = [
    "COPIES",
    "SUM_LANES",
    "bytes_of_features",
    "bytes_of_layouts",
    "bytes_of_tables",
    "exponentials",
    "far_bytes",
    "in_tiles",
    "is_copied",
    "kept_between_passes",
    "kept_bytes",
    "may_order",
    "ordered",
    "work_of",
    "worked_on",
]


def work_of(
    problem: Problem,
    *,
    width: float,
    heads: int,
    entry: float,
    nodes: float,
    far: float,
    calls: float,
) -> Work:
    """The work of one pass over the edges.

    Args:
        problem: What is planned.
        width: Multiply-adds of an edge.
        heads: Numbers of an edge.
        entry: Exponentials that one number of an edge takes as long as.
        nodes: Bytes of all nodes that are read or written.
        far: Bytes of an edge that are read from beyond the caches.
        calls: Kernels that are started.
    """
    edges_, rows = problem.facts.max_edges, problem.facts.num_targets
    return Work(
        products=edges_ * problem.batch * width,
        entries=problem.batch * (edges_ * (heads * entry + _EDGE) + rows * heads * _ROW),
        numbers=problem.batch * nodes / problem.dtype.itemsize,
        misses=_far_reads(problem) * problem.batch * far,
        calls=calls,
    )


def far_bytes(facts: Facts, row: int) -> float:
    """Bytes of a row of a source that an edge reads from beyond the caches."""
    near = min(1.0, _CACHE / max(_reach(facts) * row, 1))
    return row * (1 - near)


def bytes_of_layouts(problem: Problem) -> int:
    """Bytes of the graph as the kernels read it."""
    layouts = 2 if may_order(problem) else 1
    return layouts * _LAYOUT * (1 + problem.needs_grad) * problem.facts.max_edges


SUM_LANES = 8  # channels that sums work on at a time, at least
# What native/variant/tiles.cpp has room for.
_LANES = 16
_TILE_NUMBERS = 8192  # of a tile's keys or values
_TILE_COLUMNS = 512


def worked_on(dim: int) -> float:
    """Channels that the kernels work on for those of a head.

    Half of the work is products, which take whole vectors; totals take a row as it is. Short heads
    share vectors, but what is done for each of them takes as long as eight channels.
    """
    short = max(dim, _LANES // 2)
    return (short + (short if dim <= _LANES // 2 else -(-dim // _LANES) * _LANES)) / 2


def in_tiles(problem: AttentionProblem) -> bool:
    """Whether facts prove that the graph is small complete blocks, as `layout.tiles_of` detects."""
    facts, dim = problem.facts, -(-max(problem.head_dim, problem.value_dim) // 8) * 8
    rows, columns = facts.cuts.target_sizes, facts.cuts.source_sizes
    complete = facts.simple and facts.exact_edges and facts.max_edges == facts.cuts.num_pairs
    if not complete or not rows.all() or not columns.all():
        return False
    widest = -(-int(columns.max()) // _LANES) * _LANES
    return (
        isinstance(problem.score, Dot)
        and not (problem.bias or problem.edge_key or problem.edge_value)
        and TILE * len(rows) <= facts.num_targets
        and TILE * facts.num_targets <= facts.max_edges
        and widest <= _TILE_COLUMNS
        and widest * dim <= _TILE_NUMBERS
    )


_CACHE = 2 << 20  # bytes of keys and values that stay in the cache of a core

_LAYOUT = 24  # bytes of an edge in what `prepare` makes for one direction


def bytes_of_tables(problem: AttentionProblem, key: int, value: int) -> int:
    """Bytes of what is returned or copied: tables of nodes by the channels of all heads."""
    T, S, size = problem.facts.num_targets, problem.facts.num_sources, problem.dtype.itemsize
    read = T * key + S * (key + value)
    written = T * value * size + 4 * T * problem.heads
    if problem.needs_grad:  # half precision keeps its output in float32
        written += read * size + 8 * T * problem.heads + T * value * 4 * (size == 2)
    copies = read + T * value * problem.needs_grad
    return written + copies * size * is_copied(problem)


_ALWAYS_KEPT = 2 << 20  # bytes


def kept_between_passes(
    batch: int,
    heads: int,
    kv_heads: int,
    targets: int,
    sources: int,
    edges: int,
    channels: int,
    dtype: torch.dtype,
) -> int:
    """Bytes that one pass of the backward keeps for the other: two numbers for each edge and head.

    The same as `numbers_kept` in native/variant/backward.cpp: 0 where that is more than what query,
    key, value and output hold together, and more than 2 MiB.

    Args:
        batch: Tensors of a batch.
        heads: Of queries.
        kv_heads: Of keys.
        targets: Rows.
        sources: Columns.
        edges: Edges.
        channels: Of a key and a value together.
        dtype: Of the tensors.
    """
    kept = 2 * batch * heads * edges * accumulate_dtype(dtype).itemsize
    tensors = batch * (heads * targets + kv_heads * sources) * channels * dtype.itemsize
    return kept if kept <= max(tensors, _ALWAYS_KEPT) else 0


def kept_bytes(problem: AttentionProblem) -> int:
    """Bytes that the backward keeps for one tensor of the batch."""
    if not problem.needs_grad or in_tiles(problem):
        return 0
    facts = problem.facts
    kept = kept_between_passes(
        problem.batch,
        problem.heads,
        problem.kv_heads,
        facts.num_targets,
        facts.num_sources,
        facts.max_edges,
        problem.head_dim + problem.value_dim,
        problem.dtype,
    )
    return kept // max(problem.batch, 1)


COPIES = 4.0  # calls, where heads are put side by side: three tensors, and no shortcut


def is_copied(problem: AttentionProblem) -> bool:
    """Whether queries, keys and values are copied first; see `storage.storage_of`."""
    facts = problem.facts
    if problem.heads == 1:
        return False
    often = facts.max_edges >= READ_OFTEN * max(facts.num_targets, facts.num_sources)
    widest = problem.heads * max(problem.head_dim, problem.value_dim) * problem.dtype.itemsize
    return often and widest <= STEP


# Other costs, in exponentials.
_EDGE = 4.0  # an edge, whatever its heads and channels
_ROW = 30.0  # a row of a head: its maximum, its sum, its output
_SOFT_CAP = 5.0
_DROPOUT = 5.0  # the hash
_BIAS = {"edge": 1.0, "relative": 1.5, "dense": 5.0}


def exponentials(problem: AttentionProblem) -> float:
    """The cost of one score of an edge, in exponentials."""
    capped = isinstance(problem.score, Dot) and problem.score.softcap is not None
    bias = 0.0 if problem.bias is None else _BIAS[problem.bias]
    return 1 + _SOFT_CAP * capped + _DROPOUT * (problem.dropout > 0) + bias


def bytes_of_features(problem: AttentionProblem) -> int:
    """Bytes that only one edge reads."""
    channels = problem.edge_key * problem.head_dim + problem.edge_value * problem.value_dim
    return channels * problem.dtype.itemsize


def _reach(facts: Facts) -> int:
    """Sources that rows beside each other read: those stay in the cache from row to row."""
    widest = int(facts.cuts.source_sizes.max()) if len(facts.cuts.source_sizes) else 0
    return max(0, min(facts.num_sources, facts.left + facts.right + 1, widest))


def _far_reads(problem: Problem) -> int:
    """Rows of sources that may come from beyond the caches: those of a cluster come once."""
    tiles = fill_of_clusters(problem.graph)
    edges_ = problem.facts.max_edges
    return edges_ if tiles is None else min(edges_, tiles.num_tiles * tiles.columns)


def _table(problem: Problem) -> int:
    """Bytes of the rows of all sources."""
    match problem:
        case AttentionProblem():
            channels = problem.kv_heads * (problem.head_dim + problem.value_dim)
        case AggregateProblem():
            channels = problem.channels
        case _:
            channels = 0
    return problem.facts.num_sources * channels * problem.dtype.itemsize


def may_order(problem: Problem) -> bool:
    """Whether an order of rows may pay; without gradients, whether one was computed before."""
    facts = problem.facts
    computed = bool(ordered(problem.graph))
    return may_pay(
        facts.num_targets,
        facts.max_edges,
        _table(problem),
        needs_grad=problem.needs_grad or computed,
    )


def ordered(graph: Graph) -> set[str]:
    """The backends that computed an order of this graph's rows: empty before the first."""
    return recall(graph, "native orders", set[str])
