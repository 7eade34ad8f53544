"""GATAttention and GATv2Attention are the layers of the papers, as PyG computes them."""

import pytest
import torch
from torch import nn
from torch_geometric import nn as geometric

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import EdgeList, SelfLoops
from edgewise.nn import GATAttention, GATv2Attention


def gat_pairs(mine, theirs):
    pairs = [
        (mine.proj.weight, theirs.lin.weight),
        (mine.a_target, theirs.att_dst),
        (mine.a_source, theirs.att_src),
    ]
    if mine.edge_proj is not None:
        pairs += [(mine.edge_proj.weight, theirs.lin_edge.weight), (mine.a_edge, theirs.att_edge)]
    return pairs if mine.bias is None else [*pairs, (mine.bias, theirs.bias)]


def gatv2_pairs(mine, theirs):
    pairs = [
        (mine.target_proj.weight, theirs.lin_r.weight),
        (mine.source_proj.weight, theirs.lin_l.weight),
        (mine.a, theirs.att),
    ]
    if mine.edge_proj is not None:
        pairs += [(mine.edge_proj.weight, theirs.lin_edge.weight)]
    if mine.bias is None:
        return pairs
    return [
        *pairs,
        (mine.target_proj.bias, theirs.lin_r.bias),
        (mine.source_proj.bias, theirs.lin_l.bias),
        (mine.bias, theirs.bias),
    ]


LAYERS = {
    "gat": (GATAttention, geometric.GATConv, gat_pairs),
    "gatv2": (GATv2Attention, geometric.GATv2Conv, gatv2_pairs),
}


@pytest.fixture(params=LAYERS)
def twins(request, copied):
    """A function that builds our layer and PyG's with the same random weights."""
    ours, theirs, paired = LAYERS[request.param]

    def build(dtype, in_dim, out_dim, heads, **settings):
        mine = ours(in_dim, out_dim, heads, **settings).to(dtype)
        other = theirs(in_dim, out_dim, heads, add_self_loops=False, **settings).to(dtype)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.uniform_(-0.7, 0.7)
        pairs = paired(mine, other)
        copied(pairs)
        return mine, other, pairs

    return build


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize("edge_dim", [None, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_pyg(twins, graph, dtype, same_layer, concat, edge_dim, bias):
    settings = {"concat": concat, "edge_dim": edge_dim, "bias": bias, "negative_slope": 0.3}
    mine, theirs, pairs = twins(dtype, 6, 4, 3, **settings)
    x = torch.randn(graph.num_targets, 6, dtype=dtype, requires_grad=True)
    inputs, edge = [x], None
    if edge_dim is not None:
        edge = torch.randn(graph.num_edges, edge_dim, dtype=dtype, requires_grad=True)
        inputs.append(edge)
    expected = theirs(x, graph.edge_index, edge)
    same_layer(mine(x, graph, edge=edge), expected, inputs, pairs)


def test_self_loops_of_the_graph_are_those_of_pyg(twins, graph, dtype, same_layer):
    mine, theirs, pairs = twins(dtype, 6, 4, 2)
    theirs.add_self_loops = True
    x = torch.randn(graph.num_targets, 6, dtype=dtype, requires_grad=True)
    looped = graph | SelfLoops(graph.num_targets)
    same_layer(mine(x, looped), theirs(x, graph.edge_index), [x], pairs)


@pytest.mark.usefixtures("seeded")
def test_between_two_sets_of_nodes_it_equals_pyg(twins, dtype, same_layer):
    mine, theirs, pairs = twins(dtype, 6, 4, 2)
    x = torch.randn(5, 6, dtype=dtype, requires_grad=True)
    source = torch.randn(9, 6, dtype=dtype, requires_grad=True)
    edge_index = torch.stack([torch.randint(9, (20,)), torch.randint(5, (20,))])
    bipartite = EdgeList(edge_index, num_targets=5, num_sources=9)
    expected = theirs((source, x), edge_index)
    same_layer(mine(x, bipartite, source=source), expected, [x, source], pairs)


@pytest.mark.usefixtures("seeded")
def test_edges_that_occur_twice_count_twice_as_in_pyg(twins, dtype, same_layer):
    mine, theirs, pairs = twins(dtype, 6, 4, 2)
    graph = EdgeList([[0, 0, 1, 2, 2], [1, 1, 1, 0, 1]], num_nodes=3)
    x = torch.randn(3, 6, dtype=dtype, requires_grad=True)
    same_layer(mine(x, graph), theirs(x, graph.edge_index), [x], pairs)


def test_a_batch_shares_the_graph(twins, graph, close):
    mine, _, _ = twins(torch.float64, 6, 4, 2, edge_dim=3)
    x = torch.randn(3, graph.num_targets, 6, dtype=torch.float64)
    edge = torch.randn(graph.num_edges, 3, dtype=torch.float64)
    one_by_one = torch.stack([mine(item, graph, edge=edge) for item in x])
    close(mine(x, graph, edge=edge), one_by_one)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("layer", [GATAttention, GATv2Attention])
def test_a_target_without_sources_gets_the_bias(layer):
    mine = layer(3, 4, 2)
    nn.init.uniform_(mine.bias)
    out = mine(torch.randn(3, 3), EdgeList([[1], [0]], num_nodes=3))
    torch.testing.assert_close(out[1:], mine.bias.expand(2, -1))


@pytest.mark.parametrize("layer", [GATAttention, GATv2Attention])
def test_weights_are_redrawn_and_saved(layer):
    mine, other = layer(3, 4, 2, edge_dim=5), layer(3, 4, 2, edge_dim=5)
    other.load_state_dict(mine.state_dict())
    other.reset_parameters()
    for (name, a), b in zip(mine.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) == ("bias" in name), name
    assert "3, 4, heads=2, concat=True, negative_slope=0.2, edge_dim=5" in repr(mine)


@pytest.mark.parametrize("layer", [GATAttention, GATv2Attention])
def test_what_does_not_fit_is_refused(layer):
    name, graph = layer.__name__, SelfLoops(3)
    with pytest.raises(ArgumentError, match=f"{name}: heads must be at least 1, got 0"):
        layer(3, 4, 0)
    with pytest.raises(ArgumentError, match=f"{name}: dropout must be at least 0"):
        layer(3, 4, 2, dropout=-0.1)
    mine = layer(3, 4, 2)
    with pytest.raises(ShapeError, match=f"{name}: x has 5 features .* in_dim=3"):
        mine(torch.zeros(3, 5), graph)
    with pytest.raises(ShapeError, match=f"{name}: source has 5 features"):
        mine(torch.zeros(3, 3), graph, source=torch.zeros(3, 5))
    with pytest.raises(ArgumentError, match=f"{name}: edge was given"):
        mine(torch.zeros(3, 3), graph, edge=torch.zeros(3, 1))
    with pytest.raises(ArgumentError, match=f"{name}: edge is missing"):
        layer(3, 4, 2, edge_dim=1)(torch.zeros(3, 3), graph)
