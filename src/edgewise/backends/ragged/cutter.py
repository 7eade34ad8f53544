"""The cutter of ragged batches: which graphs may be cut, their buckets, and what those cost."""

from __future__ import annotations

from collections.abc import Hashable

from edgewise import layouts
from edgewise.backends.base import Accepts, Work
from edgewise.backends.ragged.bins import Bin, bins
from edgewise.backends.ragged.buckets import Bucket
from edgewise.backends.ragged.eager import EagerBuckets, blocks_at_once
from edgewise.backends.ragged.traced import TracedBuckets
from edgewise.backends.tiled import Cut, hides
from edgewise.graphs import recall
from edgewise.problem import AttentionProblem

__all__ = ["BlockCutter"]

# The same kernel on the same tensors, without cutting them out.
_SINGLE = "a single block is dense as it is; ask for it with backend='ragged'"


class BlockCutter:
    """The cutter of batches of complete and causal graphs into buckets of similar blocks."""

    pieces = "blocks"

    def graph_refusal(self, problem: AttentionProblem) -> str | None:
        if layouts.ragged(problem.graph) is not None:
            return None
        return "the graph is not known to be blocks; use Blocks, or disjoint_union of Causal graphs"

    def accept(self, problem: AttentionProblem) -> Accepts:
        parts = _bins(problem)
        planes = problem.batch * problem.heads
        dim = max(problem.head_dim, problem.value_dim)
        pairs = sum(part.num_pairs for part in parts)
        nodes = sum(len(part.members) * (part.rows + part.columns) for part in parts)
        hidden = hides(problem, min((part.columns for part in parts), default=0))
        work = Work(
            pairs * planes * dim, pairs * planes, nodes * planes * dim, calls=max(1, len(parts))
        )
        return Accepts(
            work,
            _memory(problem, parts, planes, dim),
            way="blocks",
            pairs=pairs,
            on_request=_SINGLE if _is_dense(problem) else None,
            # Every target of a complete block reads what a NaN there spreads to.
            spreads=hidden or any(part.causal for part in parts),
            hides=hidden,
        )

    def key(self, problem: AttentionProblem) -> Hashable:
        return None

    def cut(self, problem: AttentionProblem) -> Cut:
        blocks = _blocks(problem)
        parts = tuple(Bucket.of(blocks, part) for part in _bins(problem))
        eager = EagerBuckets(parts, not blocks.holds_all_targets, not blocks.holds_all_sources)
        return Cut(eager, TracedBuckets.of(blocks))


def _blocks(problem: AttentionProblem) -> layouts.Ragged:
    """The blocks of a graph that `BlockCutter.graph_refusal` accepts."""
    blocks = layouts.ragged(problem.graph)
    assert blocks is not None
    return blocks


def _bins(problem: AttentionProblem) -> tuple[Bin, ...]:
    """The bins of a graph: the blocks that are computed together; computed once for each graph."""
    blocks = _blocks(problem)
    return recall(problem.graph, "bins", lambda: bins(blocks))


def _is_dense(problem: AttentionProblem) -> bool:
    """Whether torch's kernel takes the whole problem as it is, in one call."""
    facts = problem.facts
    square = facts.num_targets == facts.num_sources
    whole = facts.complete or (facts.fully_causal and square)
    return whole and problem.head_dim == problem.value_dim


def _memory(problem: AttentionProblem, parts: tuple[Bin, ...], planes: int, dim: int) -> int:
    """Bytes of the results, of their padding, and of one group of blocks.

    ``planes`` is batch times heads, ``dim`` the larger of the two widths.
    """
    size, facts, training = problem.dtype.itemsize, problem.facts, problem.needs_grad
    node = planes * dim * size
    shared = node * problem.kv_heads // problem.heads
    # Output and gradients; where keys and values differ in width, some of them once more.
    targets, sources = (2, 2) if training else (1, 0)
    if problem.head_dim != problem.value_dim:
        targets, sources = targets + 2 * training, sources + 1 + training
    tables = facts.num_targets * targets * node + facts.num_sources * sources * shared
    group = 0
    for part in parts:
        count = min(len(part.members), blocks_at_once(part, node))
        rows, columns = part.rows, part.columns
        copies = (8 * rows + 6 * columns) if training else (5 * rows + 3 * columns)
        copies *= 2 if training and size == 2 else 1  # small blocks are taken in float32
        masked = rows * columns if part.causal and not part.square else 0
        group = max(group, count * (copies * node + masked * (1 + problem.accumulate.itemsize)))
    return tables + group + facts.num_targets * planes * problem.accumulate.itemsize
