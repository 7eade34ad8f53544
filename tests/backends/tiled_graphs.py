"""Graphs that the tiled backends cut: windows, batches of blocks, and clusters of edges."""

import torch

import edgewise as ew

WINDOWS = {
    "both sides": ew.Window(700, left=40, right=40),
    "one side": ew.Window(700, left=150, right=0),
    "ahead only": ew.Window(515, left=0, right=33),
    "narrow": ew.Window(1000, left=1, right=1),
    "wider than half": ew.Window(300, left=200, right=180),
    "wide rectangle": ew.Window(400, 777, left=64, right=10),
    "tall rectangle": ew.Window(600, 500, left=30, right=170),
    "dilated": ew.Dilated(911, left=20, right=11, dilation=5),
    "dilated, more gaps than nodes": ew.Dilated(7, left=2, right=2, dilation=10),
    "causal": ew.Causal(300),
    "decoding": ew.Causal(1, 400),
    "block": ew.Window(256, left=64, right=64),
    "one block short": ew.Window(255, left=64, right=63),
}
MIXED = [
    *(ew.Causal(3), ew.Causal(40, 20), ew.Blocks([20, 0, 33], [1, 4, 30]), ew.Complete(2)),
    *(ew.Causal(20, 70), ew.Complete(17), ew.Causal(19), ew.Causal(1), ew.Complete(0, 3)),
    *(ew.Complete(4, 0), ew.Causal(18), ew.Causal(22, 75), ew.Window(6, left=9, right=0)),
]
BATCHES = {
    "molecules": ew.Blocks([9, 25, 25, 31, 12, 1, 1, 2, 16, 33]),
    "of one size": ew.Blocks([24] * 7),
    "single nodes": ew.SelfLoops(40),
    "rectangular": ew.Blocks([1, 5, 1, 17, 30, 16], [4, 9, 3, 40, 2, 16]),
    "empty blocks": ew.Blocks([5, 0, 4, 0, 6], [5, 3, 0, 0, 2]),
    "documents": ew.disjoint_union(ew.Causal(n) for n in (40, 1, 64, 33, 47, 41, 300)),
    "documents of one size": ew.disjoint_union(ew.Causal(32) for _ in range(5)),
    "documents written as masks": ew.Blocks([40, 20, 28]) & ew.Causal(88),
    "decoding": ew.disjoint_union(ew.Causal(1, n) for n in (40, 7, 64)),
    "mixed": ew.disjoint_union(MIXED),
    "mixed small": ew.disjoint_union(
        [ew.Causal(9), ew.Complete(12), ew.Causal(13, 9), ew.Causal(3, 15)]
    ),
    "large": ew.disjoint_union([ew.Causal(300), ew.Complete(270), ew.Causal(200, 350)]),
    "nothing to read": ew.Complete(4, 0),
}


def communities(sizes, density, seed=0, noise=0):
    """Random edges within each community, and some between any two nodes; none twice."""
    random = torch.Generator().manual_seed(seed)
    nodes = sum(sizes)
    mask = torch.zeros(nodes, nodes, dtype=torch.bool)
    start = 0
    for size in sizes:
        block = torch.rand(size, size, generator=random) < density
        mask[start : start + size, start : start + size] = block
        start += size
    for _ in range(noise):
        target, source = torch.randint(nodes, (2,), generator=random).tolist()
        mask[target, source] = True
    target, source = mask.nonzero(as_tuple=True)
    return ew.EdgeList(torch.stack([source, target]), num_nodes=nodes)


def shuffled(graph, seed=0):
    """The same edges in another order."""
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(seed))
    return ew.EdgeList(graph.edge_index[:, order], graph.num_targets)


def _near(target, source):
    return ((target // 50) == (source // 40)) & ((target + source) % 3 != 0)


_HALF = communities([100, 60, 130], 0.5)

CLUSTERS = {
    "communities": _HALF,
    "communities, other edge order": shuffled(_HALF),
    "communities and strays": communities([90, 150, 64], 0.3, seed=1, noise=40),
    "one full community among isolated nodes": ew.EdgeList(
        torch.cartesian_prod(torch.arange(70, 140), torch.arange(70, 140)).T, num_nodes=300
    ),
    "large communities: large tiles": communities([384, 256], 0.9, seed=2),
    "complete blocks": ew.Blocks([64, 128, 64, 64]),
    "complete blocks off the grid": ew.Blocks([50, 0, 130, 1, 77]),
    "rectangular blocks": ew.Blocks([50, 20, 70], [64, 100, 3]),
    "window and hubs": ew.Window(333, left=20, right=5) | ew.Hubs(333, [0, 200]),
    "grid": ew.Grid((12, 17)),
    "predicate": ew.Predicate(_near, 210, 170),
    "causal": ew.Causal(200),
    "tall: isolated targets": ew.Causal(300, 100),
    "dilated": ew.Dilated(211, left=9, right=4, dilation=7),
    "permuted": ew.permute(ew.Blocks([40, 80, 60]), torch.arange(180).flip(0)),
    "disjoint union": ew.disjoint_union([communities([70], 0.4, seed=3), ew.Complete(30, 90)]),
    "without copies": ew.Complete(130) - ew.Window(130, left=30, right=30),
    "one edge in the last corner": ew.EdgeList([[199], [199]], num_nodes=200),
    "no edges": ew.EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=70),
    "one node": ew.Complete(1),
    "no targets": ew.Complete(0, 9),
    "no sources": ew.Complete(9, 0),
}

# What each tiled backend is tested on, by its name.
GRAPHS = {"banded": WINDOWS, "ragged": BATCHES, "blocked": CLUSTERS}
