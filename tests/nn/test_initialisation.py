"""Layers start as the originals do: as many parameters, drawn from the same distributions."""

import pytest
import torch
from torch import nn
from torch_geometric import nn as geometric

from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    GCNConvolution,
    GINConvolution,
    GINEConvolution,
    GPSBlock,
)
from edgewise.nn.layer import reset
from edgewise.testing import LAYERS, MESSAGE_LAYERS, LayerSizes

DRAWS = 300


def two_linear():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6))


def message_layer(name, **sizes):
    """How to build a layer of the registry."""
    return lambda: MESSAGE_LAYERS[name].build(LayerSizes(in_dim=6, **sizes))


MLP_PAIRS = {"mlp.up_proj": "nn.0", "mlp.down_proj": "nn.2"}


def linears(pairs):
    """Weights and biases of linear layers: our name to theirs."""
    return {f"{a}.{k}": f"{b}.{k}" for a, b in pairs.items() for k in ("weight", "bias")}


# Ours, the original, and which parameter of ours is which of theirs.
SAME = {
    "gcn": (
        message_layer("GCN", out_dim=4),
        lambda: geometric.GCNConv(6, 4),
        {"weight": "lin.weight", "bias": "bias"},
    ),
    "graph convolution": (
        message_layer("message passing", out_dim=4),
        lambda: geometric.GraphConv(6, 4),
        {
            "self_proj.weight": "lin_root.weight",
            "self_proj.bias": "lin_rel.bias",
            "neighbor_proj.weight": "lin_rel.weight",
        },
    ),
    "sage": (
        message_layer("GraphSAGE with pooling", out_dim=4),
        lambda: geometric.SAGEConv(6, 4, "max", project=True),
        {
            "self_proj.weight": "lin_r.weight",
            "self_proj.bias": "lin_l.bias",
            "neighbor_proj.weight": "lin_l.weight",
            **linears({"pool_proj": "lin"}),
        },
    ),
    "gin": (
        lambda: GINConvolution(MLP(6, 9), eps=0.5, train_eps=True),
        lambda: geometric.GINConv(two_linear(), eps=0.5, train_eps=True),
        {"eps": "eps", **linears(MLP_PAIRS)},
    ),
    "gine": (
        lambda: GINEConvolution(MLP(6, 9), 6, edge_dim=3, train_eps=True),
        lambda: geometric.GINEConv(two_linear(), edge_dim=3, train_eps=True),
        {"eps": "eps", **linears({**MLP_PAIRS, "edge_proj": "lin"})},
    ),
    "gat": (
        message_layer("GAT", out_dim=12, edge_dim=5, heads=3),
        lambda: geometric.GATConv(6, 4, 3, edge_dim=5),
        {
            "proj.weight": "lin.weight",
            "edge_proj.weight": "lin_edge.weight",
            "a_target": "att_dst",
            "a_source": "att_src",
            "a_edge": "att_edge",
            "bias": "bias",
        },
    ),
    "gatv2": (
        message_layer("GATv2", out_dim=12, edge_dim=5, heads=3),
        lambda: geometric.GATv2Conv(6, 4, 3, edge_dim=5),
        {
            "target_proj.weight": "lin_r.weight",
            "source_proj.weight": "lin_l.weight",
            "edge_proj.weight": "lin_edge.weight",
            "a": "att",
            "bias": "bias",
        },
    ),
    "monet": (
        message_layer("MoNet", out_dim=4, heads=3),
        lambda: geometric.GMMConv(6, 4, 2, 3),
        {
            "kernel_proj.weight": "g",
            "mu": "mu",
            "sigma": "sigma",
            "root_proj.weight": "root.weight",
            "bias": "bias",
        },
    ),
    "monet, separate": (
        message_layer("MoNet, separate", out_dim=4, heads=3),
        lambda: geometric.GMMConv(6, 4, 2, 3, separate_gaussians=True),
        {"kernel_proj.weight": "g", "mu": "mu", "sigma": "sigma"},
    ),
    "transformer": (
        message_layer("TransformerConvolution", out_dim=12, edge_dim=5, heads=3),
        lambda: geometric.TransformerConv(6, 4, 3, edge_dim=5, beta=True),
        {
            **linears(
                {
                    "q_proj": "lin_query",
                    "k_proj": "lin_key",
                    "v_proj": "lin_value",
                    "root_proj": "lin_skip",
                }
            ),
            "edge_proj.weight": "lin_edge.weight",
            "beta_proj.weight": "lin_beta.weight",
        },
    ),
    "gps": (
        lambda: GPSBlock(GCNConvolution(6, 6), DotAttention(6, heads=2), 6),
        lambda: geometric.GPSConv(6, geometric.GCNConv(6, 6), heads=2),
        {
            **linears({"mlp.up_proj": "mlp.0", "mlp.down_proj": "mlp.3"}),
            **linears({"mlp_norm": "norm3.module", "local.mixer_norm": "norm1.module"}),
            "local.mixer.weight": "conv.lin.weight",
            "attention.mixer.q_proj.bias": "attn.in_proj_bias",
            "attention.mixer.out_proj.bias": "attn.out_proj.bias",
        },
    ),
    "block": (
        lambda: Block(DotAttention(6, heads=2), 6, order="post", mlp=MLP(6, 9)),
        lambda: nn.TransformerEncoderLayer(6, 2, 9),
        {
            **linears({"mlp.up_proj": "linear1", "mlp.down_proj": "linear2"}),
            **linears({"mixer_norm": "norm1", "mlp_norm": "norm2"}),
            "mixer.v_proj.bias": "self_attn.in_proj_bias",
        },
    ),
    "attention of two widths": (
        lambda: DotAttention(6, heads=2, source_dim=4),
        lambda: nn.MultiheadAttention(6, 2, kdim=4, vdim=4),
        {
            "q_proj.weight": "q_proj_weight",
            "k_proj.weight": "k_proj_weight",
            "v_proj.weight": "v_proj_weight",
            "out_proj.bias": "out_proj.bias",
        },
    ),
}
# Where ours differs on purpose: how much larger its bound is than that of the original, which
# draws queries, keys and values as one matrix, and what comes out as torch.nn.Linear does.
LARGER = {
    ("attention", "q_proj.weight", "in_proj_weight"): 2**0.5,
    ("attention", "k_proj.weight", "in_proj_weight"): 2**0.5,
    ("attention", "v_proj.weight", "in_proj_weight"): 2**0.5,
    ("attention", "out_proj.weight", "out_proj.weight"): 3**0.5,
    ("gatv2", "target_proj.bias", "lin_r.bias"): 0.0,
    ("gatv2", "source_proj.bias", "lin_l.bias"): 0.0,
}


