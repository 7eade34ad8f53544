"""Lightweight and dynamic convolutions are their equations, on every graph that is a window."""

import math

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    Dilated,
    EdgeList,
    SelfLoops,
    Window,
    disjoint_union,
)
from edgewise.layouts import edges
from edgewise.nn import Block, DynamicConvolution, GatedConvolution, LightweightConvolution

DIM, HEADS = 6, 2
LAYERS = {"lightweight": LightweightConvolution, "dynamic": DynamicConvolution}
WINDOWS = {
    "centered": (Window(9, left=2, right=2), 5, 2, 1),
    "causal": (Window(9, left=3, right=0), 4, 3, 1),
    "ahead": (Window(9, left=0, right=2), 3, 0, 1),
    "longer than the sequence": (Window(9, left=12, right=3), 16, 12, 1),
    "dilated": (Dilated(9, left=1, right=2, dilation=3), 4, 1, 3),
    "itself": (SelfLoops(9), 1, 0, 1),
    "one node": (Window(1, left=2, right=2), 5, 2, 1),
}


@pytest.fixture(params=LAYERS)
def kind(request):
    torch.manual_seed(0)
    return LAYERS[request.param]


def kernels_of(layer, x):
    """Normalized weights of every target: ``[*batch, N, H, kernel]``."""
    if isinstance(layer, LightweightConvolution):
        weight = layer.weight.expand(*x.shape[:-1], -1, -1)
    else:
        weight = layer.kernel_proj(x).unflatten(-1, (layer.heads, layer.kernel))
    return weight.softmax(-1)


def literal(layer, x, left, step=1):
    """The sum over the kernel, term by term; what lies outside is zero."""
    weight, size = kernels_of(layer, x), layer.dim // layer.heads
    rows = []
    for i in range(x.shape[-2]):
        total = torch.zeros_like(x[..., 0, :])
        for k in range(layer.kernel):
            j = i + (k - left) * step
            if 0 <= j < x.shape[-2]:
                total = total + weight[..., i, :, k].repeat_interleave(size, -1) * x[..., j, :]
        rows.append(total)
    return torch.stack(rows, -2)


@pytest.mark.parametrize("name", WINDOWS)
def test_it_is_its_equation(kind, name, dtype, same_layer):
    graph, kernel, left, step = WINDOWS[name]
    layer = kind(DIM, HEADS, kernel).to(dtype)
    x = torch.randn(2, 3, graph.num_targets, DIM, dtype=dtype, requires_grad=True)
    expected = literal(layer, x, left, step)
    same_layer(layer(x, graph), expected, [x], [(p, p) for p in layer.parameters()])


def test_a_bias_of_the_predicted_weights_counts(same_layer):
    layer = DynamicConvolution(DIM, HEADS, 3, bias=True).double()
    nn.init.normal_(layer.kernel_proj.bias)
    x = torch.randn(7, DIM, dtype=torch.float64, requires_grad=True)
    expected = literal(layer, x, 1)
    same_layer(layer(x, Window(7, left=1, right=1)), expected, [x])


def test_memory_of_any_stride(kind, close):
    layer, graph = kind(DIM, HEADS, 3).double(), Window(8, left=1, right=1)
    x = torch.randn(DIM, 8, 2, dtype=torch.float64).permute(2, 1, 0)
    assert not x.is_contiguous()
    close(layer(x, graph), layer(x.contiguous(), graph))


def test_the_ends_of_a_sequence_weigh_less_than_1():
    layer = LightweightConvolution(2, 1, kernel=3)
    nn.init.zeros_(layer.weight)
    out = layer(torch.ones(4, 2), Window(4, left=1, right=1))
    torch.testing.assert_close(out[:, 0], torch.tensor([2.0, 3.0, 3.0, 2.0]) / 3)


def test_the_same_layer_over_other_windows(kind, close):
    """The kernel begins where the window of the graph does."""
    layer = kind(DIM, HEADS, 3).double()
    x = torch.randn(7, DIM, dtype=torch.float64)
    for left in range(3):
        close(layer(x, Window(7, left=left, right=2 - left)), literal(layer, x, left))


def test_packed_sequences_are_each_alone(kind, close):
    sizes = [5, 1, 0, 8]
    packed = disjoint_union([Window(size, left=2, right=1) for size in sizes])
    layer = kind(DIM, HEADS, 4).double()
    x = torch.randn(2, sum(sizes), DIM, dtype=torch.float64)
    alone = [layer(part, Window(part.shape[-2], left=2, right=1)) for part in x.split(sizes, -2)]
    close(layer(x, packed), torch.cat(alone, -2))


