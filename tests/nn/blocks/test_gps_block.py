"""A GPSBlock is its formula over two graphs."""

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, Complete, EdgeList, Hubs, RandomRegular
from edgewise.nn import (
    MLP,
    DotAttention,
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINEConvolution,
    GPSBlock,
    GraphConvolution,
)
from edgewise.ops import RelativeBias

BONDS = EdgeList([[0, 1, 1, 3, 4, 4, 5], [1, 0, 0, 4, 3, 5, 4]], num_nodes=7)  # 0-2, 3-6
SIZES = [3, 4]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("norm", ["batch", "layer", "rms", None])
@pytest.mark.parametrize(
    "everywhere",
    [Blocks(SIZES), Complete(7), RandomRegular(7, degree=2) | Hubs(7, [0])],
    ids=["batch", "all", "sparse"],
)
def test_it_is_its_formula(dtype, same_layer, norm, everywhere):
    local, attention = GINEConvolution(MLP(6, 8), 6, edge_dim=2), DotAttention(6, heads=2)
    block = GPSBlock(local, attention, 6, norm=norm).to(dtype)
    x = torch.randn(7, 6, dtype=dtype, requires_grad=True)
    edge = torch.randn(7, 2, dtype=dtype, requires_grad=True)
    message = block.local.mixer_norm(x + local(x, BONDS, edge=edge))
    reached = block.attention.mixer_norm(x + attention(x, everywhere))
    both = message + reached
    expected = block.mlp_norm(both + block.mlp(both))
    out = block(x, BONDS, everywhere=everywhere, edge=edge)
    same_layer(out, expected, [x, edge], [(p, p) for p in block.parameters()])


@pytest.mark.usefixtures("seeded")
def test_graphs_of_a_batch_do_not_see_one_another():
    block = GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6, norm="layer").double()
    x = torch.randn(7, 6, dtype=torch.float64)
    moved = x.clone()
    moved[3:] += 1
    before, after = (block(t, BONDS, everywhere=Blocks(SIZES)) for t in (x, moved))
    assert torch.equal(before[:3], after[:3])
    every = [block(t, BONDS, everywhere=Complete(7)) for t in (x, moved)]
    assert not torch.allclose(every[0][:3], every[1][:3])


@pytest.mark.usefixtures("seeded")
def test_a_bias_reaches_the_attention_and_weights_the_edges(close):
    block = GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6).double().eval()
    x = torch.randn(7, 6, dtype=torch.float64)
    graph = EdgeList(BONDS.edge_index[:, [0, 1, 3, 4, 5, 6]], num_nodes=7)
    plain = block(x, graph, everywhere=Complete(7))
    doubled = block(
        x, graph, everywhere=Complete(7), edge_weight=2 * torch.ones(6, dtype=torch.float64)
    )
    assert not torch.allclose(doubled, plain)
    zero, far = torch.zeros(2, 49).double(), torch.randn(2, 49).double()
    close(block(x, graph, everywhere=Complete(7), score_bias=zero), plain)
    assert not torch.allclose(block(x, graph, everywhere=Complete(7), score_bias=far), plain)
    table = RelativeBias(torch.randn(1, 3, dtype=torch.float64), first=-1)
    assert not torch.allclose(block(x, graph, everywhere=Complete(7), score_bias=table), plain)


@pytest.mark.usefixtures("seeded")
def test_any_two_mixers_go_together():
    for local in (GraphConvolution(6, 6), GATAttention(6, 3, 2)):
        block = GPSBlock(local, GATv2Attention(6, 3, 2), 6, mlp=nn.Identity())
        assert block(torch.randn(2, 7, 6), BONDS, everywhere=Complete(7)).shape == (2, 7, 6)


@pytest.mark.usefixtures("seeded")
def test_dropout_acts_in_training_only():
    block = GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6, dropout=0.5)
    assert block.mlp.dropout.p == block.local.dropout.p == block.dropout.p == 0.5
    x = torch.randn(7, 6)
    assert not torch.equal(*(block(x, BONDS, everywhere=Complete(7)) for _ in range(2)))
    block.eval()
    assert torch.equal(*(block(x, BONDS, everywhere=Complete(7)) for _ in range(2)))


def test_what_does_not_fit_is_refused():
    block = GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6, norm_eps=1e-3)
    assert block.mlp_norm.eps == block.local.mixer_norm.eps == 1e-3
    with pytest.raises(TypeError, match="everywhere"):
        block(torch.zeros(7, 6), BONDS)
    with pytest.raises(ShapeError, match="x has 5 features"):
        block(torch.zeros(7, 5), BONDS, everywhere=Complete(7))
    with pytest.raises(ShapeError, match=r"must keep the shape \[7, 6\], got \[7, 3\]"):
        GPSBlock(GCNConvolution(6, 3), DotAttention(6, heads=2), 6)(
            torch.zeros(7, 6), BONDS, everywhere=Complete(7)
        )
    with pytest.raises(ArgumentError, match="GPSBlock: norm must be one of"):
        GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6, norm="graph")
    with pytest.raises(ArgumentError, match="GPSBlock: dropout must be at least 0"):
        GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6, dropout=1.5)
    with pytest.raises(ArgumentError, match="GPSBlock: dim must be at least 1"):
        GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 0)
