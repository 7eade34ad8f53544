"""Graph of a batch of a Transformers model: built once a forward pass, shared by its layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.graphs import Complete, Graph, disjoint_union
from edgewise.graphs.cache import lasting
from edgewise.integrations.huggingface.graph_rules import Rule, both, newest
from edgewise.integrations.huggingface.patterns import Pattern
from edgewise.integrations.huggingface.pieces import Interval, Piece, band, chunks, side_by_side

__all__ = ["BatchGraph", "BatchMask", "Layout", "batch_graph", "real_intervals"]


class _InPlaceOfMask:
    """Base of objects that replace a mask: every use as a tensor raises an error."""

    @property
    def ndim(self) -> int:
        """Axes of the mask that it replaces."""
        return 4

    def contiguous(self) -> Self:
        """Itself: `generate` calls it on a mask that it creates in advance."""
        return self

    def to(self, *_: Any, **__: Any) -> Self:
        """Itself: tensors are moved where they are used."""
        return self

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"attention_mask.{name} is not there: {_NO_TENSOR}")

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> NoReturn:
        name = getattr(function, "__name__", str(function))
        raise ArgumentError(f"attention_mask cannot be an argument of torch.{name}: {_NO_TENSOR}")


_NO_TENSOR = (
    "Edgewise gives models a graph, and this model changes its mask as a tensor. Prepare it with "
    "use(model, dense_masks=True), or use another attn_implementation for it."
)


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any) -> NoReturn:
        raise ArgumentError(f"attention_mask has no {name}: {_NO_TENSOR}")

    return refuse


_OPERATORS = (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "and", "rand", "or"),
    *("ror", "xor", "rxor", "invert", "neg", "getitem", "setitem", "lt", "le"),
    *("gt", "ge", "float", "int", "matmul", "rmatmul"),
)
for _name in _OPERATORS:
    setattr(_InPlaceOfMask, f"__{_name}__", _refused(f"__{_name}__"))


@dataclass(frozen=True, eq=False)
class BatchGraph(_InPlaceOfMask):
    """The graph of a batch, which the mask function returns instead of a mask.

    Models pass it from their mask function to every attention, like a tensor of four
    axes. Sequences with equal graphs share one graph and stay a batch. Otherwise the real tokens
    are concatenated, with the disjoint union of their graphs, so that padding is not computed.

    Attributes:
        graph: Graph of each sequence, or of all of them joined.
        shape: ``(B, 1, Q, K)``, the shape of the mask.
        shared: Whether all sequences have this graph.
        targets: Numbers of the concatenated queries, of ``B * Q``, if the graph is not shared.
        sources: Numbers of the concatenated keys, of ``B * K``.
        rows: Targets of the shared graph among the queries; the others read nothing.
        columns: Sources of the shared graph among the keys; the others are not read.
        mask: ``[B, 1, 1, columns]``, sources that each sequence reads, for a single new token
            in sequences that differ; None for all.
        texts: Number of texts; more than ``B`` in packed rows.
        rule: The rule of the graph.
        following: Builds the same batch with another rule, or without.
    """

    graph: Graph
    shape: tuple[int, int, int, int]
    shared: bool
    rows: Interval
    columns: Interval
    mask: Tensor | None = None
    targets: Tensor | None = None
    sources: Tensor | None = None
    texts: int = 0

    rule: Rule | None = None
    following: Callable[[Rule | None], BatchGraph | BatchMask] | None = None


@dataclass(frozen=True, eq=False)
class BatchMask(_InPlaceOfMask):
    """A dense mask with the rule that was applied to it, which a tensor would not record.

    Attributes:
        mask: ``[B, 1, Q, K]``, bool or numbers, the mask of the model with the rule.
        base: The mask without a rule.
        queries: ``[Q]``, positions of the queries.
        keys: ``[K]``, positions of the keys.
        real: ``[B, positions]``, bool, False for padding.
        itself: Whether queries and keys are the same tokens, so that rules hold.
        source: The rule as a text; None without a rule, or if it is no text.
        rule: The rule; None under a tracer.
    """

    mask: Tensor
    base: Tensor
    queries: Tensor
    keys: Tensor
    real: Tensor
    itself: bool
    source: str | None = None
    rule: Rule | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, 1, Q, K)``."""
        return tuple(self.mask.shape)


@dataclass(frozen=True, eq=False)
class Layout:
    """Sizes of a batch, from the arguments of a mask function.

    Attributes:
        batch: Sequences ``B``.
        queries: New tokens ``Q``, with padding.
        keys: Tokens that are read ``K``.
        query_offset: Position of the first query.
        key_offset: Position of the first key.
        itself: Whether queries and keys are the same tokens, so that a padded key is a padded
            query too; false for cross-attention.
        skip_padding: Whether padded queries read nothing; else they read the real keys, as in
            Transformers' own attention.
    """

    batch: int
    queries: int
    keys: int
    query_offset: int = 0
    key_offset: int = 0
    itself: bool = True
    skip_padding: bool = False


