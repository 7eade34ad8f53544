"""Trials of the lottery: every way of every backend, small and large, in a fixed order.

Trials are ordered in rounds. Each round has every graph once, with another workload, so that a run
that is out of time has measured every graph, and a quick run is the first round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import torch

from edgewise.lottery.named_graphs import NamedGraph
from edgewise.lottery.trial_timing import DEFINITION
from edgewise.lottery.trials import AggregateWorkload, AttentionWorkload, Trial, Workload

__all__ = ["ROUNDS", "trials"]

ROUNDS = 2
_MOST = 1 << 23  # numbers of a tensor of nodes

_SIZES: dict[str, Sequence[tuple[int, ...]]] = {
    "complete": [
        *((16,), (32,), (64,), (96,), (128,), (256,), (512,), (1024,), (2048,), (4096,)),
        *((1, 512), (1, 8192), (16, 2048), (128, 1024), (512, 64), (4096, 16)),
    ],
    "causal": [(16,), (32,), (48,), (80,), (128,), (256,), (512,), (1024,), (2048,), (4096,)],
    "window": [
        *((64, 4, 4), (160, 32, 32), (256, 16, 16), (512, 64, 64), (768, 90, 90)),
        *((192, 24, 0), (384, 12, 12), (640, 150, 0), (1024, 16, 16), (1024, 128, 0)),
        *((1024, 256, 256), (2048, 8, 8), (2048, 512, 512), (4096, 32, 32), (4096, 128, 128)),
        *((8192, 64, 0), (8192, 256, 256), (16384, 4, 4), (16384, 128, 128)),
    ],
    "dilated": [(256, 4, 4, 2), (1024, 16, 16, 4), (4096, 64, 64, 2), (8192, 32, 0, 8)],
    "blocks": [(16, 8), (64, 24), (128, 64), (16, 128), (8, 256), (4, 512), (512, 16)],
    "molecules": [(8, 24), (32, 24), (256, 24), (64, 64), (16, 256), (8, 512)],
    "documents": [(8, 64), (16, 256), (6, 800)],
    "meshes": [(32, 16), (256, 24), (64, 256)],
    "grid": [(4,), (6,), (14,), (32,), (96,)],
    "longformer": [(512, 32, 1), (2048, 64, 4), (4096, 128, 16)],
    "bigbird": [(512, 8, 2, 4), (2048, 32, 8, 16)],
    "random": [
        *(
            (16, 4),
            (40, 6),
            (64, 4),
            (64, 24),
            (96, 8),
            (256, 4),
            (256, 32),
            (256, 128),
            (512, 64),
            (1024, 8),
        ),
        *((1024, 256), (2048, 4), (2048, 32), (2048, 256), (4096, 12), (4096, 128)),
        *((8192, 4), (8192, 48), (32768, 4), (32768, 16), (131072, 4), (131072, 12)),
    ],
    "power": [(256, 8), (2708, 4), (2708, 32), (16384, 14), (65536, 8), (131072, 14)],
    "clusters": [
        *((512, 128, 70), (1024, 64, 90), (2048, 256, 40), (4096, 128, 60), (4096, 512, 20)),
        *((8192, 256, 80),),
    ],
    "bipartite": [(64, 4096, 16), (1024, 256, 8), (8192, 512, 16), (16384, 65536, 8)],
}
_ATTENTION: Sequence[AttentionWorkload] = (
    AttentionWorkload(8, 64),
    AttentionWorkload(4, 16),
    AttentionWorkload(8, 8),
    AttentionWorkload(1, 64),
    AttentionWorkload(4, 32, batch=4),
    AttentionWorkload(2, 128),
    AttentionWorkload(8, 32, sharing=4),
    AttentionWorkload(1, 16),
)
_AGGREGATE: Sequence[AggregateWorkload] = (
    AggregateWorkload(64),
    AggregateWorkload(16, reduce="mean"),
    AggregateWorkload(128, weighted=True),
    AggregateWorkload(64, reduce="max"),
    AggregateWorkload(32, batch=4),
    AggregateWorkload(256),
    AggregateWorkload(64, reduce="mean", weighted=True),
    AggregateWorkload(8, weighted=True),
)

# Workloads other than the plain score: on some graphs.
_SPECIAL: Sequence[AttentionWorkload] = (
    AttentionWorkload(4, 32, score="soft cap"),
    AttentionWorkload(8, 8, score="additive"),
    AttentionWorkload(4, 32, dropout=0.1),
    AttentionWorkload(8, 64, bias="relative"),
    AttentionWorkload(4, 32, bias="edge"),
    AttentionWorkload(8, 16, score="gatv2"),
    AttentionWorkload(4, 32, lse=True),
    AttentionWorkload(2, 64, bias="dense"),
    AttentionWorkload(4, 16, features=True),
    AttentionWorkload(8, 32, score="soft cap"),
    AttentionWorkload(1, 64, score="additive"),
    AttentionWorkload(8, 64, dropout=0.1),
)
_SPECIAL_GRAPHS: Sequence[NamedGraph] = tuple(
    NamedGraph(family, sizes)
    for family, sizes in (
        ("complete", (64,)),
        ("complete", (512,)),
        ("causal", (256,)),
        ("causal", (1024,)),
        ("window", (1024, 32, 32)),
        ("molecules", (64, 24)),
        ("random", (32, 8)),
        ("random", (256, 64)),
        ("random", (2048, 24)),
        ("power", (2708, 8)),
    )
)
_DEFINITION = (("random", (16, 4)), ("random", (64, 8)), ("complete", (64,)), ("grid", (14,)))


def trials(rounds: int = ROUNDS) -> list[Trial]:
    """The trials of the first rounds, in the order in which they are measured."""
    return list(dict.fromkeys(trial for number in range(rounds) for trial in _shuffled(number)))


def _shuffled(number: int) -> list[Trial]:
    """The trials of a round, shuffled, so that any part of it has all kinds of trials."""
    groups = list(_round(number))
    Random(number).shuffle(groups)
    return [trial for group in groups for trial in group]


def _round(number: int) -> Iterator[list[Trial]]:
    graphs = [NamedGraph(family, s) for family, sizes in _SIZES.items() for s in sizes]
    for index, graph in enumerate(graphs):
        # 3 and 8 workloads are coprime: after 8 rounds every graph had all of them.
        workload = _that_fits(_ATTENTION, index + 3 * number, graph)
        yield _passes(graph, workload)
        if (index + number) % 2 == 0:
            sums = _that_fits(_AGGREGATE, index // 2 + 3 * number, graph)
            yield _passes(graph, sums)
    for index, workload in enumerate(_SPECIAL):
        for step in (0, 3, 6):
            graph = _SPECIAL_GRAPHS[(index + step + 2 * number) % len(_SPECIAL_GRAPHS)]
            yield _passes(graph, workload)
    for family, sizes in _DEFINITION:
        graph = NamedGraph(family, sizes)
        for workload in (_ATTENTION[number % 3 + 1], _AGGREGATE[number % 3]):
            yield _passes(graph, workload, only=(DEFINITION,))


def _passes(graph: NamedGraph, workload: Workload, only: tuple[str, ...] = ()) -> list[Trial]:
    return [
        Trial(graph, workload, dtype, training, only)
        for dtype in (torch.float32, torch.bfloat16)
        for training in (False, True)
    ]


def _that_fits(workloads: Sequence[Workload], first: int, graph: NamedGraph) -> Workload:
    """The first workload, from a position on, whose tensors are not too large."""
    nodes = _nodes(graph)
    turns = [workloads[(first + step) % len(workloads)] for step in range(len(workloads))]
    return next(workload for workload in turns if workload.numbers(nodes) <= _MOST)


def _nodes(graph: NamedGraph) -> int:
    """Approximate number of nodes of the graph, without building it."""
    sizes = graph.sizes
    if graph.family in ("blocks", "molecules", "documents", "meshes"):
        return sizes[0] * sizes[1]
    if graph.family == "grid":
        return sizes[0] ** 2
    return max(sizes[:2])
