"""GraphConvolution and GCNConvolution are the layers of PyG."""

import pytest
import torch
from torch_geometric import nn as geometric

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Complete, EdgeList, SelfLoops, Window
from edgewise.layouts import edges
from edgewise.nn import GCNConvolution, GraphConvolution

WIDTHS = [(4, 7), (7, 4)]  # narrower before and after: the layers work in another order


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("reduce", "aggr"), [("sum", "add"), ("mean", "mean")])
def test_sum_and_mean_equal_pygs_graph_conv(
    graph, dtype, same_layer, copied, in_dim, out_dim, weighted, reduce, aggr
):
    mine = GraphConvolution(in_dim, out_dim, reduce=reduce).to(dtype)
    theirs = geometric.GraphConv(in_dim, out_dim, aggr=aggr).to(dtype)
    pairs = [
        (mine.self_proj.weight, theirs.lin_root.weight),
        (mine.self_proj.bias, theirs.lin_rel.bias),
        (mine.neighbor_proj.weight, theirs.lin_rel.weight),
    ]
    copied(pairs)
    x = torch.randn(graph.num_targets, in_dim, dtype=dtype, requires_grad=True)
    edge = torch.randn(graph.num_edges, dtype=dtype, requires_grad=True) if weighted else None
    expected = theirs(x, graph.edge_index, edge)
    inputs = [x] if edge is None else [x, edge]
    same_layer(mine(x, graph, edge_weight=edge), expected, inputs, pairs)


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
@pytest.mark.parametrize("aggr", ["mean", "max"])
def test_mean_and_max_equal_pygs_sage_conv(graph, dtype, same_layer, copied, in_dim, out_dim, aggr):
    mine = GraphConvolution(in_dim, out_dim, reduce=aggr).to(dtype)
    # Ours reduces what V made of the neighbors (as GraphSAGE's pooling does), PyG's transforms
    # what the reduction left: so PyG's is shown transformed neighbors and its own V is identity.
    theirs = geometric.SAGEConv((out_dim, in_dim), out_dim, aggr=aggr).to(dtype)
    torch.nn.init.eye_(theirs.lin_l.weight)
    pairs = [
        (mine.self_proj.weight, theirs.lin_r.weight),
        (mine.self_proj.bias, theirs.lin_l.bias),
    ]
    copied(pairs)
    x = torch.randn(graph.num_targets, in_dim, dtype=dtype, requires_grad=True)
    expected = theirs((mine.neighbor_proj(x), x), graph.edge_index)
    weight = mine.neighbor_proj.weight
    same_layer(mine(x, graph), expected, [x], [*pairs, (weight, weight)])


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_graph_convolution_is_its_formula(graph, close, reduce):
    layer = GraphConvolution(5, 3, reduce=reduce, activation=torch.tanh).double()
    x = torch.randn(graph.num_targets, 5, dtype=torch.float64)
    weight = torch.randn(graph.num_edges, dtype=torch.float64)
    expected = layer.self_proj(x)
    reduced = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[reduce]
    for target in range(graph.num_targets):
        here = (graph.target == target).nonzero()[:, 0]
        if len(here):
            value = weight[here, None] * layer.neighbor_proj(x[graph.source[here]])
            expected[target] += reduced(value, 0)
    close(layer(x, graph, edge_weight=weight), expected.tanh())


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("message", ["linear", "features", "pool"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_message_is_its_formula(
    graph, dtype, same_layer, in_dim, out_dim, reduce, message, weighted
):
    layer = GraphConvolution(in_dim, out_dim, reduce=reduce, message=message, normalize=True)
    layer = layer.to(dtype)
    x = torch.randn(graph.num_targets, in_dim, dtype=dtype, requires_grad=True)
    edge = torch.rand(graph.num_edges, dtype=dtype, requires_grad=True) if weighted else None
    value = {
        "linear": layer.neighbor_proj,
        "features": lambda h: h,
        "pool": lambda h: layer.pool_proj(h).relu(),
    }[message](x)
    received = []
    for target in range(graph.num_targets):
        here = (graph.target == target).nonzero()[:, 0]
        rows = value[graph.source[here]] * (1 if edge is None else edge[here, None])
        reduced = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[reduce]
        received.append(reduced(rows, 0) if len(here) else rows.sum(0))
    received = torch.stack(received)
    out = layer.self_proj(x) + (received if message == "linear" else layer.neighbor_proj(received))
    expected = out / out.square().sum(-1, keepdim=True).sqrt()
    inputs = [x] if edge is None else [x, edge]
    pairs = [(p, p) for p in layer.parameters()]
    same_layer(layer(x, graph, edge_weight=edge), expected, inputs, pairs)


def test_normalizing_comes_after_the_activation_and_keeps_zeros():
    layer = GraphConvolution(4, 3, activation="relu", normalize=True)
    out = layer(torch.randn(50, 4), SelfLoops(50))
    lengths = out.norm(dim=-1)
    assert (out >= 0).all()
    assert (torch.isclose(lengths, torch.ones(50)) | (lengths == 0)).all()


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "elu"])
def test_an_activation_has_a_name(graph, activation):
    named = GraphConvolution(4, 3, activation=activation)
    linear = GraphConvolution(4, 3)
    linear.load_state_dict(named.state_dict())
    x = torch.randn(graph.num_targets, 4)
    expected = getattr(torch.nn.functional, activation)(linear(x, graph))
    torch.testing.assert_close(named(x, graph), expected)


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loops", [False, True])
def test_gcn_equals_pyg(graph, dtype, same_layer, copied, in_dim, out_dim, weighted, loops):
    N, edge_index = graph.num_targets, graph.edge_index
    if loops:  # some nodes have a self-loop already, and keep its weight
        some = torch.tensor([3, 4, 11])
        edge_index = torch.cat([edge_index, some.expand(2, -1)], 1)
    graph = EdgeList(edge_index, num_nodes=N)
    mine = GCNConvolution(in_dim, out_dim).to(dtype)
    theirs = geometric.GCNConv(in_dim, out_dim).to(dtype)
    torch.nn.init.uniform_(theirs.bias)
    pairs = [(mine.weight, theirs.lin.weight), (mine.bias, theirs.bias)]
    copied(pairs)
    x = torch.randn(N, in_dim, dtype=dtype, requires_grad=True)
    edge = torch.rand(graph.num_edges, dtype=dtype, requires_grad=True) if weighted else None
    expected = theirs(x, edge_index, edge)
    inputs = [x] if edge is None else [x, edge]
    same_layer(mine(x, graph, edge_weight=edge), expected, inputs, pairs)