def batch_graph(
    layout: Layout, pattern: Pattern, padding: Tensor | None = None, rule: Rule | None = None
) -> BatchGraph | None:
    """The graph of a batch, from lengths and numbers; None if real tokens have gaps.

    Args:
        layout: Sizes.
        pattern: Keys that a query reads.
        padding: ``[B, positions]``, True for real tokens.
        rule: A graph of the user's choice; only self-attention follows it, and its padded
            queries read nothing.

    Complexity: O(B) for a batch of lengths that are cached; O(texts) otherwise.
    """
    real = real_intervals(layout, padding)
    if real is None:
        return None
    if not layout.itself:
        rule = None
    starts = [0] * layout.batch if pattern.starts is None else pattern.starts.tolist()
    texts, positions = _whole(pattern.texts), _whole(pattern.positions)
    key = (
        *(layout.batch, layout.queries, layout.keys, layout.query_offset, layout.key_offset),
        *(
            layout.itself,
            layout.skip_padding,
            pattern.left,
            pattern.right,
            pattern.chunk,
            tuple(starts),
            tuple(real),
        ),
        *(None if t is None else (t.shape, t.tobytes()) for t in (texts, positions)),
        rule,
    )

    skips = layout.itself and (layout.skip_padding or rule is not None)

    def build() -> BatchGraph:
        sequences = [
            _sequence(layout, real[b], starts[b], _row(texts, b), _row(positions, b), skips)
            for b in range(layout.batch)
        ]
        return _built(layout, pattern, sequences, rule)

    cached = _recent(key, build)

    def following(other: Rule | None) -> BatchGraph:
        new = batch_graph(layout, pattern, padding, other)
        assert new is not None  # the intervals were read above
        return new

    return replace(cached, rule=rule, following=following)


def real_intervals(layout: Layout, padding: Tensor | None) -> list[Interval] | None:
    """The positions of real keys in each sequence; None with padding between them."""
    first, last = layout.key_offset, layout.key_offset + layout.keys
    if padding is None:
        return [(first, last)] * layout.batch
    held = padding[:, first:last].to("cpu", torch.bool).numpy()
    if held.shape[0] != layout.batch:
        raise ArgumentError(
            f"attention_mask has {held.shape[0]} rows but the batch has {layout.batch}. Give one "
            f"for each sequence."
        )
    if held.all():
        return [(first, first + held.shape[1])] * layout.batch
    count = held.sum(1)
    start = np.where(count > 0, held.argmax(1), 0)
    stop = np.where(count > 0, held.shape[1] - held[:, ::-1].argmax(1), 0)
    if (stop - start != count).any():
        return None
    return list(zip((start + first).tolist(), (stop + first).tolist(), strict=True))


_Text = tuple[Interval, Interval, int]  # queries, keys, where chunks start


def _sequence(
    layout: Layout,
    real: Interval,
    start: int,
    texts: npt.NDArray[np.int64] | None,
    positions: npt.NDArray[np.int64] | None,
    skips: bool,
) -> list[_Text]:
    """The texts of a row of the batch, as positions of their queries and keys.

    Args:
        layout: Sizes of the batch.
        real: Positions of real keys.
        start: Position at which chunks begin.
        texts: ``[N]``, number of the text of each token of a packed row.
        positions: ``[N]``, positions in texts of a packed row.
        skips: Whether padded queries read nothing.
    """
    q0, q1 = layout.query_offset, layout.query_offset + layout.queries
    k0, k1 = real
    if skips:
        q0, q1 = max(q0, k0), min(q1, k1)
    if layout.itself:
        k1 = min(k1, layout.query_offset + layout.queries)  # a static cache is longer
    if texts is None:
        return [((q0, q1), (k0, k1), start)]
    cuts = [0, *(np.diff(texts).nonzero()[0] + 1).tolist(), len(texts)]
    intervals: list[_Text] = []
    for low, high in pairwise(cuts):
        interval = max(low, k0), min(high, k1)
        begin = start if positions is None else start + low - int(positions[low])
        intervals.append((interval, interval, begin))
    return intervals


def _built(
    layout: Layout, pattern: Pattern, sequences: Sequence[list[_Text]], rule: Rule | None
) -> BatchGraph:
    B, Q, K = layout.batch, layout.queries, layout.keys
    shape, every = (B, 1, Q, K), ((0, Q), (0, K))
    alike = all(texts == sequences[0] for texts in sequences) and (
        rule is None or rule.alike or B == 1
    )
    rows = [
        [piece for text in texts for piece in _pieces(layout, pattern, text, rule, number)]
        for number, texts in enumerate(sequences[:1] if alike else sequences)
    ]
    texts = sum(len(texts) for texts in sequences)
    if alike and len(rows[0]) == 1:
        (piece,) = rows[0]
        return BatchGraph(piece.graph, shape, True, piece.targets, piece.sources, texts=texts)
    if alike:
        return BatchGraph(side_by_side(rows[0], Q, K), shape, True, *every, texts=texts)
    if Q == 1 and rule is None:
        return _one_new_token(rows, shape, texts)
    side = disjoint_union(piece.graph for pieces in rows for piece in pieces)
    targets = _places(
        [(b * Q, piece.targets) for b, row_pieces in enumerate(rows) for piece in row_pieces]
    )
    sources = _places(
        [(b * K, piece.sources) for b, row_pieces in enumerate(rows) for piece in row_pieces]
    )
    sources = targets if torch.equal(targets, sources) else sources
    return BatchGraph(side, shape, False, *every, None, targets, sources, texts)


