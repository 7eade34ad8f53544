"""Gaussian weights against the definition, and with aggregate against PyTorch Geometric's MoNet."""

import pytest
import torch
from torch_geometric.nn import GMMConv

import edgewise as ew


def test_a_full_precision_is_the_quadratic_form():
    u, mean = torch.randn(7, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    half = torch.randn(2, 3, 3, dtype=torch.float64)
    precision = half @ half.mT
    found = ew.gaussian_weight(u, mean, precision)
    for h in range(2):
        for e in range(7):
            d = u[e] - mean[h]
            torch.testing.assert_close(found[h, e], torch.exp(-0.5 * d @ precision[h] @ d))


def test_with_aggregate_it_is_monet():
    graph = ew.EdgeList(torch.randint(0, 6, (2, 20)), num_nodes=6)
    x, u = torch.randn(6, 4, dtype=torch.float64), torch.rand(20, 2, dtype=torch.float64)
    peer = GMMConv(4, 5, 2, 3, aggr="mean", bias=False).double()
    expected = peer(x, graph.edge_index, u) - peer.root(x)
    weight = ew.gaussian_weight(u, peer.mu, 1 / (1e-15 + peer.sigma**2))  # [kernels, E]
    value = (x @ peer.g).view(6, 3, 5).transpose(0, 1)  # [kernels, N, C]
    found = ew.aggregate(value, graph, "mean", weight=weight).sum(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients():
    u = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    mean = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    precision = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ew.gaussian_weight, (u, mean, precision))


def test_shapes_that_do_not_fit():
    with pytest.raises(ew.ShapeError, match=r"got \[4, 2\], \[3, 5\] and \[3, 5\]"):
        ew.gaussian_weight(torch.zeros(4, 2), torch.zeros(3, 5), torch.ones(3, 5))
