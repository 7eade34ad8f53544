"""Recurrent networks and convolutional ones over sequences side by side: each alone, packed."""

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    EdgeList,
    SelfLoops,
    Window,
    disjoint_union,
)
from edgewise.models import Convolutional, Recurrent, Trunk
from edgewise.nn import MLP, Block

DIM = 6
SIZES = [3, 1, 0, 7, 3]


def causal_blocks(sizes):
    return disjoint_union([Causal(size) for size in sizes])


@pytest.fixture(params=["lstm", "gru"])
def kind(request):
    torch.manual_seed(0)
    return request.param


def alone(layer, x):
    """torch's own network on one sequence after the other: ``[*batch, N, dim]``."""
    out = layer.network(x.reshape(-1, *x.shape[-2:]).transpose(0, 1))[0]
    return out.transpose(0, 1).reshape(x.shape)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packed_sequences_are_torchs_network_on_each_alone(kind, layers, bidirectional, dtype):
    layer = Recurrent(DIM, kind=kind, layers=layers, bidirectional=bidirectional).to(dtype)
    x = torch.randn(2, 3, sum(SIZES), DIM, dtype=dtype, requires_grad=True)
    expected = torch.cat([alone(layer, part) for part in x.split(SIZES, -2) if part.numel()], -2)
    graphs = [Blocks(SIZES)] if bidirectional else [Blocks(SIZES), causal_blocks(SIZES)]
    leaves = [x, *layer.parameters()]
    grad_out = torch.randn_like(x)
    theirs = torch.autograd.grad(expected, leaves, grad_out)
    for graph in graphs:
        out = layer(x, graph)
        torch.testing.assert_close(out, expected)
        for a, b in zip(torch.autograd.grad(out, leaves, grad_out), theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "graph",
    [
        Causal(5),
        Complete(5),
        Blocks([5]),
        Blocks([5]) & Causal(5),
        Window(5, left=4, right=0),
        disjoint_union([Causal(5), Complete(0)]),
    ],
    ids=str,
)
def test_one_sequence_is_torchs_network(kind, graph):
    layer = Recurrent(DIM, kind=kind).double()
    x = torch.randn(5, DIM, dtype=torch.float64)
    torch.testing.assert_close(layer(x, graph), layer.network(x)[0])


def test_sequences_of_one_node_remember_nothing(kind):
    layer, x = Recurrent(DIM, kind=kind), torch.randn(4, DIM)
    out = layer(x, SelfLoops(4))
    torch.testing.assert_close(out, layer.network(x[None])[0][0])


def test_a_node_depends_on_exactly_the_earlier_ones_of_its_sequence(kind):
    layer, x = Recurrent(DIM, kind=kind), torch.randn(10, DIM, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x, Blocks([4, 6]))[6].sum(), x)
    assert gradient.any(-1).nonzero()[:, 0].tolist() == [4, 5, 6]
    layer = Recurrent(DIM, kind=kind, bidirectional=True)
    (gradient,) = torch.autograd.grad(layer(x, Blocks([4, 6]))[6].sum(), x)
    assert gradient.any(-1).nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("shape", [(0, DIM), (2, 0, DIM), (0, 5, DIM)])
def test_nothing_gives_nothing(kind, shape):
    assert Recurrent(DIM, kind=kind)(torch.zeros(shape), Causal(shape[-2])).shape == shape


def test_it_is_a_mixer_of_blocks_and_trunks(kind):
    block = Block(Recurrent(DIM, kind=kind), DIM, mlp=MLP(DIM, 8))
    x, graph = torch.randn(2, 7, DIM), Causal(7)
    mixed = x + block.mixer(block.mixer_norm(x), graph)
    torch.testing.assert_close(block(x, graph), mixed + block.mlp(block.mlp_norm(mixed)))
    trunk = Trunk(3, DIM, [Recurrent(DIM, kind=kind) for _ in range(2)])
    assert trunk(torch.randn(7, 3), graph).shape == (7, DIM)


def test_memory_of_any_stride(kind):
    layer, x = Recurrent(DIM, kind=kind), torch.randn(DIM, 7, 2).permute(2, 1, 0)
    torch.testing.assert_close(
        layer(x, causal_blocks([3, 4])), layer(x.contiguous(), causal_blocks([3, 4]))
    )


def test_dropout_acts_between_layers_in_training_only(kind):
    layer, x = Recurrent(DIM, kind=kind, layers=2, dropout=0.5), torch.randn(9, DIM)
    assert not torch.equal(layer(x, Causal(9)), layer(x, Causal(9)))
    layer.eval()
    assert torch.equal(layer(x, Causal(9)), layer(x, Causal(9)))


