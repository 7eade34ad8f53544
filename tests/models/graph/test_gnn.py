"""Plain stacks are their convolutions, one after the other."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgewise.graphs import EdgeList
from edgewise.models import GNN, convolution_named
from edgewise.nn import (
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GraphConvolution,
    MoNetConvolution,
    TransformerConvolution,
    degree_coordinates,
)

NAMED = {
    "gcn": GCNConvolution,
    "sage": GraphConvolution,
    "gin": GINConvolution,
    "monet": MoNetConvolution,
    "gat": GATAttention,
    "gatv2": GATv2Attention,
    "transformer": TransformerConvolution,
}


@pytest.fixture
def x(graph):
    torch.manual_seed(1)
    return torch.randn(graph.num_targets, 5, dtype=torch.float64)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.parametrize("name", NAMED)
def test_it_is_its_formula(graph, x, name, norm, residual):
    model = GNN(5, 8, name, layers=3, heads=2, norm=norm, activation="elu", residual=residual)
    model = model.double()
    given = {"edge": degree_coordinates(graph, dtype=x.dtype)} if name == "monet" else {}
    expected = x
    for layer, (convolution, after) in enumerate(zip(model.convolutions, model.norms, strict=True)):
        assert isinstance(convolution, NAMED[name])
        message = convolution(expected, graph, **given)
        if residual:
            message = message + (expected if layer else model.skips[0](expected))
        expected = F.elu(after(message))
    torch.testing.assert_close(model(x, graph, **given), expected)
    assert model(x, graph, **given).shape == (graph.num_targets, 8)


def test_any_convolution_will_do(graph, x):
    model = GNN(5, 8, lambda a, b: GraphConvolution(a, b, reduce="max"), layers=2).double()
    assert [layer.reduce for layer in model.convolutions] == ["max", "max"]
    assert model(x, graph).shape == (graph.num_targets, 8)


def test_edge_weights_reach_every_layer():
    pair = EdgeList([[0, 1], [1, 0]], num_nodes=2)
    model = GNN(3, 4, "sage", layers=2)
    x = torch.randn(2, 3)
    plain = model(x, pair)
    torch.testing.assert_close(model(x, pair, edge_weight=torch.ones(2)), plain)
    assert not torch.allclose(model(x, pair, edge_weight=torch.tensor([1.0, 3.0])), plain)


def test_heads_and_kernels():
    assert convolution_named("monet", heads=3)(5, 8).kernels == 3
    assert convolution_named("gatv2", heads=4)(5, 8).out_dim == 2
    inside = convolution_named("gin", norm="batch")(5, 8).mlp
    assert isinstance(inside[1], nn.BatchNorm1d)
    assert isinstance(convolution_named("gin")(5, 8).mlp[1], nn.Identity)


def test_the_skip_of_equal_widths_has_no_weights():
    model = GNN(8, 8, "gcn", layers=2, residual=True)
    assert not list(model.skips.parameters())
