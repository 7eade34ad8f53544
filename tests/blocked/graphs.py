"""Graphs whose edges cluster, and graphs that are awkward to cut into tiles."""

import torch

import edgewise as ew


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

GRAPHS = {
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