@pytest.mark.parametrize("layer", [GCNConvolution, GraphConvolution])
def test_a_batch_shares_the_graph_and_its_weights(layer, graph, close):
    mine = layer(4, 6).double()
    x = torch.randn(2, 3, graph.num_targets, 4, dtype=torch.float64)
    edge = torch.rand(graph.num_edges, dtype=torch.float64)
    one_by_one = torch.stack([mine(item, graph, edge_weight=edge) for item in x.flatten(0, 1)])
    close(mine(x, graph, edge_weight=edge).flatten(0, 1), one_by_one)
    close(mine(x, graph, edge_weight=edge.expand(2, 3, -1)).flatten(0, 1), one_by_one)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("symbolic", [Window(12, left=2, right=1), Complete(12), SelfLoops(12)])
@pytest.mark.parametrize("layer", [GCNConvolution, GraphConvolution])
def test_a_symbolic_graph_is_its_edges(layer, symbolic, close):
    mine = layer(4, 6).double()
    x = torch.randn(12, 4, dtype=torch.float64)
    pairs = edges(symbolic)
    listed = EdgeList(torch.stack([pairs.source, pairs.target]), num_nodes=12)
    close(mine(x, symbolic), mine(x, listed))


@pytest.mark.usefixtures("seeded")
def test_what_evaluation_worked_out_can_be_trained_with():
    graph = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
    layer, x = GCNConvolution(4, 2), torch.randn(3, 4)
    with torch.inference_mode():
        before = layer(x, graph)
    out = layer(x, graph)
    out.sum().backward()
    assert torch.equal(out, before)


@pytest.mark.usefixtures("seeded")
def test_weights_that_sum_to_zero_scale_by_zero_without_nan():
    graph = EdgeList([[0, 1, 1], [0, 0, 1]], num_nodes=2)
    edge = torch.zeros(3, requires_grad=True)
    layer, x = GCNConvolution(4, 2), torch.randn(2, 4, requires_grad=True)
    out = layer(x, graph, edge_weight=edge)
    assert torch.equal(out, layer.bias.expand(2, -1))
    for gradient in torch.autograd.grad(out.sum(), [x, edge]):
        assert gradient.isfinite().all()


def test_graph_convolution_reads_other_nodes(close):
    layer = GraphConvolution(4, 3).double()
    bipartite = EdgeList([[0, 4, 2], [1, 1, 0]], num_targets=2, num_sources=5)
    x, source = torch.randn(2, 4).double(), torch.randn(5, 4).double()
    value = layer.neighbor_proj(source)
    expected = layer.self_proj(x) + torch.stack([value[2], value[0] + value[4]])
    close(layer(x, bipartite, source=source), expected)


def test_weights_are_redrawn_and_described():
    pooled = GraphConvolution(4, 3, reduce="max", message="pool")
    assert "reduce='max', message='pool', normalize=False" in repr(pooled)
    for layer in (pooled, GCNConvolution(4, 3)):
        before = [parameter.clone() for parameter in layer.parameters()]
        layer.reset_parameters()
        changed = zip(before, layer.parameters(), strict=True)
        assert not any(torch.equal(a, b) for a, b in changed if a.any())
        assert "4, 3" in repr(layer)
    assert list(GCNConvolution(4, 3, bias=False).state_dict()) == ["weight"]


def test_what_does_not_fit_is_refused():
    graph, bipartite = SelfLoops(3), Complete(3, 5)
    with pytest.raises(ArgumentError, match="reduce must be one of 'sum', 'mean', 'max', got 'me"):
        GraphConvolution(4, 3, reduce="median")
    with pytest.raises(ArgumentError, match="message must be one of 'linear', 'features', 'pool',"):
        GraphConvolution(4, 3, message="lstm")
    with pytest.raises(ArgumentError, match=r"activation must be one of 'relu', .* got 'step'"):
        GraphConvolution(4, 3, activation="step")
    layer, gcn = GraphConvolution(4, 3), GCNConvolution(4, 3)
    for each in (layer, gcn):
        with pytest.raises(ShapeError, match=r"x has 5 features .* in_dim=4"):
            each(torch.zeros(3, 5), graph)
        with pytest.raises(ShapeError, match="x has 2 nodes but graph has 3 targets"):
            each(torch.zeros(2, 4), graph)
        with pytest.raises(ShapeError, match="edge_weight holds one number for every edge"):
            each(torch.zeros(3, 4), graph, edge_weight=torch.zeros(3, 1))
    with pytest.raises(ShapeError, match="source has 2 features"):
        layer(torch.zeros(3, 4), bipartite, source=torch.zeros(5, 2))
    with pytest.raises(ArgumentError, match="source must be left out"):
        gcn(torch.zeros(3, 4), bipartite, source=torch.zeros(5, 4))
    with pytest.raises(ShapeError, match="must be square, got 3 targets and 5 sources"):
        gcn(torch.zeros(3, 4), bipartite)
