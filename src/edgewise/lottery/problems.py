"""Which calls are measured: every way of every backend, small and large, in a fixed order.

Trials come in rounds. Each round takes every graph once, with another setting, so that a run whose
time is up has still seen everything, and a quick one is simply the first round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import torch

from edgewise.lottery.measure import DEFINITION
from edgewise.lottery.topologies import Topology
from edgewise.lottery.trials import Attends, Setting, Sums, Trial

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
_SETTINGS: Sequence[Attends] = (
    Attends(8, 64),
    Attends(4, 16),
    Attends(8, 8),
    Attends(1, 64),
    Attends(4, 32, batch=4),
    Attends(2, 128),
    Attends(8, 32, sharing=4),
    Attends(1, 16),
)
_SUMS: Sequence[Sums] = (
    Sums(64),
    Sums(16, reduce="mean"),
    Sums(128, weighted=True),
    Sums(64, reduce="max"),
    Sums(32, batch=4),
    Sums(256),
    Sums(64, reduce="mean", weighted=True),
    Sums(8, weighted=True),
)

# What is computed in another way than the plain score: on some graphs.
_SPECIAL: Sequence[Attends] = (
    Attends(4, 32, score="soft cap"),
    Attends(8, 8, score="additive"),
    Attends(4, 32, dropout=0.1),
    Attends(8, 64, bias="relative"),
    Attends(4, 32, bias="edge"),
    Attends(8, 16, score="gatv2"),
    Attends(4, 32, lse=True),
    Attends(2, 64, bias="dense"),
    Attends(4, 16, features=True),
    Attends(8, 32, score="soft cap"),
    Attends(1, 64, score="additive"),
    Attends(8, 64, dropout=0.1),
)
_SPECIAL_GRAPHS: Sequence[Topology] = tuple(
    Topology(family, sizes)
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
    """The trials of so many rounds, in the order in which they are measured."""
    return list(dict.fromkeys(trial for number in range(rounds) for trial in _shuffled(number)))


def _shuffled(number: int) -> list[Trial]:
    """A round in an order that has a bit of everything, wherever it ends."""
    groups = list(_round(number))
    Random(number).shuffle(groups)
    return [trial for group in groups for trial in group]


def _round(number: int) -> Iterator[list[Trial]]:
    topologies = [Topology(family, s) for family, sizes in _SIZES.items() for s in sizes]
    for place, topology in enumerate(topologies):
        # 3 has no factor in common with the 8 settings: every graph meets all of them in time.
        setting = _that_fits(_SETTINGS, place + 3 * number, topology)
        yield _passes(topology, setting)
        if (place + number) % 2 == 0:
            sums = _that_fits(_SUMS, place // 2 + 3 * number, topology)
            yield _passes(topology, sums)
    for place, setting in enumerate(_SPECIAL):
        for step in (0, 3, 6):
            topology = _SPECIAL_GRAPHS[(place + step + 2 * number) % len(_SPECIAL_GRAPHS)]
            yield _passes(topology, setting)
    for family, sizes in _DEFINITION:
        topology = Topology(family, sizes)
        for setting in (_SETTINGS[number % 3 + 1], _SUMS[number % 3]):
            yield _passes(topology, setting, only=(DEFINITION,))


def _passes(topology: Topology, setting: Setting, only: tuple[str, ...] = ()) -> list[Trial]:
    return [
        Trial(topology, setting, dtype, training, only)
        for dtype in (torch.float32, torch.bfloat16)
        for training in (False, True)
    ]


def _that_fits(settings: Sequence[Setting], first: int, topology: Topology) -> Setting:
    """The setting whose turn it is, or the next one whose tensors are not too large."""
    nodes = _nodes(topology)
    turns = [settings[(first + step) % len(settings)] for step in range(len(settings))]
    return next(setting for setting in turns if setting.numbers(nodes) <= _MOST)


def _nodes(topology: Topology) -> int:
    """About as many nodes as the graph has, without building it."""
    sizes = topology.sizes
    if topology.family in ("blocks", "molecules", "documents", "meshes"):
        return sizes[0] * sizes[1]
    if topology.family == "grid":
        return sizes[0] ** 2
    return max(sizes[:2])
