"""A Block with the right settings is torch's Transformer layer; an MLP is its two linear layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Causal, Complete, SelfLoops
from edgewise.nn import MLP, BatchNorm, Block, DotAttention, GATAttention, GraphConvolution


def transformer_layer(block: Block, order: str, activation: str) -> nn.TransformerEncoderLayer:
    """torch's layer with the weights of the block."""
    attention, mlp = block.mixer, block.mlp
    theirs = nn.TransformerEncoderLayer(
        block.dim,
        attention.heads,
        mlp.hidden,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=order == "pre",
    )
    theirs = theirs.to(attention.q_proj.weight.dtype)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    for other, mine in zip(
        (theirs.self_attn.out_proj, theirs.linear1, theirs.linear2, theirs.norm1, theirs.norm2),
        (attention.out_proj, mlp.up_proj, mlp.down_proj, block.mixer_norm, block.mlp_norm),
        strict=True,
    ):
        other.load_state_dict(mine.state_dict())
    return theirs


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_torchs_transformer_layer(dtype, same_layer, order, activation, causal):
    mlp = MLP(12, 40, activation=activation)
    block = Block(DotAttention(12, heads=3), 12, order=order, mlp=mlp).to(dtype)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    theirs = transformer_layer(block, order, activation)
    x = torch.randn(2, 8, 12, dtype=dtype, requires_grad=True)
    hidden = torch.ones(8, 8, dtype=torch.bool).triu(1) if causal else None
    pairs = [
        (block.mixer.out_proj.weight, theirs.self_attn.out_proj.weight),
        (block.mlp.up_proj.weight, theirs.linear1.weight),
        (block.mlp.down_proj.bias, theirs.linear2.bias),
        (block.mixer_norm.weight, theirs.norm1.weight),
        (block.mlp_norm.bias, theirs.norm2.bias),
    ]
    out = block(x, Causal(8) if causal else Complete(8))
    same_layer(out, theirs(x, src_mask=hidden), [x], pairs)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("norm", ["layer", "rms", "batch", None])
@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("with_mlp", [True, False])
def test_every_setting_is_its_formula(close, norm, order, residual, with_mlp):
    block = Block(
        GraphConvolution(6, 6),
        6,
        norm=norm,
        order=order,
        residual=residual,
        mlp=MLP(6, 9) if with_mlp else None,
    ).double()
    graph, x = Causal(5), torch.randn(3, 5, 6).double()
    expected = x
    steps = [(lambda h: block.mixer(h, graph), block.mixer_norm)]
    for sublayer, layer_norm in [*steps, (block.mlp, block.mlp_norm)][: 1 + with_mlp]:
        if order == "pre":
            expected = residual * expected + sublayer(layer_norm(expected))
        else:
            expected = layer_norm(residual * expected + sublayer(expected))
    close(block(x, graph), expected)


@pytest.mark.usefixtures("seeded")
def test_edge_features_reach_the_mixer():
    block = Block(DotAttention(6, heads=2, edge_dim=3), 6)
    x, edge = torch.randn(4, 6), torch.randn(16, 3, requires_grad=True)
    out = block(x, Complete(4), edge=edge)
    assert torch.autograd.grad(out.sum(), edge)[0].abs().max() > 0


@pytest.mark.usefixtures("seeded")
def test_batch_norm_counts_every_node_of_every_graph(close):
    norm, theirs = BatchNorm(6).double(), nn.BatchNorm1d(6).double()
    x = torch.randn(3, 5, 6).double()
    close(norm(x), theirs(x.transpose(1, 2)).transpose(1, 2))
    close(norm(x[0]), theirs(x[0]))
    close(norm.running_var, theirs.running_var)


@pytest.mark.usefixtures("seeded")
def test_dropout_acts_in_training_only():
    block = Block(GraphConvolution(6, 6), 6, mlp=MLP(6, 12, dropout=0.5), dropout=0.5)
    x, graph = torch.randn(8, 6), Complete(8)
    assert not torch.equal(block(x, graph), block(x, graph))
    block.eval()
    assert torch.equal(block(x, graph), block(x, graph))


@pytest.mark.parametrize(
    ("activation", "function"),
    [("relu", F.relu), ("gelu", F.gelu), ("silu", F.silu), ("elu", F.elu)],
)
def test_an_mlp_is_two_linear_layers(close, activation, function):
    mlp = MLP(6, 10, out_dim=4, activation=activation).double()
    x = torch.randn(2, 5, 6).double()
    close(mlp(x), mlp.down_proj(function(mlp.up_proj(x))))


def test_swiglu_has_a_gate(close):
    mlp = MLP(6, 10, activation="swiglu", bias=False).double()
    x = torch.randn(5, 6).double()
    gate = x @ mlp.gate_proj.weight.T
    expected = (gate * gate.sigmoid() * (x @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
    close(mlp(x), expected)
    assert list(mlp.state_dict()) == ["gate_proj.weight", "up_proj.weight", "down_proj.weight"]
    mlp.reset_parameters()
    assert not torch.allclose(mlp(x), expected)


def test_settings_are_printed():
    text = repr(Block(GraphConvolution(6, 6), 6, order="post", mlp=MLP(6, 9, activation="gelu")))
    assert "order='post', residual=True" in text
    assert "activation='gelu'" in text


def test_what_does_not_fit_is_refused():
    mixer, graph = GraphConvolution(6, 6), SelfLoops(3)
    with pytest.raises(ArgumentError, match="norm must be one of 'layer', 'rms', 'batch', None, "):
        Block(mixer, 6, norm="instance")
    with pytest.raises(ArgumentError, match="order must be one of 'pre', 'post', 'rezero'"):
        Block(mixer, 6, order="middle")
    with pytest.raises(ArgumentError, match="Block: dropout must be at least 0 and below 1, got 2"):
        Block(mixer, 6, dropout=2.0)
    with pytest.raises(ArgumentError, match="'elu', 'swiglu', got 'geglu'"):
        MLP(6, 9, activation="geglu")
    with pytest.raises(ShapeError, match=r"Block: x has 5 features .* dim=6"):
        Block(mixer, 6)(torch.zeros(3, 5), graph)
    with pytest.raises(ShapeError, match=r"MLP: x has 5 features .* dim=6"):
        MLP(6, 9)(torch.zeros(3, 5))
    with pytest.raises(ShapeError, match=r"must keep the shape \[3, 6\], got \[3, 1\]"):
        Block(GATAttention(6, 1, heads=1), 6)(torch.zeros(3, 6), graph)


def test_without_residual_a_mixer_may_change_the_width():
    block = Block(GATAttention(6, 4, heads=2), 6, norm=None, residual=False)
    assert block(torch.zeros(3, 6), SelfLoops(3)).shape == (3, 8)
