"""Graphs over a sequence: complete, causal, windows, prefixes, self-loops."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.counts import count
from edgewise.graphs.cuts import Cuts
from edgewise.graphs.facts import Facts, band_pairs, causal_pairs
from edgewise.graphs.open_sizes import holds

__all__ = ["Causal", "Complete", "Dilated", "PrefixCausal", "SelfLoops", "Window"]


def _sizes(graph: Graph, num_targets: object, num_sources: object | None) -> None:
    """Check both sizes of a graph; without a number of sources it is square."""
    owner = type(graph).__name__
    rows = count(owner, "num_targets", num_targets)
    columns = rows if num_sources is None else count(owner, "num_sources", num_sources)
    object.__setattr__(graph, "num_targets", rows)
    object.__setattr__(graph, "num_sources", columns)


@dataclass(frozen=True, repr=False)
class Complete(Graph, parsed=True):
    r"""Every target reads every source: a Transformer's graph.

    .. math::  E = T \times S

    Args:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``; as many as targets when left out.

    Raises:
        GraphError: a size is negative or not a whole number.

    Example:
        >>> Complete(10**6).facts().max_edges
        1000000000000
        >>> Complete(3, 5)
        Complete(3, 5)

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.2.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    num_sources: int = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        _sizes(self, self.num_targets, self.num_sources)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        shape = torch.broadcast_tensors(target, source)[0].shape
        return torch.ones(shape, dtype=torch.bool, device=target.device)

    def facts(self) -> Facts:
        T, S = self.num_targets, self.num_sources
        return Facts.bounded(T, S, min_edges=T * S, in_degree=(S, S), out_degree=(T, T))

    def reversed(self) -> Graph:
        return Complete(self.num_sources, self.num_targets)


@dataclass(frozen=True, repr=False)
class Causal(Graph, parsed=True):
    r"""Each target reads itself and all earlier sources; rectangles align at the end.

    .. math::  (s \to t) \in E \iff s \le t + (S - T)

    With one target this is a decoding step: the newest position reads everything. Torch's
    ``is_causal=True`` aligns at the start instead; the two agree on squares.

    Args:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``; as many as targets when left out.

    Example:
        >>> from edgewise import draw
        >>> print(draw(Causal(2, 4)))
        ###.
        ####

    References:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    num_sources: int = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        _sizes(self, self.num_targets, self.num_sources)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return source <= target + (self.num_sources - self.num_targets)

    def facts(self) -> Facts:
        T, S = self.num_targets, self.num_sources
        pairs = causal_pairs(T, S)
        return Facts.bounded(
            T,
            S,
            min_edges=pairs,
            max_edges=pairs,
            right=S - T,
            in_degree=(min(max(S - T + 1, 0), S) if T else 0, S),
            out_degree=(min(1, T) if S else 0, T),
        )


@dataclass(frozen=True, repr=False)
class Window(Graph, parsed=True):
    r"""Each target reads itself, ``left`` sources before it and ``right`` after it.

    .. math::  (s \to t) \in E \iff -\text{right} \le t + (S - T) - s \le \text{left}

    The node itself is not counted: ``left=2, right=0`` makes rows of three. Hugging Face's
    ``sliding_window=w`` is ``left=w - 1, right=0``. Rectangles align at the end, like `Causal`.

    Args:
        num_targets: Rows ``T``.
        num_sources: Columns ``S``; as many as targets when left out.
        left: Largest distance backwards, in nodes.
        right: Largest distance forwards, in nodes.

    Raises:
        GraphError: a size or a reach is negative or not a whole number.

    Example:
        >>> from edgewise import draw
        >>> print(draw(Window(4, left=1, right=0)))
        #...
        ##..
        .##.
        ..##

    References:
        Beltagy, Peters, Cohan. Longformer. 2020, arXiv:2004.05150, section 3.1.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    num_sources: int = None  # type: ignore[assignment]  # filled in below
    left: int = field(kw_only=True)
    right: int = field(kw_only=True)

    def __post_init__(self) -> None:
        _sizes(self, self.num_targets, self.num_sources)
        object.__setattr__(self, "left", count("Window", "left", self.left))
        object.__setattr__(self, "right", count("Window", "right", self.right))

    @property
    def reach(self) -> tuple[int, int]:
        """``left`` and ``right``, as far as there are nodes: they fit into int64."""
        return min(self.left, self.num_sources), min(self.right, self.num_targets)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        left, right = self.reach
        behind = target + (self.num_sources - self.num_targets) - source
        return (behind <= left) & (behind >= -right)

    def facts(self) -> Facts:
        T, S = self.num_targets, self.num_sources
        offset = S - T
        edges = band_pairs(T, S, offset - self.left, offset + self.right)
        return Facts.bounded(
            T,
            S,
            min_edges=edges,
            max_edges=edges,
            left=self.left - offset,
            right=self.right + offset,
            in_degree=(_lowest(T, S, offset - self.left, offset + self.right), None),
            out_degree=(_lowest(S, T, -offset - self.right, -offset + self.left), None),
        )

    def reversed(self) -> Graph:
        if self.num_targets != self.num_sources:
            return super().reversed()
        return Window(self.num_targets, left=self.right, right=self.left)


def _lowest(rows: int, columns: int, first: int, last: int) -> int:
    """Shortest ``[row + first, row + last]`` inside ``[0, columns)``: the first or last row's."""
    ends = (0, rows - 1) if rows else ()
    lengths = (min(row + last, columns - 1) - max(row + first, 0) + 1 for row in ends)
    return max(0, min(lengths, default=0))


