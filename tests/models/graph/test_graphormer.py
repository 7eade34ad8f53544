"""Graphormer: one graph of blocks with a virtual node each, and what it reads off a graph."""

import pytest
import torch

from edgewise.graphs import Blocks, Complete, EdgeList, disjoint_union
from edgewise.models import Graphormer, load_weights, save_weights

IN, DIM, EDGE = 3, 8, 4
SIZES = [4, 1, 5]
PATH = EdgeList([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]], num_nodes=4)
ATOM = EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=1)
PIECES = EdgeList([[0, 1, 3, 2, 3, 3], [1, 0, 2, 3, 3, 2]], num_nodes=5)  # a loop, a copy, node 4
BATCH = disjoint_union([PATH, ATOM, PIECES])
READOUT = Blocks([1, 1, 1], SIZES)


@pytest.fixture
def model(away):
    torch.manual_seed(0)
    built = Graphormer(IN, DIM, 2, heads=2, layers=2, edge_dim=EDGE, max_distance=2, max_degree=2)
    return away(built).double()


@pytest.fixture
def inputs():
    x = torch.randn(sum(SIZES), IN, dtype=torch.float64)
    return x, torch.randn(12, EDGE, dtype=torch.float64)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_batch_is_its_graphs(model, inputs):
    x, edge = inputs
    together = model(x, BATCH, readout=READOUT, edge=edge)
    assert together.shape == (3, 2)
    parts = zip(x.split(SIZES), [PATH, ATOM, PIECES], edge.split([6, 0, 6]), strict=True)
    for number, (own, graph, own_edge) in enumerate(parts):
        close(model(own, graph, edge=own_edge), together[number])
        close(model(own, graph, edge=own_edge, readout=Complete(1, len(own)))[0], together[number])


def test_predictions_do_not_depend_on_names(model, inputs):
    x, edge = inputs  # between two nodes of these graphs there is one shortest path
    order = torch.cat([torch.tensor([2, 0, 3, 1]), torch.tensor([4]), 5 + torch.randperm(5)])
    moved = EdgeList(order[BATCH.joined.edge_index], num_nodes=10)
    before = model.features(x, BATCH, readout=READOUT, edge=edge)
    after = model.features(x[torch.argsort(order)], moved, readout=READOUT, edge=edge)
    close(after.u, before.u)
    close(after.x[order], before.x)


def test_a_leading_dimension_is_a_batch(model, inputs):
    x, edge = inputs
    more = torch.stack([x, x + 1.0, -x])
    together = model(more, BATCH, readout=READOUT, edge=edge)
    assert together.shape == (3, 3, 2)
    close(together[2], model(-x, BATCH, readout=READOUT, edge=edge))
    assert model(torch.stack([x, x])[:, :4], PATH, edge=edge[:6]).shape == (2, 2)


def test_what_it_finds_about_nodes_and_graphs(model, inputs):
    x, edge = inputs
    result = model.features(x, BATCH, readout=READOUT, edge=edge)
    assert result.x.shape == (10, DIM)
    assert result.u.shape == (3, DIM)
    assert result.edge is None
    close(model.head(result.u), model(x, BATCH, readout=READOUT, edge=edge))


def test_a_virtual_node_reads_its_graph_alone(model, inputs):
    x, edge = inputs
    x.requires_grad_()
    out = model(x, BATCH, readout=READOUT, edge=edge)
    for graph, rows in enumerate([range(4), range(4, 5), range(5, 10)]):
        (result,) = torch.autograd.grad(out[graph].sum(), x, retain_graph=True)
        assert result.abs().sum(1).nonzero()[:, 0].tolist() == list(rows)  # other pieces as well


def test_the_structure_is_that_of_the_paper():
    model = Graphormer(IN, DIM, 1, heads=2, layers=0, edge_dim=EDGE, max_distance=2)
    result = model.structure(BATCH, READOUT)
    assert result.pairs == Blocks([5, 2, 6])
    assert result.virtual.tolist() == [4, 6, 12]
    assert result.nodes.tolist() == [0, 1, 2, 3, 5, 7, 8, 9, 10, 11]
    path, atom, pieces = result.distance.split([25, 4, 36])
    assert path.view(5, 5).tolist() == [
        [0, 1, 2, 2, 3],  # farther than 2 counts as 2; the virtual node has the number behind
        [1, 0, 1, 2, 3],
        [2, 1, 0, 1, 3],
        [2, 2, 1, 0, 3],
        [3, 3, 3, 3, 3],
    ]
    assert atom.view(2, 2).tolist() == [[0, 3], [3, 3]]
    assert pieces.view(6, 6)[4].tolist() == [-1, -1, -1, -1, 0, 3]
    assert result.paths.shape == (65, 5)
    assert result.paths[3].tolist() == [1, 3, 5, -1, -1]  # from node 0 along the path to node 3


def test_the_structure_is_worked_out_once():
    model = Graphormer(IN, DIM, 1, heads=2, layers=1)
    first = model.structure(BATCH, READOUT)
    assert model.structure(BATCH, Blocks([1, 1, 1], SIZES)) is first
    assert Graphormer(IN, DIM, 1, heads=2, layers=1).structure(BATCH, READOUT) is first
    assert first.paths is None
    other = Graphormer(IN, DIM, 1, heads=2, layers=1, max_distance=1)
    assert other.structure(BATCH, READOUT) is not first


def test_every_parameter_learns(model, inputs):
    x, edge = inputs
    model(x, BATCH, readout=READOUT, edge=edge).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_compiled_it_is_the_same(model, inputs):
    torch.compiler.reset()
    x, edge = inputs
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    given = {"readout": READOUT, "edge": edge}
    close(compiled(x, BATCH, **given), model(x, BATCH, **given))


def test_weights_there_and_back(model, inputs, tmp_path):
    save_weights(model, tmp_path / "weights.safetensors")
    other = Graphormer(
        IN, DIM, 2, heads=2, layers=2, edge_dim=EDGE, max_distance=2, max_degree=2
    ).double()
    load_weights(other, tmp_path / "weights.safetensors")
    x, edge = inputs
    given = {"readout": READOUT, "edge": edge}
    assert torch.equal(model(x, BATCH, **given), other(x, BATCH, **given))


def test_dropout_acts_in_training_alone(inputs):
    model = Graphormer(IN, DIM, 2, heads=2, layers=1, dropout=0.5).double()
    x, _ = inputs
    assert not torch.equal(model(x, BATCH, readout=READOUT), model(x, BATCH, readout=READOUT))
    model.eval()
    assert torch.equal(model(x, BATCH, readout=READOUT), model(x, BATCH, readout=READOUT))
