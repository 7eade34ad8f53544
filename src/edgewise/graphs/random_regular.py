"""Random regular graphs: sparse, with a few steps between any two nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.counts import count
from edgewise.graphs.facts import Facts
from edgewise.graphs.open_sizes import holds

__all__ = ["RandomRegular"]

_MAX_DRAWS = 100
_MAX_ROUNDS = 1000


@dataclass(frozen=True, repr=False)
class RandomRegular(Graph, parsed=True):
    r"""An undirected random graph in which every node has exactly ``degree`` neighbours.

    No self-loops, no repeated edges. Random regular graphs are expanders with high probability:
    information crosses them in ``O(log N)`` layers. The same seed gives the same graph on every
    machine (NumPy's frozen ``RandomState`` stream).

    The edges are drawn by the configuration model: shuffle ``N * degree`` stubs, pair
    neighbours, and swap the ends of bad pairs with those of random good ones until none is left.
    Dense graphs are drawn as the complement of a sparse one.

    Args:
        num_targets: Number of nodes ``N``; sources are the same nodes.
        degree: Neighbours of each node, below ``N``; ``N * degree`` must be even.
        seed: Seed of the draw.

    Raises:
        GraphError: no such regular graph exists.

    Complexity: O(N * degree) memory and a few sorts of the pairs, at first use.

    Example:
        >>> RandomRegular(6, degree=2, seed=0).neighbors.tolist()
        [[2, 3], [3, 4], [0, 5], [0, 1], [1, 5], [2, 4]]

    References:
        Bollobas. A probabilistic proof of an asymptotic formula for the number of labelled
        regular graphs. 1980. Shirzad et al. Exphormer. 2023, arXiv:2303.06147, section 3.1.
    """

    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    degree: int = field(kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        N = count("RandomRegular", "num_targets", self.num_targets)
        degree = count("RandomRegular", "degree", self.degree)
        seed = count("RandomRegular", "seed", self.seed)
        if holds(degree >= N) and degree:
            raise GraphError(
                f"RandomRegular: degree must be below num_targets={N}, got {degree}. "
                f"Use Complete({N}) for a graph in which everyone reads everyone."
            )
        if holds(N * degree % 2 == 1):
            raise GraphError(
                f"RandomRegular: num_targets * degree must be even, got {N} * "
                f"{degree}. Add one to the degree or drop a node."
            )
        if seed >= 2**32:
            raise GraphError(
                f"RandomRegular: seed must be below 2**32, got {seed}. Pass a smaller number."
            )
        for name, value in (("num_targets", N), ("degree", degree), ("seed", seed)):
            object.__setattr__(self, name, value)

    @property
    def num_sources(self) -> int:
        """Columns; the same nodes as the targets."""
        return self.num_targets

    @cached_property
    def neighbors(self) -> Tensor:
        """Sources of every target in rising order: ``[N, degree]``, int64."""
        N, degree = self.num_targets, self.degree
        if not N * degree:
            return torch.empty(N, 0, dtype=torch.int64)
        random = np.random.RandomState(self.seed)
        if 2 * degree > N - 1:
            table = _complement(_pairs(N, N - 1 - degree, random), N)
        else:
            pairs = _pairs(N, degree, random)
            both = np.concatenate([pairs, pairs[:, ::-1]])
            order = np.lexsort((both[:, 1], both[:, 0]))
            table = both[order, 1].reshape(N, degree)
        return torch.from_numpy(np.ascontiguousarray(table))

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        table = self.neighbors.to(target.device)
        if not table.numel():
            shape = torch.broadcast_tensors(target, source)[0].shape
            return torch.zeros(shape, dtype=torch.bool, device=target.device)
        target, source = torch.broadcast_tensors(target, source)
        keys = (
            torch.arange(self.num_targets, device=target.device)[:, None] * self.num_targets + table
        ).reshape(-1)  # sorted
        keys_of_pairs = target.long() * self.num_targets + source
        position = torch.searchsorted(keys, keys_of_pairs).clamp_(max=keys.numel() - 1)
        return keys[position] == keys_of_pairs

    def facts(self) -> Facts:
        N, degree = self.num_targets, self.degree
        return Facts.bounded(
            N,
            N,
            min_edges=N * degree,
            max_edges=N * degree,
            in_degree=(degree, degree),
            out_degree=(degree, degree),
        )

    def reversed(self) -> Graph:
        return self


Pairs = npt.NDArray[np.int64]


def _pairs(num_nodes: int, degree: int, random: np.random.RandomState) -> Pairs:
    """Undirected edges ``[N * degree / 2, 2]`` of a simple regular graph."""
    stubs = np.repeat(np.arange(num_nodes, dtype=np.int64), degree)
    for _ in range(_MAX_DRAWS):
        pairs = random.permutation(stubs).reshape(-1, 2)
        for _ in range(_MAX_ROUNDS):
            bad = _bad_rows(pairs, num_nodes)
            if not bad.size:
                return pairs
            _swap_ends(pairs, bad, num_nodes, random)
    raise GraphError(
        f"RandomRegular: no simple graph of {num_nodes} nodes and degree {degree} "
        f"was found in {_MAX_DRAWS} draws. Try another seed."
    )


def _keys(pairs: Pairs, num_nodes: int) -> Pairs:
    """One number for each undirected pair."""
    return pairs.min(1) * num_nodes + pairs.max(1)


def _bad_rows(pairs: Pairs, num_nodes: int) -> Pairs:
    """Rows that are self-loops or repeat an earlier row."""
    _, first = np.unique(_keys(pairs, num_nodes), return_index=True)
    repeated = np.ones(len(pairs), dtype=bool)
    repeated[first] = False
    return np.flatnonzero(repeated | (pairs[:, 0] == pairs[:, 1]))


def _swap_ends(pairs: Pairs, bad: Pairs, num_nodes: int, random: np.random.RandomState) -> None:
    """Swap ends of bad rows with those of good ones, where both results are good; in place.

    Args:
        pairs: Undirected edges, ``[E, 2]``.
        bad: Numbers of the rows that are self-loops or copies.
        num_nodes: Number of nodes ``N``.
        random: Generator of the partners.
    """
    partner = random.randint(len(pairs), size=bad.size, dtype=np.int64)
    partner, first = np.unique(partner, return_index=True)
    free = ~np.isin(partner, bad)
    row, partner = bad[first][free], partner[free]
    ends = np.concatenate([pairs[row, 0], pairs[partner, 0], pairs[partner, 1], pairs[row, 1]])
    new = ends.reshape(2, -1).T  # the rows, then their partners, with second ends swapped
    key = _keys(new, num_nodes)
    _, place, repeats = np.unique(key, return_inverse=True, return_counts=True)
    good = (repeats[place] == 1) & (new[:, 0] != new[:, 1]) & ~np.isin(key, _keys(pairs, num_nodes))
    chosen = np.flatnonzero(good.reshape(2, -1).all(0))
    pairs[row[chosen]] = new[chosen]
    pairs[partner[chosen]] = new[chosen + len(row)]


def _complement(pairs: Pairs, num_nodes: int) -> Pairs:
    """Neighbour table of everything that is neither an edge nor a self-loop."""
    free = ~np.eye(num_nodes, dtype=bool)
    free[pairs[:, 0], pairs[:, 1]] = False
    free[pairs[:, 1], pairs[:, 0]] = False
    return np.nonzero(free)[1].astype(np.int64).reshape(num_nodes, -1)
