"""Graphormer's biases: distances and the edges on the way."""

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, Complete, EdgeList, disjoint_union, permute
from edgewise.nn import (
    DotAttention,
    PathBias,
    SpatialBias,
    shortest_path_edges,
    shortest_paths,
)


def tree(N, seed):
    random = torch.Generator().manual_seed(seed)
    later = torch.arange(1, N)
    parent = (torch.rand(N - 1, generator=random) * later).long()
    once = torch.stack([later, parent])
    return EdgeList(torch.cat([once, once.flip(0)], 1), num_nodes=N)


def test_every_distance_has_its_number(dtype, same_layer):
    bias = SpatialBias(2, max_distance=3).to(dtype)
    weight = bias.distance_encoder.weight
    result = bias(torch.tensor([0, 1, 2, 3, 4, 99, -1, 1]))
    expected = weight[torch.tensor([0, 1, 2, 3, 3, 3, 4, 1])].T
    same_layer(result, expected, [weight])
    assert result.is_contiguous()
    assert bias(torch.zeros(0, dtype=torch.int64)).shape == (2, 0)
    assert bias(torch.zeros(3, dtype=torch.int16)).shape == (2, 3)


def test_numbers_of_paths_are_an_average(dtype, same_layer):
    bias = PathBias(3, edge_dim=4, length=2).to(dtype)
    edge = torch.randn(5, 4, dtype=dtype, requires_grad=True)
    path = torch.tensor([[2, 4], [1, -1], [-1, -1], [2, 2]])
    w = bias.weight
    expected = torch.stack(
        [
            (edge[2] @ w[0] + edge[4] @ w[1]) / 2,
            edge[1] @ w[0],
            torch.zeros(3, dtype=dtype),
            (edge[2] @ w[0] + edge[2] @ w[1]) / 2,
        ],
        1,
    )
    same_layer(bias(edge, path), expected, [edge, w])
    assert bias(edge, path[:0]).shape == (3, 0)
    assert bias(edge[:0], torch.full((2, 2), -1)).tolist() == [[0, 0]] * 3


def graphormer(graph, sizes, edge, x):
    """Both biases in one attention over the complete graph of each molecule."""
    torch.manual_seed(0)
    layer = DotAttention(8, heads=2).double()
    spatial, path = SpatialBias(2, 4).double(), PathBias(2, 3, 3).double()
    pairs = Blocks(sizes)
    bias = spatial(shortest_paths(graph, pairs))
    bias = bias + path(edge, shortest_path_edges(graph, pairs, 3))
    return layer(x, pairs, score_bias=bias)


def test_a_batch_of_molecules_is_its_molecules():
    sizes, graphs = [6, 1, 9], [tree(6, 0), tree(1, 1), tree(9, 2)]
    edge = [torch.randn(g.num_edges, 3).double() for g in graphs]
    x = [torch.randn(n, 8).double() for n in sizes]
    together = graphormer(disjoint_union(graphs), sizes, torch.cat(edge), torch.cat(x))
    alone = [graphormer(g, [n], e, y) for g, n, e, y in zip(graphs, sizes, edge, x, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_on_a_tree_names_do_not_matter():
    """There is one path between two nodes of a tree, so even edge order cannot choose."""
    graph, order = tree(9, 3), torch.randperm(9)
    edge, x = torch.randn(16, 3).double(), torch.randn(9, 8).double()
    renamed = torch.empty_like(x)
    renamed[order] = x
    out = graphormer(permute(graph, order), [9], edge, renamed)
    torch.testing.assert_close(out[order], graphormer(graph, [9], edge, x))


def test_new_numbers_start_small():
    for bias, weight in (
        (SpatialBias(64, 100), "distance_encoder.weight"),
        (PathBias(16, 20, 30), "weight"),
    ):
        assert list(bias.state_dict()) == [weight]
        assert abs(float(bias.state_dict()[weight].std()) - 0.02) < 1e-3
    assert repr(SpatialBias(2, 5)).startswith("SpatialBias(\n  heads=2, max_distance=5")
    assert repr(PathBias(2, 5, 3)) == "PathBias(heads=2, edge_dim=5, length=3)"


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ArgumentError, match=r"distance must hold whole numbers, got torch\.float32"
    ):
        SpatialBias(2, 5)(torch.rand(3))
    with pytest.raises(ArgumentError, match="max_distance must be at least 0, got -1"):
        SpatialBias(2, -1)
    with pytest.raises(ArgumentError, match="edge_dim must be at least 1, got 0"):
        PathBias(2, 0, 3)
    path = shortest_path_edges(Complete(3), Complete(3), 4)
    with pytest.raises(ShapeError, match="edge has 5 features but the layer was built with edge_d"):
        PathBias(2, 3, 4)(torch.rand(9, 5), path)
    with pytest.raises(
        ShapeError, match=r"path \[pairs, 2\], got \[9, 3\] and \[9, 4\]\. Pass sho"
    ):
        PathBias(2, 3, 2)(torch.rand(9, 3), path)
