import pytest
import torch

from edgewise.graphs import Complete, Grid
from edgewise.training import load
from edgewise.training.batches import Batches, complete, given, given_with_self, nodes_alone


def test_an_epoch_has_every_graph_once(small_graphs):
    index = small_graphs.split(0).train
    batches = Batches(small_graphs, index, given, 7, generator=torch.Generator().manual_seed(0))
    assert len(batches) == len(list(batches)) == 3
    first, second = ([batch.y for batch in batches] for _ in range(2))
    assert [len(y) for y in first] == [7, 7, 6]
    assert torch.cat(first).sum() == torch.cat(second).sum() == small_graphs.y[index].sum()


def test_the_seed_determines_the_order(small_graphs):
    def features(seed):
        order = torch.Generator().manual_seed(seed)
        batches = Batches(small_graphs, torch.arange(24), given, 24, generator=order)
        return [next(iter(batches)).x for _ in range(2)]

    (a, b), (c, _), (d, _) = features(0), features(0), features(1)
    assert torch.equal(a, c)
    assert not torch.equal(a, b)
    assert not torch.equal(a, d)


def test_without_shuffling_batches_are_kept(small_graphs):
    batches = Batches(small_graphs, torch.arange(5), given, 2)
    assert [a is b for a, b in zip(batches, batches, strict=True)] == [True] * 3


def test_all_nodes_are_one_batch(small_nodes):
    index = small_nodes.split(0).train
    batches = Batches(small_nodes, index, given, 1, generator=torch.Generator())
    (batch,) = batches
    assert len(batches) == 1
    assert batch.x is small_nodes.x
    assert torch.equal(batch.rows, index)
    assert torch.equal(batch.y, small_nodes.y[index])
    assert next(iter(batches)).graph is batch.graph  # so its plan is made once


def test_a_readout_has_one_target_for_each_graph(small_graphs):
    batch = next(iter(Batches(small_graphs, torch.tensor([3, 0]), complete, 2)))
    assert batch.readout.sizes == (1, 1)
    assert batch.readout.source_sizes == batch.graph.sizes == (7, 4)
    assert batch.x.shape == (11, 3)
    assert torch.equal(batch.x[7:], small_graphs.x[:4])


@pytest.mark.parametrize("rule", [given, given_with_self, complete, nodes_alone])
def test_a_shared_topology_is_a_leading_dimension(rule):
    data = load("digits")
    batch = next(iter(Batches(data, torch.tensor([5, 9]), rule, 2)))
    assert batch.x.shape == (2, 16, 4)
    assert torch.equal(batch.x[1], data.x[9 * 16 : 10 * 16])
    assert batch.readout is None
    expected = {given: Grid((4, 4)), complete: Complete(16)}.get(rule)
    assert expected is None or batch.graph == expected


def test_encodings_follow_their_nodes(small_graphs):
    encoding = torch.arange(len(small_graphs.x)).float()[:, None]
    batch = next(iter(Batches(small_graphs, torch.tensor([1, 0]), given, 2, encoding)))
    assert batch.encoding.squeeze(1).tolist() == [4, 5, 6, 7, 8, 0, 1, 2, 3]


def test_moving_a_batch_keeps_its_graphs(small_graphs):
    batch = next(iter(Batches(small_graphs, torch.tensor([1, 0]), given, 2)))
    moved = batch.to("meta")
    assert moved.x.device.type == moved.y.device.type == "meta"
    assert moved.graph is batch.graph
    assert moved.encoding is None
