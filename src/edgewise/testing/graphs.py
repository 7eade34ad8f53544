"""Small graphs of every family: also empty, rectangular, with isolated nodes and copies."""

from __future__ import annotations

import torch

from edgewise.graphs import (
    Assume,
    Blocks,
    Causal,
    Complete,
    Dilated,
    EdgeList,
    Facts,
    Graph,
    Grid,
    Hubs,
    Predicate,
    PrefixCausal,
    RandomRegular,
    SelfLoops,
    Window,
    compose,
    disjoint_union,
    induced,
    permute,
    reverse,
)

__all__ = ["GRAPHS"]

_N = 12


def _random(num_targets: int, num_sources: int, num_edges: int, seed: int) -> EdgeList:
    """Random edges, unsorted, copies included."""
    random = torch.Generator().manual_seed(seed)
    pairs = torch.stack(
        [
            torch.randint(num_sources, (num_edges,), generator=random),
            torch.randint(num_targets, (num_edges,), generator=random),
        ]
    )
    return EdgeList(pairs, num_targets=num_targets, num_sources=num_sources)


def _simple(num_nodes: int, num_edges: int, seed: int) -> EdgeList:
    """Random edges, unsorted, none twice."""
    random = torch.Generator().manual_seed(seed)
    keys = torch.randperm(num_nodes * num_nodes, generator=random)[:num_edges]
    return EdgeList(torch.stack([keys % num_nodes, keys // num_nodes]), num_nodes=num_nodes)


def _odd(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return (target + source) % 2 == 1


# The graphs of the contract table, by name.
GRAPHS: dict[str, Graph] = {
    "complete": Complete(_N),
    "complete, rectangular": Complete(5, 9),
    "causal": Causal(_N),
    "causal, decoding": Causal(1, 9),
    "causal, wide": Causal(4, 9),
    "causal, tall: isolated targets": Causal(9, 4),
    "window": Window(_N, left=3, right=1),
    "window, rectangular": Window(6, 10, left=2, right=0),
    "dilated": Dilated(_N, left=2, right=1, dilation=3),
    "prefix": PrefixCausal(_N, prefix=5),
    "blocks, one empty": Blocks([5, 0, 1, 6]),
    "blocks, rectangular": Blocks([1, 1, 1], [4, 0, 3]),
    "hubs: isolated others": Hubs(_N, [0, 7]) - Complete(_N) | SelfLoops(_N),
    "window | hubs": Window(_N, left=2, right=2) | Hubs(_N, [0, 7]),
    "window | hubs | random": Window(_N, left=1, right=1)
    | Hubs(_N, [3])
    | RandomRegular(_N, degree=3),
    "grid": Grid((3, 4)),
    "grid, periodic, no corners": Grid((3, 2, 2), corners=False, periodic=True),
    "random regular": RandomRegular(_N, degree=4, seed=1),
    "self-loops": SelfLoops(_N),
    "edge list": _simple(_N, 40, seed=0),
    "edge list, isolated": _simple(_N, 9, seed=2),
    "edge list, copies": _random(_N, _N, 70, seed=3),
    "edge list, bipartite with copies": _random(5, 8, 30, seed=4),
    "edge list, no edges": EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=4),
    "one node": Complete(1),
    "no targets": Complete(0, 4),
    "no sources": Complete(4, 0),
    "difference": Complete(_N) - Window(_N, left=2, right=2),
    "intersection": Causal(_N) & RandomRegular(_N, degree=6, seed=2),
    "reverse": reverse(PrefixCausal(_N, prefix=3)),
    "composition": compose(RandomRegular(_N, degree=2), Causal(_N)),
    "permutation": permute(Causal(_N), [7, 2, 10, 5, 0, 11, 3, 8, 1, 9, 4, 6]),
    "induced": induced(Causal(14), [13, 2, 8, 5, 0], [0, 9, 3]),
    "disjoint union": disjoint_union(
        [Causal(3), _simple(4, 6, seed=6), Complete(2, 3), Grid((3,))]
    ),
    "disjoint union of edge lists": disjoint_union(
        [_simple(4, 7, seed=7), _random(3, 3, 8, seed=8), _simple(5, 0, seed=9)]
    ),
    "predicate": Predicate(_odd, 7, 9),
    "assume": Assume(Predicate(_odd, 8), Facts.bounded(8, 8, in_degree=(4, 4))),
}
