"""Models: their shapes, their symmetries, and that the ladder is one block."""

import pytest
import torch
import torch.nn.functional as F

from edgewise.errors import ArgumentError
from edgewise.graphs import Blocks, Complete, EdgeList, SelfLoops, disjoint_union
from edgewise.models import (
    GAT,
    GCN,
    FeatureDropout,
    GraphModel,
    NodeModel,
    Perceptron,
    Pointwise,
    Trunk,
)
from edgewise.nn import DotAttention, GATAttention, GCNConvolution, GraphConvolution

RING = EdgeList([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]], num_nodes=5)
MIXERS = {
    "map": lambda: Pointwise(8, 8),
    "sum": lambda: GraphConvolution(8, 8),
    "gcn": lambda: GCNConvolution(8, 8),
    "gat": lambda: GATAttention(8, 4, heads=2),
    "dot": lambda: DotAttention(8, heads=2),
}


@pytest.fixture(params=MIXERS)
def trunk(request):
    return Trunk(3, 8, [MIXERS[request.param]() for _ in range(2)], encoding_dim=2).eval()


def test_relabelling_nodes_relabels_predictions(trunk):
    model = NodeModel(trunk, 8, 4).double()
    x, encoding = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = EdgeList(torch.argsort(order)[RING.edge_index], num_nodes=5)
    torch.testing.assert_close(
        model(x[order], moved, encoding=encoding[order]), model(x, RING, encoding=encoding)[order]
    )


def test_a_batch_is_its_graphs(trunk):
    model = GraphModel(trunk, 8, 4).double()
    x, encoding = torch.randn(8, 3).double(), torch.randn(8, 2).double()
    pair = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
    batch = disjoint_union([RING, pair])
    readout = Blocks([1, 1], [5, 3])
    together = model(x, batch, readout=readout, encoding=encoding)
    for rows, graph, got in ((slice(0, 5), RING, together[0]), (slice(5, 8), pair, together[1])):
        alone = model(x[rows], graph, encoding=encoding[rows])
        torch.testing.assert_close(alone, got)


def test_a_leading_dimension_is_a_batch(trunk):
    model = GraphModel(trunk, 8, 4).double()
    x, encoding = torch.randn(2, 5, 3).double(), torch.randn(5, 2).double()
    together = model(x, RING, encoding=encoding)
    assert together.shape == (2, 4)
    torch.testing.assert_close(together[1], model(x[1], RING, encoding=encoding))


@pytest.mark.parametrize(("built", "given"), [(0, 2), (2, None)])
def test_encodings_are_given_exactly_where_they_are_expected(built, given):
    trunk = Trunk(3, 8, [Pointwise(8, 8)], encoding_dim=built)
    encoding = None if given is None else torch.zeros(5, given)
    with pytest.raises(ArgumentError, match="Trunk: encoding"):
        trunk(torch.zeros(5, 3), RING, encoding=encoding)


def test_without_encodings_a_transformer_reads_a_set():
    model = GraphModel(Trunk(3, 8, [DotAttention(8, heads=2)]), 8, 4)
    x = torch.randn(6, 3)
    shuffled = x[torch.randperm(6)]
    torch.testing.assert_close(model(x, Complete(6)), model(shuffled, Complete(6)))


def test_pointwise_is_a_convolution_over_self_loops():
    layer, x = Pointwise(3, 4), torch.randn(5, 3)
    convolution = GraphConvolution(3, 4)
    with torch.no_grad():
        convolution.self_proj.weight.copy_(0.25 * layer.weight)
        convolution.self_proj.bias.copy_(layer.bias)
        convolution.neighbor_proj.weight.copy_(0.75 * layer.weight)
    torch.testing.assert_close(convolution(x, SelfLoops(5)), layer(x, RING))


def test_gcn_is_its_equation():
    model, x = GCN(3, 4, 2).double().eval(), torch.randn(5, 3).double()
    every = torch.arange(5)
    adjacency = (RING.contains(every[:, None], every)).double() + torch.eye(5)
    scale = adjacency.sum(1).rsqrt()
    spread = scale[:, None] * adjacency * scale
    first, second = model.first, model.second
    hidden = F.relu(spread @ x @ first.weight.T + first.bias)
    expected = spread @ hidden @ second.weight.T + second.bias
    torch.testing.assert_close(model(x, RING), expected)


def test_gat_and_perceptron_have_the_papers_layers():
    gat = GAT(1433, 8, 7, heads=8)
    assert (gat.first.heads, gat.second.heads, gat.second.concat) == (8, 1, False)
    assert gat.first.dropout == gat.dropout.p == 0.6
    assert sum(p.numel() for p in gat.parameters()) == 92_373  # as PyTorch Geometric counts
    x = torch.randn(5, 6)
    alone = Perceptron(6, 4, 3).eval()
    torch.testing.assert_close(alone(x, RING), alone(x, Complete(5)))


def words(rows=400, columns=50):
    return (torch.rand(rows, columns) < 0.04).float() * 3.0


def test_feature_dropout_keeps_the_expected_share():
    features, dropout = words(), FeatureDropout(0.6)
    plain = dropout(features)  # torch's own, the first time a tensor is seen
    for dropped in (plain, dropout(features), dropout(features)):
        assert bool(((dropped == 0) | torch.isclose(dropped, features / 0.4)).all())
        kept = (dropped != 0).sum() / (features != 0).sum()
        assert 0.3 < float(kept) < 0.5
        assert bool((dropped[features == 0] == 0).all())


def test_feature_dropout_draws_anew_and_leaves_features_alone():
    features, dropout = words(), FeatureDropout(0.5)
    copy = features.clone()
    drawn = [dropout(features) for _ in range(4)]
    assert not torch.equal(drawn[2], drawn[3])
    assert torch.equal(features, copy)


def test_feature_dropout_of_another_tensor_uses_its_places():
    dropout = FeatureDropout(0.5)
    for features in (words(), words(), torch.ones(10, 10)):
        for _ in range(3):
            dropped = dropout(features)
            assert bool((dropped[features == 0] == 0).all())
            assert bool((dropped != 0).any())


def test_feature_dropout_does_nothing_outside_of_training():
    features = words()
    assert FeatureDropout(0.5).eval()(features) is features
    assert FeatureDropout(0.0)(features) is features


def test_feature_dropout_passes_gradients():
    features = words().requires_grad_()
    dropout = FeatureDropout(0.5)
    for _ in range(2):
        dropped = dropout(features)
    dropped.sum().backward()
    assert set(features.grad.unique().tolist()) == {0.0, 2.0}
