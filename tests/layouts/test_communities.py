"""Communities are detected in any order of nodes, and reordering keeps the edges."""

import pytest
import torch

import edgewise as ew
from edgewise.layouts import communities, edges, in_order, transitivity


def clustered(sizes, inside, across, seed=0):
    """Dense blocks with some edges between them, and which block each node is in."""
    draw = torch.Generator().manual_seed(seed)
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    same = block[:, None] == block
    chance = torch.where(same, inside, across)
    target, source = (torch.rand(same.shape, generator=draw) < chance).nonzero(as_tuple=True)
    return ew.EdgeList(torch.stack([source, target]), num_nodes=len(block)), block


def shuffled(graph, seed=1):
    order = torch.randperm(graph.num_targets, generator=torch.Generator().manual_seed(seed))
    return in_order(graph, order), order


@pytest.mark.parametrize("sizes", [[40, 40, 40], [20, 50, 90]])
def test_planted_communities_are_detected(sizes):
    graph, block = clustered(sizes, 0.7, 0.01)
    graph, order = shuffled(graph)
    label, block = communities(graph), block[order]
    assert len(label.unique()) == len(sizes)
    for number in range(len(sizes)):
        assert len(label[block == number].unique()) == 1
    assert communities(graph) is label
    assert torch.equal(communities(ew.EdgeList(graph.edge_index, num_nodes=len(block))), label)


def test_nodes_that_read_nothing_stay_alone():
    label = communities(ew.EdgeList([[0, 1], [1, 0]], num_nodes=4))
    assert label[2:].tolist() == [2, 3]
    assert communities(ew.EdgeList([[], []], num_nodes=0)).shape == (0,)


def test_a_rectangle_has_no_communities():
    with pytest.raises(ew.GraphError, match="communities: the graph must be square, got 2 targets"):
        communities(ew.Complete(2, 3))


def test_transitivity():
    dense, _ = clustered([60, 60], 0.8, 0.0)
    assert transitivity(shuffled(dense)[0]) == pytest.approx(0.8, abs=0.05)
    loose, _ = clustered([120], 0.1, 0.0)
    assert transitivity(loose) == pytest.approx(0.1, abs=0.05)
    star = ew.EdgeList([[0] * 9, list(range(1, 10))], num_nodes=10)
    for none in (star, ew.EdgeList([[], []], num_nodes=3), ew.Complete(2, 3), ew.Complete(1)):
        assert transitivity(none) == 0.0


def test_another_order_is_the_same_graph():
    graph, _ = clustered([5, 7], 0.6, 0.2)
    reordered, order = shuffled(graph)
    pairs = edges(reordered)
    back = order[pairs.target] * 12 + order[pairs.source]
    original = edges(graph)
    assert torch.equal(back.sort().values, (original.target * 12 + original.source).sort().values)