def test_with_left_any_graph_of_short_edges_will_do(kind, close):
    layer = kind(DIM, HEADS, 5, left=3).double()
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    window = Window(6, left=3, right=1)
    listed = edges(window)
    order = torch.randperm(listed.num_edges)
    shuffled = EdgeList(torch.stack([listed.source, listed.target])[:, order], num_nodes=6)
    close(layer(x, shuffled), literal(layer, x, 3))
    blocks = Blocks([4, 2])
    alone = torch.cat([literal(layer, part, 3) for part in x.split([4, 2], -2)], -2)
    close(layer(x, blocks & window), alone)
    close(layer(x[:, :4], Causal(4)), layer(x[:, :4], Window(4, left=3, right=0)))


def test_edges_count_as_often_as_they_occur_and_a_node_without_any_gets_zeros(kind, close):
    layer = kind(DIM, HEADS, 2, left=1).double()
    x = torch.randn(4, DIM, dtype=torch.float64, requires_grad=True)
    out = layer(x, EdgeList([[0, 0, 2], [1, 1, 2]], num_nodes=4))
    weight = kernels_of(layer, x).repeat_interleave(DIM // HEADS, -2)
    close(out[1], 2 * weight[1, :, 0] * x[0])
    close(out[2], weight[2, :, 1] * x[2])
    assert torch.equal(out[[0, 3]], torch.zeros_like(out[[0, 3]]))
    assert not torch.autograd.grad(out[[0, 3]].sum(), x)[0].any()
    empty = layer(x, EdgeList([[], []], num_nodes=4))
    assert torch.equal(empty, torch.zeros_like(x))


def test_a_step_of_decoding_is_the_last_row(kind, close):
    layer = kind(DIM, HEADS, 3).double()
    x = torch.randn(2, 7, DIM, dtype=torch.float64)
    whole = layer(x, Window(7, left=2, right=0))
    for first in (6, 4, 0):
        step = layer(x[:, first:], Window(7 - first, 7, left=2, right=0), source=x)
        close(step, whole[:, first:])
    early = layer(x[:, :1], Window(1, 1, left=2, right=0), source=x[:, :1])
    close(early, whole[:, :1])


def test_positions_count_from_the_end_of_each_part(kind, close):
    layer = kind(DIM, HEADS, 2).double()
    both = disjoint_union([Window(2, 3, left=1, right=0), Window(1, 4, left=1, right=0)])
    x, source = torch.randn(3, DIM).double(), torch.randn(7, DIM).double()
    first = layer(x[:2], Window(2, 3, left=1, right=0), source=source[:3])
    second = layer(x[2:], Window(1, 4, left=1, right=0), source=source[3:])
    close(layer(x, both, source=source), torch.cat([first, second]))


@pytest.mark.parametrize("shape", [(0, DIM), (2, 0, DIM), (0, 5, DIM)])
def test_nothing_gives_nothing(kind, shape):
    layer = kind(DIM, HEADS, 3)
    assert layer(torch.zeros(shape), Window(shape[-2], left=1, right=1)).shape == shape


def test_second_derivatives(kind):
    layer, graph = kind(DIM, HEADS, 3).double(), Window(5, left=1, right=1)
    x = torch.randn(5, DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: layer(t, graph), x)


def test_weights_are_dropped_one_by_one_in_training(kind):
    layer = kind(DIM, HEADS, 4, dropout=0.5)
    x, graph = torch.ones(2, 12, DIM), Window(12, left=3, right=0)
    kept = kernels_of(layer, x)[..., 3:, :, :]
    out = layer(x, graph)[..., 3:, :].unflatten(-1, (HEADS, -1))
    torch.testing.assert_close(out[..., 0], out[..., -1])  # features of a head share weights
    for value, weight in zip(out[..., 0].flatten(0, -2), kept.flatten(0, -3), strict=True):
        choices = torch.cartesian_prod(*[torch.tensor([0.0, 2.0])] * 4) @ weight.T
        assert bool(((choices - value).abs() < 1e-5).any(0).all())
    layer.eval()
    assert torch.equal(layer(x, graph), layer(x, graph))


def test_nothing_of_the_size_of_edges_times_features_is_kept(kind):
    layer, graph = kind(64, 2, 31), Window(512, left=30, right=0)
    kept = []

    def remember(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        layer(torch.randn(512, 64, requires_grad=True), graph).sum().backward()
    assert max(kept) <= max(512 * 31 * 2, 512 * 64)  # of each edge and head, of each node


# --- The module around it --------------------------------------------------------------------


def test_the_gated_module_is_its_figure(kind, dtype, same_layer):
    layer = GatedConvolution(kind(DIM, HEADS, 3), DIM).to(dtype)
    nn.init.normal_(layer.in_proj.bias)
    nn.init.normal_(layer.out_proj.bias)
    x = torch.randn(2, 8, DIM, dtype=dtype, requires_grad=True)
    a, b = layer.in_proj(x).chunk(2, -1)
    expected = layer.out_proj(literal(layer.mixer, a / (1 + (-b).exp()), 1))
    out = layer(x, Window(8, left=1, right=1))
    same_layer(out, expected, [x], [(p, p) for p in layer.parameters()])


def test_the_gated_module_gates_its_sources_too(kind, close):
    layer = GatedConvolution(kind(DIM, HEADS, 3), DIM).double()
    x = torch.randn(2, 8, DIM, dtype=torch.float64)
    whole = layer(x, Window(8, left=2, right=0))
    close(layer(x[:, 5:], Window(3, 8, left=2, right=0), source=x), whole[:, 5:])
    assert list(GatedConvolution(nn.Identity(), DIM, bias=False).state_dict()) == [
        "in_proj.weight",
        "out_proj.weight",
    ]


def test_it_is_a_mixer_of_a_block(kind):
    block = Block(GatedConvolution(kind(DIM, HEADS, 3), DIM), DIM)
    x, graph = torch.randn(8, DIM), Window(8, left=1, right=1)
    torch.testing.assert_close(block(x, graph), x + block.mixer(block.mixer_norm(x), graph))


# --- Settings --------------------------------------------------------------------------------


def test_weights_are_redrawn_and_described(kind):
    layer = kind(8, 2, 5, left=4, dropout=0.25)
    before = [parameter.clone() for parameter in layer.parameters()]
    layer.reset_parameters()
    assert all(not torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    assert "8, heads=2, kernel=5, left=4, dropout=0.25" in repr(layer)
    gated = GatedConvolution(layer, 8)
    bound = math.sqrt(6 / (8 + 16))
    assert 0 < float(gated.in_proj.weight.detach().abs().max()) <= bound
    assert not gated.in_proj.bias.any()
    assert "8" in repr(gated)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 9, "heads": 2, "kernel": 3}, "dim=9 cannot be divided among heads=2"),
        ({"dim": 8, "heads": 0, "kernel": 3}, "heads must be at least 1, got 0"),
        ({"dim": 8, "heads": 2, "kernel": 0}, "kernel must be at least 1, got 0"),
        ({"dim": 8, "heads": 2, "kernel": 3, "left": 3}, "left must be below kernel=3"),
        ({"dim": 8, "heads": 2, "kernel": 3, "left": -1}, "left must be at least 0, got -1"),
        ({"dim": 8, "heads": 2, "kernel": 3, "dropout": 1.0}, "dropout must be at least 0"),
        ({"dim": 8.0, "heads": 2, "kernel": 3}, r"dim must be a whole number, got 8.0 \(float\)"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(kind, settings, sentence):
    with pytest.raises(ArgumentError, match=f"{kind.__name__}: {sentence}"):
        kind(**settings)


@pytest.mark.parametrize(
    ("graph", "got"),
    [
        (Window(5, left=2, right=2), "got 5 sources: Window"),
        (Window(5, left=1, right=0), "got 2 sources: Window"),
        (Causal(5), r"got Causal\(5\)"),
        (EdgeList([[0], [1]], num_nodes=5), r"got EdgeList\("),
        (disjoint_union([Window(3, left=1, right=1), Window(2, left=2, right=0)]), "got disjoint"),
    ],
)
def test_a_graph_that_does_not_define_where_the_kernel_begins_is_refused(kind, graph, got):
    with pytest.raises(GraphError, match=rf"Window or Dilated of kernel=3 sources .*, {got}"):
        kind(DIM, HEADS, 3)(torch.zeros(5, DIM), graph)


@pytest.mark.parametrize(
    ("graph", "got"),
    [
        (Complete(5), "from -1 to 1, got -4"),
        (Window(5, left=0, right=2), "from -1 to 1, got 2"),
        (EdgeList([[0], [3]], num_nodes=5), "from -1 to 1, got -3"),
        (Dilated(5, left=0, right=2, dilation=2), "from -2 to 2, got 4"),
    ],
)
def test_a_graph_of_longer_edges_is_refused(kind, graph, got):
    with pytest.raises(GraphError, match=rf"every distance .* must lie in the kernel, {got}\. "):
        kind(DIM, HEADS, 3, left=1)(torch.zeros(5, DIM), graph)


def test_features_that_do_not_fit_are_refused(kind):
    layer, graph = kind(DIM, HEADS, 3), Window(5, left=1, right=1)
    with pytest.raises(ShapeError, match=r"x has 5 features but the layer was built with dim=6"):
        layer(torch.zeros(5, 5), graph)
    with pytest.raises(ShapeError, match=r"source has 5 features"):
        layer(torch.zeros(5, DIM), graph, source=torch.zeros(5, 5))
    with pytest.raises(ShapeError, match="x has 4 nodes but graph has 5 targets"):
        layer(torch.zeros(4, DIM), graph)
    with pytest.raises(ShapeError, match="4 rows but graph has 5 sources"):
        layer(torch.zeros(5, DIM), graph, source=torch.zeros(4, DIM))
    gated = GatedConvolution(layer, DIM)
    with pytest.raises(ShapeError, match="GatedConvolution: x has 5 features"):
        gated(torch.zeros(5, 5), graph)
    with pytest.raises(ShapeError, match="GatedConvolution: source has 5 features"):
        gated(torch.zeros(5, DIM), graph, source=torch.zeros(5, 5))