def _pieces(
    layout: Layout, pattern: Pattern, text: _Text, rule: Rule | None, number: int
) -> list[Piece]:
    """The pieces of a text, with positions from the first query and the first key.

    Args:
        layout: Sizes of the batch.
        pattern: Keys that a query reads.
        text: Queries, keys, and the start of chunks.
        rule: A graph of the user's choice.
        number: Number of the sequence.
    """
    queries, keys, start = text
    if queries[0] >= queries[1] or keys[0] >= keys[1]:
        return []
    if pattern.chunk is None:
        piece = band(queries, keys, pattern.left, pattern.right)
        pieces = [] if piece is None else [piece]
    else:
        pieces = chunks(queries, keys, pattern.left, pattern.right, pattern.chunk, start)
    if rule is not None:
        pieces = _following(rule, queries, keys, pieces, number, layout.batch)
    return [
        Piece(
            _moved(piece.targets, -layout.query_offset),
            _moved(piece.sources, -layout.key_offset),
            piece.graph,
        )
        for piece in pieces
    ]


def _following(
    rule: Rule,
    queries: Interval,
    keys: Interval,
    pieces: Sequence[Piece],
    number: int,
    count: int,
) -> list[Piece]:
    """The intersection of the pieces of the model and the graph of the rule, as one piece.

    Args:
        rule: The rule.
        queries: Positions of the queries.
        keys: Positions of the keys.
        pieces: Pieces of the model.
        number: Number of the sequence.
        count: Sequences in the batch.

    Raises:
        ArgumentError: the last query is not the last key.
    """
    if queries[1] != keys[1]:
        raise ArgumentError(
            f"graph: the newest query must be the newest key, got queries to {queries[1]} and keys "
            f"to {keys[1]}. Leave the rule out here."
        )
    T, n = queries[1] - queries[0], keys[1] - keys[0]
    model_pieces = [
        Piece(_moved(p.targets, -queries[0]), _moved(p.sources, -keys[0]), p.graph) for p in pieces
    ]
    chosen = newest(rule.of(n, number, count), T)
    return [Piece(queries, keys, both(side_by_side(model_pieces, T, n), chosen))]


def _one_new_token(
    rows: Sequence[Sequence[Piece]], shape: tuple[int, int, int, int], texts: int
) -> BatchGraph:
    """The graph of one query a sequence: a complete graph with a mask ``[B, 1, 1, columns]``."""
    held = [pieces[0].sources if pieces else (0, 0) for pieces in rows]
    low = min((s0 for s0, s1 in held if s1 > s0), default=0)
    high = max((s1 for s0, s1 in held if s1 > s0), default=0)
    with lasting():
        first, last = torch.tensor(held).T[..., None]
        column = torch.arange(low, high)
        mask = ((column >= first) & (column < last))[:, None, None]
    graph = Complete(1, high - low)
    return BatchGraph(graph, shape, True, (0, 1), (low, high), mask, texts=texts)


def _places(intervals: Sequence[tuple[int, Interval]]) -> Tensor:
    """The numbers in intervals, each shifted by its offset."""
    numbers = [np.arange(by + first, by + last) for by, (first, last) in intervals]
    with lasting():
        return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *numbers]))


def _moved(interval: Interval, by: int) -> Interval:
    return interval[0] + by, interval[1] + by


def _whole(tensor: Tensor | None) -> npt.NDArray[np.int64] | None:
    return None if tensor is None else tensor.to("cpu", torch.int64).numpy()


def _row(array: npt.NDArray[np.int64] | None, number: int) -> npt.NDArray[np.int64] | None:
    return None if array is None else array[min(number, len(array) - 1)]


# Lengths repeat, in epochs and from mask to mask: graphs are cached with their plans.
_RECENT: OrderedDict[Hashable, BatchGraph] = OrderedDict()
_RECENT_SIZE = 64
_LOCK = Lock()


def _recent(key: Hashable, build: Callable[[], BatchGraph]) -> BatchGraph:
    with _LOCK:
        cached = _RECENT.get(key)
        if cached is not None:
            _RECENT.move_to_end(key)
            return cached
    cached = build()
    with _LOCK:
        _RECENT[key] = cached
        while len(_RECENT) > _RECENT_SIZE:
            _RECENT.popitem(last=False)
    return cached
