"""Biases that grow with distance: ALiBi, with fixed slopes, and T5, with learned numbers."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph, facts_of
from edgewise.graphs.cache import lasting
from edgewise.nn.checks import check_size
from edgewise.nn.layer import Layer
from edgewise.ops.bias import RelativeBias

__all__ = ["T5RelativeBias", "alibi"]


def alibi(
    heads: int,
    num_targets: int,
    num_sources: int | None = None,
    *,
    symmetric: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> RelativeBias:
    r"""A penalty for distance, steeper in each head: attention with linear biases.

    .. math::
        b_{hij} = -m_h \max(i - j, 0), \qquad b_{hij} = -m_h |i - j| \quad \text{(symmetric)},
        \qquad m_h = 2^{-8h/H}, \; h = 1, \dots, H

    The slopes are those of the paper's code: for a number of heads that is no power of two, the
    slopes of the power below, then every other slope of twice that power. Targets and sources are
    counted from the end: the last target has the position of the last source, as in decoding.

    Args:
        heads: Heads ``H``.
        num_targets: Targets ``T``.
        num_sources: Sources ``S``; as many as targets when left out.
        symmetric: Whether later sources count like earlier ones; otherwise they cost nothing,
            and a causal graph has none.
        dtype: Of the table; it is worked out in float64.
        device: Of the table; torch's default one when left out.

    Returns:
        A table of ``[H, S]`` numbers, or ``[H, S + T - 1]`` for the symmetric one, to be given as
        ``bias=`` to `edgewise.attention` and `DotAttention`.

    Raises:
        ArgumentError: a size out of range.

    Gradients: none, the slopes are fixed.

    Complexity: O(H (T + S)).

    Example:
        >>> alibi(2, 3).values
        tensor([[-0.1250, -0.0625,  0.0000],
                [-0.0078, -0.0039,  0.0000]])

    References:
        Press, Smith, Lewis. Train Short, Test Long: Attention with Linear Biases Enables Input
        Length Extrapolation. 2021, arXiv:2108.12409, section 3.
    """
    check_size("alibi", "heads", heads)
    T = check_size("alibi", "num_targets", num_targets, 0)
    S = T if num_sources is None else check_size("alibi", "num_sources", num_sources, 0)
    first, last = min(1 - S, 0), max(T - 1, 0) if symmetric else 0
    distance = torch.arange(first, last + 1, dtype=torch.float64, device=device)
    slope = torch.tensor(_slopes(heads), dtype=torch.float64, device=device)
    return RelativeBias((0.0 - slope[:, None] * distance.abs()).to(dtype), first=first)


def _slopes(heads: int) -> list[float]:
    """Slopes of all heads, falling by one factor as far as the largest power of two goes."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-4.0 * h / power) for h in range(1, 2 * power, 2)]
    return slopes + between[: heads - power]