def draws(build, names):
    """All that was drawn for each parameter of many layers: ``[DRAWS, numbers]``."""
    layers = [dict(build().named_parameters()) for _ in range(DRAWS)]
    with torch.no_grad():
        return {name: torch.stack([own[name].flatten() for own in layers]) for name in names}


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", SAME)
def test_as_many_parameters_from_the_same_distributions(name):
    ours, theirs, pairs = SAME[name]
    counts = [sum(p.numel() for p in build().parameters()) for build in (ours, theirs)]
    assert counts[0] == counts[1]
    mine, other = draws(ours, pairs), draws(theirs, pairs.values())
    for a, b in pairs.items():
        alike(mine[a], other[b], 1.0, a)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(("name", "mine", "other"), LARGER)
def test_what_differs_on_purpose_differs_by_so_much(name, mine, other):
    ours, theirs = (
        SAME[name][:2]
        if name in SAME
        else (
            lambda: DotAttention(6, heads=2),
            lambda: nn.MultiheadAttention(6, 2),
        )
    )
    alike(draws(ours, [mine])[mine], draws(theirs, [other])[other], LARGER[name, mine, other], mine)


def alike(mine, other, factor, name):
    """Both uniform around zero, or one number; ours ``factor`` times as wide."""
    if not factor or bool((other == other[0, 0]).all()):
        assert bool((mine == factor * other[0, 0]).all()), name
        return
    assert mine.std().item() == pytest.approx(factor * other.std().item(), rel=0.06), name
    bound = factor * other.abs().max().item()
    assert mine.abs().max().item() == pytest.approx(bound, rel=0.03), name
    for drawn in (mine, other):
        assert abs(drawn.mean().item()) < 5 * drawn.std().item() / drawn.numel() ** 0.5, name
        uniform = drawn.abs().max().item() / 3**0.5
        assert drawn.std().item() == pytest.approx(uniform, rel=0.06), name


@pytest.mark.parametrize("name", LAYERS)
def test_drawing_again_changes_all_that_was_drawn(name):
    layer = LAYERS[name].build()
    before = {key: p.detach().clone() for key, p in layer.named_parameters()}
    reset(layer)
    for key, parameter in layer.named_parameters():
        constant = bool((before[key] == before[key].flatten()[0]).all())
        assert torch.equal(before[key], parameter) == constant, key
