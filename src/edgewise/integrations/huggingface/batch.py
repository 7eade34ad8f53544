"""Who reads whom in a batch of a Transformers model: built once a forward, shared by its layers."""

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
from edgewise.integrations.huggingface.patterns import Pattern
from edgewise.integrations.huggingface.pieces import Interval, Piece, band, chunks, side_by_side
from edgewise.integrations.huggingface.rules import Rule, both, newest

__all__ = ["BatchGraph", "BatchMask", "Layout", "batch_graph", "real_intervals"]


class _InPlaceOfMask:
    """What stands in the place of a mask, and is no tensor: every use as one is a sentence."""

    @property
    def ndim(self) -> int:
        """Axes of the mask that it stands for."""
        return 4

    def contiguous(self) -> Self:
        """Itself: what `generate` calls on a mask that it makes in advance."""
        return self

    def to(self, *_: Any, **__: Any) -> Self:
        """Itself: numbers are moved where they are needed."""
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
    """What a mask function of Transformers returns here, in the place of a mask.

    Models hand it from their mask function to every attention, as they would a tensor of four
    axes. Sequences that all read alike share one graph and stay a batch. The real tokens of others
    are taken out and stand side by side as one graph, so that padding is never computed.

    Attributes:
        graph: Of one sequence, or of all of them side by side.
        shape: ``(B, 1, Q, K)``, as a mask would have it.
        shared: Whether all sequences have this graph, each by itself.
        targets: Which of the ``B * Q`` queries stand side by side, if the graph is not shared.
        sources: Which of the ``B * K`` keys.
        rows: Targets of the shared graph among the queries; the others read nothing.
        columns: Sources of the shared graph among the keys; the others are not read.
        mask: ``[B, 1, 1, columns]``, which sources each sequence reads, where only one new token
            reads and the sequences differ; None for all.
        texts: How many texts there are; more than ``B`` in packed rows.
        rule: The rule that the graph follows.
        following: Builds the same batch under another rule, or under none.
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
    """A dense mask whose makers took care of the rule that holds: no plain tensor says so.

    Attributes:
        mask: ``[B, 1, Q, K]``, bool or numbers, what the model and its rule allow together.
        base: The same without a rule.
        queries: ``[Q]``, positions of the queries.
        keys: ``[K]``, positions of the keys.
        real: ``[B, positions]``, bool, False for padding.
        itself: Whether queries and keys are the same tokens, so that rules hold.
        source: The rule, as a text; None for none, or for one that is no text.
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
    """The sizes of a batch, as a mask function is told them.

    Attributes:
        batch: Sequences ``B``.
        queries: New tokens ``Q``, padding among them.
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
    """The graph of a batch, from lengths and numbers alone; None if real tokens have gaps.

    Args:
        layout: Sizes.
        pattern: Which key a query reads.
        padding: ``[B, positions]``, True for real tokens.
        rule: A graph of the user's choice; self-attention alone follows it, and its padded
            queries read nothing.

    Complexity: O(B) for a batch of lengths that was there before; O(texts) else.
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

    found = _recent(key, build)

    def following(other: Rule | None) -> BatchGraph:
        new = batch_graph(layout, pattern, padding, other)
        assert new is not None  # the intervals were read above
        return new

    return replace(found, rule=rule, following=following)


def real_intervals(layout: Layout, padding: Tensor | None) -> list[Interval] | None:
    """The positions of real keys in each sequence; None if padding stands between them."""
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
    """The texts of one row of the batch, by the positions of their queries and keys."""
    q0, q1 = layout.query_offset, layout.query_offset + layout.queries
    k0, k1 = real
    if skips:
        q0, q1 = max(q0, k0), min(q1, k1)
    if layout.itself:
        k1 = min(k1, layout.query_offset + layout.queries)  # a static cache has room for more
    if texts is None:
        return [((q0, q1), (k0, k1), start)]
    cuts = [0, *(np.diff(texts).nonzero()[0] + 1).tolist(), len(texts)]
    found: list[_Text] = []
    for low, high in pairwise(cuts):
        own = max(low, k0), min(high, k1)
        begin = start if positions is None else start + low - int(positions[low])
        found.append((own, own, begin))
    return found


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
    targets = _places([(b * Q, piece.targets) for b, own in enumerate(rows) for piece in own])
    sources = _places([(b * K, piece.sources) for b, own in enumerate(rows) for piece in own])
    sources = targets if torch.equal(targets, sources) else sources
    return BatchGraph(side, shape, False, *every, None, targets, sources, texts)


def _pieces(
    layout: Layout, pattern: Pattern, text: _Text, rule: Rule | None, number: int
) -> list[Piece]:
    """The pieces of one text, counted from the first query and the first key."""
    queries, keys, start = text
    if queries[0] >= queries[1] or keys[0] >= keys[1]:
        return []
    if pattern.chunk is None:
        piece = band(queries, keys, pattern.left, pattern.right)
        found = [] if piece is None else [piece]
    else:
        found = chunks(queries, keys, pattern.left, pattern.right, pattern.chunk, start)
    if rule is not None:
        found = _following(rule, queries, keys, found, number, layout.batch)
    return [
        Piece(
            _moved(piece.targets, -layout.query_offset),
            _moved(piece.sources, -layout.key_offset),
            piece.graph,
        )
        for piece in found
    ]


def _following(
    rule: Rule,
    queries: Interval,
    keys: Interval,
    pieces: Sequence[Piece],
    number: int,
    count: int,
) -> list[Piece]:
    """The model's own pieces and the rule's graph, as one piece."""
    if queries[1] != keys[1]:
        raise ArgumentError(
            f"graph: the newest query must be the newest key, got queries to {queries[1]} and keys "
            f"to {keys[1]}. Leave the rule out here."
        )
    T, n = queries[1] - queries[0], keys[1] - keys[0]
    own = [
        Piece(_moved(p.targets, -queries[0]), _moved(p.sources, -keys[0]), p.graph) for p in pieces
    ]
    chosen = newest(rule.of(n, number, count), T)
    return [Piece(queries, keys, both(side_by_side(own, T, n), chosen))]


def _one_new_token(
    rows: Sequence[Sequence[Piece]], shape: tuple[int, int, int, int], texts: int
) -> BatchGraph:
    """One query a sequence: keys are read where they are, and the mask is as small as padding."""
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
    """The numbers in intervals, each moved by what stands before it."""
    numbers = [np.arange(by + first, by + last) for by, (first, last) in intervals]
    with lasting():
        return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *numbers]))


def _moved(interval: Interval, by: int) -> Interval:
    return interval[0] + by, interval[1] + by


def _whole(tensor: Tensor | None) -> npt.NDArray[np.int64] | None:
    return None if tensor is None else tensor.to("cpu", torch.int64).numpy()


def _row(array: npt.NDArray[np.int64] | None, number: int) -> npt.NDArray[np.int64] | None:
    return None if array is None else array[min(number, len(array) - 1)]


# Lengths repeat, in epochs and from mask to mask: what was planned for a batch is found again.
_RECENT: OrderedDict[Hashable, BatchGraph] = OrderedDict()
_RECENT_SIZE = 64
_LOCK = Lock()


def _recent(key: Hashable, build: Callable[[], BatchGraph]) -> BatchGraph:
    with _LOCK:
        found = _RECENT.get(key)
        if found is not None:
            _RECENT.move_to_end(key)
            return found
    found = build()
    with _LOCK:
        _RECENT[key] = found
        while len(_RECENT) > _RECENT_SIZE:
            _RECENT.popitem(last=False)
    return found
