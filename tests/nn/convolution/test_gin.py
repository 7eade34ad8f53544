"""GINConvolution and GINEConvolution are their formulas, edge by edge."""

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import EdgeList, SelfLoops
from edgewise.nn import MLP, GINConvolution, GINEConvolution

MULTIGRAPH = EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5)
BIPARTITE = EdgeList([[0, 4, 2, 2], [1, 1, 0, 0]], num_targets=3, num_sources=5)


def nodes(graph, dtype, dim=4):
    x = torch.randn(graph.num_targets, dim, dtype=dtype, requires_grad=True)
    if graph.num_targets == graph.num_sources:
        return x, x
    return x, torch.randn(graph.num_sources, dim, dtype=dtype, requires_grad=True)


def added(total, graph, messages):
    """The messages on top of ``total``, one edge after the other."""
    rows = list(total.unbind(0))
    for message, target in zip(messages, graph.target.tolist(), strict=True):
        rows[target] = rows[target] + message
    return torch.stack(rows)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("graph", [MULTIGRAPH, BIPARTITE], ids=["square", "bipartite"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gin_is_its_formula(graph, dtype, same_layer, weighted):
    layer = GINConvolution(MLP(4, 8, out_dim=3), eps=0.3, train_eps=True).to(dtype)
    x, source = nodes(graph, dtype)
    edge = torch.rand(graph.num_edges, dtype=dtype, requires_grad=True) if weighted else None
    value = source[graph.source] if edge is None else edge[:, None] * source[graph.source]
    expected = layer.mlp(added((1 + layer.eps) * x, graph, value))
    inputs = [t for t in {x, source, edge} if t is not None]
    parameters = [(p, p) for p in layer.parameters()]
    given = {} if source is x else {"source": source}
    same_layer(layer(x, graph, edge_weight=edge, **given), expected, inputs, parameters)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("graph", [MULTIGRAPH, BIPARTITE], ids=["square", "bipartite"])
@pytest.mark.parametrize("edge_dim", [None, 2])
def test_gine_is_its_formula(graph, dtype, same_layer, edge_dim):
    layer = GINEConvolution(MLP(4, 8, out_dim=3), 4, edge_dim=edge_dim, eps=0.3, train_eps=True).to(
        dtype
    )
    x, source = nodes(graph, dtype)
    edge = torch.randn(graph.num_edges, edge_dim or 4, dtype=dtype, requires_grad=True)
    value = edge if edge_dim is None else layer.edge_proj(edge)
    messages = (source[graph.source] + value).relu()
    expected = layer.mlp(added((1 + layer.eps) * x, graph, messages))
    parameters = [(p, p) for p in layer.parameters()]
    given = {} if source is x else {"source": source}
    same_layer(layer(x, graph, edge=edge, **given), expected, list({x, source, edge}), parameters)


def test_gine_with_edges_of_zero_is_not_gin():
    layer = GINEConvolution(nn.Identity(), 4).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    out = layer(x, MULTIGRAPH, edge=torch.zeros(7, 4, dtype=torch.float64))
    assert not torch.allclose(out, GINConvolution(nn.Identity()).double()(x, MULTIGRAPH))


def test_eps_is_learned_or_kept():
    kept, learned = (GINConvolution(MLP(4, 8), eps=0.5, train_eps=t) for t in (False, True))
    assert "eps" in kept.state_dict()
    assert "eps" not in dict(kept.named_parameters())
    assert dict(learned.named_parameters())["eps"].item() == 0.5
    kept.load_state_dict(learned.state_dict())  # one can go on from the other


def test_any_module_may_come_after():
    norm = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    assert GINConvolution(norm)(torch.randn(5, 4), MULTIGRAPH).shape == (5, 4)


def test_what_does_not_fit_is_refused():
    graph, mlp = SelfLoops(3), MLP(4, 8)
    gin, gine = GINConvolution(mlp), GINEConvolution(mlp, 4, edge_dim=2)
    x, edge = torch.zeros(3, 4), torch.zeros(3, 2)
    with pytest.raises(ShapeError, match=r"with one dim, got \[3, 4\] and \[3, 1\]. Project one"):
        gin(x, graph, source=torch.zeros(3, 1))
    with pytest.raises(ShapeError, match=r"with one dim, got \[4\] and \[4\]"):
        gin(torch.zeros(4), graph)
    with pytest.raises(ShapeError, match="GINConvolution: x has 2 nodes but graph has 3 targets"):
        gin(torch.zeros(2, 4), graph)
    with pytest.raises(ShapeError, match="Edge features need a layer with edge_dim"):
        gin(x, graph, edge_weight=edge)
    with pytest.raises(ArgumentError, match=r"Pass edge of shape \[edges, 2\], or use GINConvol"):
        gine(x, graph)
    with pytest.raises(ShapeError, match="edge has 3 features but the layer was built with edge_d"):
        gine(x, graph, edge=torch.zeros(3, 3))
    with pytest.raises(ShapeError, match=r"GINEConvolution: edge must have shape .* = \[3, \?\]"):
        gine(x, graph, edge=torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"leading sizes may be 1 or left out\), got \[2, 3, 2\]"):
        gine(x, graph, edge=torch.zeros(2, 3, 2))
    with pytest.raises(ShapeError, match=r"GINEConvolution: x has 5 features .* dim=4"):
        gine(torch.zeros(3, 5), graph, edge=edge)
    with pytest.raises(ArgumentError, match="GINEConvolution: dim must be at least 1, got 0"):
        GINEConvolution(mlp, 0)
    with pytest.raises(ArgumentError, match="GINEConvolution: edge_dim must be a whole number"):
        GINEConvolution(mlp, 4, edge_dim=2.0)
    assert "dim=4, edge_dim=2" in repr(gine)