class T5RelativeBias(Layer):
    r"""A learned number for every head and range of distances, as in T5.

    .. math::
        b_{hij} = W_{\beta(j - i), h}, \qquad
        \beta(d) = \begin{cases} d & d < K / 2 \\
        \min\Big(\dfrac{K}{2} + \Big\lfloor \dfrac{K}{2} \,
        \dfrac{\log (2d / K)}{\log (2D / K)} \Big\rfloor, \, K - 1\Big) & \text{otherwise}
        \end{cases}

    for distances ``d`` to earlier sources. One direction: ``K`` is all buckets, and later sources
    count as distance 0. Both directions: ``K`` is half of them, and the other half is for later
    sources. Distances from ``D`` on share one bucket, so the table that is built is as wide as
    the distances of the graph, and never wider than ``2 D + 1``.

    Models of this family do not scale their scores: give `DotAttention` ``scale=1``. The layers
    of T5 share the bias of the first one; call this module once and hand on what it returns.

    Args:
        heads: Heads ``H``.
        buckets: Numbers for each head; even with both directions.
        max_distance: ``D``, from which on all distances are alike.
        bidirectional: Whether later sources have buckets of their own (T5's encoder), or not (its
            decoder).

    Shape:
        - graph: a graph, or its number of targets ``T``, followed by that of its sources ``S``
            where it is another.
        - result: a `RelativeBias` with a table of ``[H, distances]``, for ``bias=``.

    Raises:
        ArgumentError: sizes that leave no bucket for far distances.

    Gradients: to ``relative_attention_bias.weight``, ``[buckets, H]``.

    Complexity: O(H min(D, distances)).

    Example:
        >>> from edgewise.graphs import Window
        >>> T5RelativeBias(8)(Window(16_384, left=20, right=20)).values.shape
        torch.Size([8, 41])

    References:
        Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text
        Transformer. 2019, arXiv:1910.10683, section 2.1.
    """

    def __init__(
        self,
        heads: int,
        buckets: int = 32,
        max_distance: int = 128,
        *,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.heads = check_size("T5RelativeBias", "heads", heads)
        self.buckets = check_size("T5RelativeBias", "buckets", buckets, 2)
        self.max_distance = check_size("T5RelativeBias", "max_distance", max_distance)
        self.bidirectional = bidirectional
        self.one_way = buckets // 2 if bidirectional else buckets
        if self.one_way < 2 or (bidirectional and buckets % 2):
            raise ArgumentError(
                f"T5RelativeBias: buckets must be even and at least 4 with bidirectional=True, "
                f"got {buckets}. Use buckets={max(4, buckets + buckets % 2)}."
            )
        if max_distance <= self.one_way // 2:
            raise ArgumentError(
                f"T5RelativeBias: max_distance must be above {self.one_way // 2}, the distances "
                f"that have a bucket each, got {max_distance}. Use fewer buckets."
            )
        self.relative_attention_bias = nn.Embedding(buckets, heads)
        self._starts = _bucket_starts(self.one_way, max_distance)

    def reset_parameters(self) -> None:
        """Draw new numbers from a standard normal distribution."""
        self.relative_attention_bias.reset_parameters()

    def forward(self, graph: Graph | int, num_sources: int | None = None) -> RelativeBias:
        first, last = self._range(graph, num_sources)
        weight = self.relative_attention_bias.weight
        distance = torch.arange(first, last + 1, device=weight.device)
        starts = torch.tensor(self._starts, device=weight.device)
        apart = distance.abs() if self.bidirectional else (-distance).clamp(min=0)
        bucket = torch.bucketize(apart, starts, right=True) - 1
        if self.bidirectional:
            bucket = bucket + (distance > 0) * self.one_way
        return RelativeBias(weight.T.index_select(1, bucket), first=first)

    def _range(self, graph: Graph | int, num_sources: int | None) -> tuple[int, int]:
        """The first and the last distance that the table has to tell apart."""
        if not isinstance(graph, Graph):
            targets = check_size("T5RelativeBias", "num_targets", graph, 0)
            sources = targets if num_sources is None else num_sources
            first, last = 1 - check_size("T5RelativeBias", "num_sources", sources, 0), targets - 1
        elif num_sources is not None:
            raise ArgumentError(
                f"T5RelativeBias: num_sources={num_sources} was given together with a graph, "
                f"which has {graph.num_sources}. Leave it out."
            )
        elif torch.compiler.is_compiling():  # facts are not numbers that a tracer knows
            first, last = 1 - graph.num_sources, graph.num_targets - 1
        else:
            facts = facts_of(graph)
            before = graph.num_sources - graph.num_targets
            first, last = -facts.left - before, facts.right - before
        low, high = -self.max_distance, self.max_distance if self.bidirectional else 0
        first, last = (min(max(end, low), high) for end in (first, last))
        return first, max(first, last)

    def extra_repr(self) -> str:
        return f"max_distance={self.max_distance}, bidirectional={self.bidirectional}"


def _bucket_starts(buckets: int, max_distance: int) -> list[int]:
    """The smallest distance of every bucket of one direction.

    Worked out once, on the CPU and in float32, because some starts lie where a rounding decides:
    so they are those that trained weights were trained with, on every device.
    """
    exact = buckets // 2
    with lasting():
        far = torch.arange(exact, max_distance + 1, dtype=torch.float32)
        share = torch.log(far / exact) / math.log(max_distance / exact)
        bucket = torch.cat([torch.arange(exact), exact + (share * (buckets - exact)).long()])
        return torch.searchsorted(bucket, torch.arange(buckets)).tolist()