def test_the_parameters_are_torchs(kind):
    layer = Recurrent(DIM, kind=kind)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](DIM, DIM)
    layer.network.load_state_dict(theirs.state_dict())
    x = torch.randn(5, DIM)
    torch.testing.assert_close(layer(x, Causal(5)), theirs(x)[0])
    before = layer.network.weight_ih_l0.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.network.weight_ih_l0, before)
    assert f"6, kind='{kind}', bidirectional=False" in repr(layer)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "rnn"}, "kind must be one of 'lstm', 'gru', got 'rnn'"),
        ({"bidirectional": True, "dim": 5}, "dim must be even with bidirectional=True, .* got 5"),
        ({"dropout": 0.5}, "dropout acts between layers, got dropout=0.5 and layers=1"),
        ({"dropout": 1.0, "layers": 2}, "dropout must be at least 0 and below 1"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, sentence):
    with pytest.raises(ArgumentError, match=f"Recurrent: {sentence}"):
        Recurrent(**{"dim": DIM, **settings})


NO_SEQUENCES = [
    Window(5, left=1, right=0),
    Complete(5, 4),
    EdgeList([[0], [1]], num_nodes=5),
    Blocks([2, 3], [3, 2]),
    Blocks([2, 3], [0, 5]),
]


@pytest.mark.parametrize("graph", NO_SEQUENCES, ids=str)
def test_a_graph_that_is_no_sequences_is_refused(graph):
    for model in (Recurrent(DIM), Convolutional(DIM, 2, [3])):
        name = type(model).__name__
        with pytest.raises(GraphError, match=f"{name}: graph must be sequences side by side, got"):
            model(torch.zeros(5, DIM), graph)


def test_reading_both_ways_over_a_causal_graph_is_refused():
    for model in (Recurrent(DIM, bidirectional=True), Convolutional(DIM, 2, [3])):
        with pytest.raises(GraphError, match=r"reads both ways, got Causal\(5\), which is causal"):
            model(torch.zeros(5, DIM), Causal(5))


def test_features_that_do_not_fit_are_refused():
    for model in (Recurrent(DIM), Convolutional(DIM, 2, [3], causal=True)):
        name = type(model).__name__
        with pytest.raises(ShapeError, match=f"{name}: x has 5 features .* dim=6"):
            model(torch.zeros(4, 5), Causal(4))
        with pytest.raises(ShapeError, match=f"{name}: x has 3 nodes but graph has 4 targets"):
            model(torch.zeros(3, DIM), Causal(4))


# --- Convolutional ---------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("convolution", ["lightweight", "dynamic"])
def test_a_convolutional_network_is_its_blocks_over_windows(convolution, causal):
    torch.manual_seed(0)
    kernels = (3, 5)
    model = Convolutional(DIM, 2, kernels, kind=convolution, causal=causal).double()
    x = torch.randn(2, sum(SIZES), DIM, dtype=torch.float64)
    outs = []
    for part in x.split(SIZES, -2):
        h = part
        for block, kernel in zip(model.blocks, kernels, strict=True):
            left = kernel - 1 if causal else kernel // 2
            window = Window(part.shape[-2], left=left, right=kernel - 1 - left)
            mixed = block.mixer_norm(h + block.mixer(h, window))
            h = block.mlp_norm(mixed + block.mlp(mixed))
        outs.append(h)
    expected = torch.cat(outs, -2)
    torch.testing.assert_close(model(x, Blocks(SIZES)), expected)
    if causal:
        torch.testing.assert_close(model(x, causal_blocks(SIZES)), expected)


def test_even_kernels_read_earlier_nodes():
    model = Convolutional(DIM, 2, [2, 4], causal=True)
    x = torch.randn(9, DIM, requires_grad=True)
    # The sum of a layer norm is constant: another direction.
    (gradient,) = torch.autograd.grad(model(x, Causal(9))[6] @ torch.randn(DIM), x)
    assert gradient.any(-1).nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]
    for kernels in ([2], [], [3, 4]):
        with pytest.raises(ArgumentError, match=r"kernels must be one odd number or more.*got \["):
            Convolutional(DIM, 2, kernels)
    with pytest.raises(ArgumentError, match="kind must be one of 'lightweight', 'dynamic', got"):
        Convolutional(DIM, 2, [3], kind="static")
    assert "kernels=(2, 4), causal=True" in repr(model)