@dataclass(frozen=True, repr=False)
class Dilated(Graph, parsed=True):
    r"""A window with gaps: sources at multiples of ``dilation`` from the target.

    .. math::  (s \to t) \in E \iff t - s = k d, \; -\text{right} \le k \le \text{left}

    Args:
        num_targets: Number of nodes ``N``; sources are the same nodes.
        left: Sources read backwards, counted in steps of ``dilation``.
        right: Sources read forwards, counted in steps of ``dilation``.
        dilation: Step ``d`` in nodes, at least 1 (which makes a `Window`).

    Example:
        >>> from edgewise import draw
        >>> print(draw(Dilated(5, left=1, right=1, dilation=2)))
        #.#..
        .#.#.
        #.#.#
        .#.#.
        ..#.#

    References:
        Beltagy, Peters, Cohan. Longformer. 2020, arXiv:2004.05150, section 3.1.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    left: int = field(kw_only=True)
    right: int = field(kw_only=True)
    dilation: int = field(kw_only=True)

    def __post_init__(self) -> None:
        for name, minimum in (("num_targets", 0), ("left", 0), ("right", 0), ("dilation", 1)):
            value = count("Dilated", name, getattr(self, name), minimum)
            object.__setattr__(self, name, value)

    @property
    def num_sources(self) -> int:
        """Columns; the same nodes as the targets."""
        return self.num_targets

    @property
    def reach(self) -> tuple[int, int]:
        """``left`` and ``right``, as far as there are nodes: they fit into int64."""
        most = max(self.num_targets - 1, 0) // self.dilation
        return min(self.left, most), min(self.right, most)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        left, right = self.reach
        step = min(self.dilation, max(self.num_targets, 1))
        behind = target - source
        near = (behind <= left * step) & (behind >= -right * step)
        return near & (behind % step == 0)

    def facts(self) -> Facts:
        N, d = self.num_targets, self.dilation
        left, right = self.reach
        edges = N + sum(k * N - d * k * (k + 1) // 2 for k in (left, right))
        shortest, longest = max(1, N // d), -(-N // d)  # nodes that steps of d connect
        lowest = min(left, right, shortest - 1) + 1 if N else 0
        highest = min(left + right + 1, longest)
        return Facts.bounded(
            N,
            N,
            min_edges=edges,
            max_edges=edges,
            left=left * d,
            right=right * d,
            in_degree=(lowest, highest),
            out_degree=(lowest, highest),
        )

    def reversed(self) -> Graph:
        return Dilated(self.num_targets, left=self.right, right=self.left, dilation=self.dilation)


@dataclass(frozen=True, repr=False)
class PrefixCausal(Graph, parsed=True):
    r"""Causal, except that every target reads the whole prefix.

    .. math::  (s \to t) \in E \iff s \le t \;\lor\; s < \text{prefix}

    Args:
        num_targets: Number of nodes ``N``; sources are the same nodes.
        prefix: Number of leading nodes that are read in both directions.

    Example:
        >>> from edgewise import draw
        >>> print(draw(PrefixCausal(4, prefix=2)))
        ##..
        ##..
        ###.
        ####

    References:
        Raffel et al. T5. 2019, arXiv:1910.10683, section 3.2.1 ("prefix LM").
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    prefix: int = field(kw_only=True)

    def __post_init__(self) -> None:
        N = count("PrefixCausal", "num_targets", self.num_targets)
        prefix = count("PrefixCausal", "prefix", self.prefix)
        if holds(prefix > N):
            raise GraphError(
                f"PrefixCausal: prefix must be at most num_targets={N}, "
                f"got {prefix}. Use Complete({N}) if everyone reads everyone."
            )
        object.__setattr__(self, "num_targets", N)
        object.__setattr__(self, "prefix", prefix)

    @property
    def num_sources(self) -> int:
        """Columns; the same nodes as the targets."""
        return self.num_targets

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return (source <= target) | (source < self.prefix)

    def facts(self) -> Facts:
        N, prefix = self.num_targets, self.prefix
        edges = causal_pairs(N, N) + prefix * (prefix - 1) // 2
        lowest = max(prefix, 1) if N else 0
        return Facts.bounded(
            N,
            N,
            min_edges=edges,
            max_edges=edges,
            right=max(prefix - 1, 0),
            in_degree=(lowest, N),
            out_degree=(N if prefix == N else 1, N),
        )


@dataclass(frozen=True, repr=False)
class SelfLoops(Graph, parsed=True):
    r"""Each target reads only itself.

    .. math::  (s \to t) \in E \iff s = t

    Args:
        num_targets: Number of nodes ``N``; sources are the same nodes.

    Example:
        >>> SelfLoops(5).facts().max_in_degree
        1
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]

    def __post_init__(self) -> None:
        value = count("SelfLoops", "num_targets", self.num_targets)
        object.__setattr__(self, "num_targets", value)

    @property
    def num_sources(self) -> int:
        """Columns; the same nodes as the targets."""
        return self.num_targets

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return target == source

    def facts(self) -> Facts:
        N = self.num_targets
        return Facts.bounded(
            N,
            N,
            min_edges=N,
            max_edges=N,
            left=0,
            right=0,
            in_degree=(min(1, N), 1),
            out_degree=(min(1, N), 1),
            cuts=Cuts(range(N + 1), range(N + 1)) if 0 < N <= 4096 else None,
        )

    def reversed(self) -> Graph:
        return self
