"""DotAttention is the attention that other libraries have."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as geometric

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Causal, Complete, EdgeList, SelfLoops
from edgewise.nn import DotAttention


def torch_attention(layer: DotAttention) -> nn.MultiheadAttention:
    """torch's layer with the same weights."""
    theirs = nn.MultiheadAttention(layer.dim, layer.heads, batch_first=True)
    theirs = theirs.to(layer.out_proj.weight.dtype)
    projections = (layer.q_proj, layer.k_proj, layer.v_proj)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        theirs.out_proj.load_state_dict(layer.out_proj.state_dict())
    return theirs


def randomized(layer: nn.Module) -> nn.Module:
    """Biases too: they start at zero, where they would hide."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.5, 0.5)
    return layer


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("causal", [False, True])
def test_over_complete_and_causal_it_is_torchs_multihead_attention(
    dtype, same_layer, close, causal
):
    layer = randomized(DotAttention(24, heads=3).to(dtype))
    theirs = torch_attention(layer)
    x = torch.randn(2, 9, 24, dtype=dtype, requires_grad=True)
    hidden = torch.ones(9, 9, dtype=torch.bool).triu(1) if causal else None
    expected, _ = theirs(x, x, x, attn_mask=hidden, need_weights=False)
    out = layer(x, Causal(9) if causal else Complete(9))
    same_layer(out, expected, [x], [(layer.out_proj.weight, theirs.out_proj.weight)])
    # The gradient of torch's one input projection is the three of ours, one below the other.
    ours = torch.autograd.grad(
        layer(x, Complete(9)).sum(), [p.weight for p in (layer.q_proj, layer.k_proj, layer.v_proj)]
    )
    fused = torch.autograd.grad(theirs(x, x, x)[0].sum(), theirs.in_proj_weight)[0]
    close(torch.cat(ours), fused)


@pytest.mark.usefixtures("seeded")
def test_between_two_sets_of_nodes_it_is_torchs_cross_attention(dtype, same_layer):
    layer = randomized(DotAttention(16, heads=4).to(dtype))
    theirs = torch_attention(layer)
    x = torch.randn(3, 5, 16, dtype=dtype, requires_grad=True)
    source = torch.randn(3, 8, 16, dtype=dtype, requires_grad=True)
    expected, _ = theirs(x, source, source, need_weights=False)
    same_layer(layer(x, Complete(5, 8), source=source), expected, [x, source])


def test_with_edge_features_it_is_transformer_conv(graph, dtype, same_layer):
    layer = randomized(DotAttention(12, heads=3, edge_dim=5).to(dtype))
    nn.init.eye_(layer.out_proj.weight)
    nn.init.zeros_(layer.out_proj.bias)
    theirs = geometric.TransformerConv(12, 4, heads=3, edge_dim=5, root_weight=False).to(dtype)
    pairs = [
        (layer.q_proj, theirs.lin_query),
        (layer.k_proj, theirs.lin_key),
        (layer.v_proj, theirs.lin_value),
        (layer.edge_proj, theirs.lin_edge),
    ]
    for mine, other in pairs:
        other.load_state_dict(mine.state_dict())
    x = torch.randn(graph.num_targets, 12, dtype=dtype, requires_grad=True)
    edge = torch.randn(graph.num_edges, 5, dtype=dtype, requires_grad=True)
    expected = theirs(x, graph.edge_index, edge)
    weights = [(mine.weight, other.weight) for mine, other in pairs]
    same_layer(layer(x, graph, edge=edge), expected, [x, edge], weights)


@pytest.mark.usefixtures("seeded")
def test_grouped_queries_are_repeated_keys_and_values(close):
    few = DotAttention(24, heads=6, kv_heads=2, head_dim=8).double()
    many = DotAttention(24, heads=6, head_dim=8).double()

    def repeated(values: Tensor) -> Tensor:
        return values.unflatten(0, (2, 8)).repeat_interleave(3, 0).flatten(0, 1)

    state = few.state_dict()
    for name in ("k_proj", "v_proj"):
        for part in ("weight", "bias"):
            state[f"{name}.{part}"] = repeated(state[f"{name}.{part}"])
    many.load_state_dict(state)
    x = torch.randn(2, 7, 24, dtype=torch.float64)
    close(few(x, Causal(7)), many(x, Causal(7)))


def test_a_batch_shares_the_graph_and_its_edge_features(graph, close):
    layer = DotAttention(8, heads=2, edge_dim=3).double()
    x = torch.randn(4, graph.num_targets, 8, dtype=torch.float64)
    edge = torch.randn(graph.num_edges, 3, dtype=torch.float64)
    one_by_one = torch.stack([layer(item, graph, edge=edge) for item in x])
    close(layer(x, graph, edge=edge), one_by_one)
    close(layer(x, graph, edge=edge.expand(4, -1, -1)), one_by_one)


def test_edge_features_follow_the_columns_of_the_edge_list(graph, close):
    layer = DotAttention(8, heads=2, edge_dim=3).double()
    x = torch.randn(graph.num_targets, 8, dtype=torch.float64)
    edge = torch.randn(graph.num_edges, 3, dtype=torch.float64)
    order = torch.randperm(graph.num_edges)
    shuffled = EdgeList(graph.edge_index[:, order], num_nodes=graph.num_targets)
    close(layer(x, shuffled, edge=edge[order]), layer(x, graph, edge=edge))


@pytest.mark.usefixtures("seeded")
def test_a_target_without_sources_gets_the_bias():
    layer = randomized(DotAttention(6, heads=2))
    x = torch.randn(3, 6, requires_grad=True)
    out = layer(x, EdgeList([[1], [0]], num_nodes=3))
    torch.testing.assert_close(out[1:], layer.out_proj.bias.expand(2, -1))
    gradient = torch.autograd.grad(out[1:].sum(), x)[0]
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.usefixtures("seeded")
def test_dropout_acts_in_training_only():
    layer = DotAttention(8, heads=2, dropout=0.5)
    x = torch.randn(2, 12, 8)
    assert not torch.equal(layer(x, Complete(12)), layer(x, Complete(12)))
    layer.eval()
    assert torch.equal(layer(x, Complete(12)), layer(x, Complete(12)))


def test_parameters_have_conventional_names_and_are_redrawn():
    layer = DotAttention(8, heads=2, edge_dim=3, bias=False)
    names = ["q_proj", "k_proj", "v_proj", "out_proj", "edge_proj"]
    assert list(layer.state_dict()) == [f"{name}.weight" for name in names]
    before = layer.q_proj.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.q_proj.weight)
    assert "heads=2, head_dim=4, kv_heads=2, edge_dim=3" in repr(layer)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 10, "heads": 4}, "dim=10 cannot be divided among heads=4"),
        ({"dim": 8, "heads": 4, "kv_heads": 3}, "heads must be a multiple of kv_heads"),
        ({"dim": 8, "heads": 4, "kv_heads": 0}, "kv_heads must be at least 1, got 0"),
        ({"dim": 8, "heads": 4, "head_dim": 0}, "head_dim must be at least 1, got 0"),
        ({"dim": 8, "heads": 0}, "heads must be at least 1, got 0"),
        ({"dim": 8.0, "heads": 4}, r"dim must be a whole number, got 8.0 \(float\)"),
        ({"dim": 8, "heads": 4, "dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, sentence):
    with pytest.raises(ArgumentError, match=f"DotAttention: {sentence}"):
        DotAttention(**settings)


def test_features_that_do_not_fit_are_refused():
    layer, loops = DotAttention(8, heads=2), SelfLoops(3)
    with pytest.raises(ShapeError, match=r"x has 7 features but the layer was built with dim=8"):
        layer(torch.zeros(3, 7), loops)
    with pytest.raises(ShapeError, match=r"source has 7 features"):
        layer(torch.zeros(3, 8), loops, source=torch.zeros(3, 7))
    with pytest.raises(ShapeError, match=r"x must have shape \[\*batch, nodes, 8\], got \[8\]"):
        layer(torch.zeros(8), loops)
    with pytest.raises(ShapeError, match="4"):
        layer(torch.zeros(4, 8), loops)
    with pytest.raises(ArgumentError, match="built without edge_dim and would ignore it"):
        layer(torch.zeros(3, 8), loops, edge=torch.zeros(3, 2))
    layer = DotAttention(8, heads=2, edge_dim=2)
    with pytest.raises(ArgumentError, match="edge is missing, but the layer was built with"):
        layer(torch.zeros(3, 8), loops)
    with pytest.raises(ShapeError, match=r"edge has 5 features .* edge_dim=2"):
        layer(torch.zeros(3, 8), loops, edge=torch.zeros(3, 5))
