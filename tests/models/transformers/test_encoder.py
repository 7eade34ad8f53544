"""The encoder is its equation, in every order and norm, over any graph."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, Causal, Complete, EdgeList, Grid, SelfLoops, Window
from edgewise.models import Encoder, transformer_block
from edgewise.nn import KVCache, Rotary


def copies(graph):
    """How often every source is read by every target: ``[T, S]``."""
    result = torch.zeros(graph.num_targets, graph.num_sources, dtype=torch.float64)
    source, target = graph.edge_index
    return result.index_put((target, source), torch.ones(len(source)).double(), accumulate=True)


def written_out(block, x, edges, activation):
    """A block as its paper writes it, one matrix of weights a head."""
    order = block.order
    attention, mlp = block.mixer, block.mlp

    def attended(x):
        q, k, v = (
            p(x).chunk(attention.heads, -1)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        heads = []
        for head in range(attention.heads):
            scores = (q[head] @ k[head].mT / attention.head_dim**0.5).exp() * edges
            total = scores.sum(-1, keepdim=True)
            heads.append(scores / torch.where(total > 0, total, 1.0) @ v[head])
        return attention.out_proj(torch.cat(heads, -1))

    def thought(x):
        if mlp.gate_proj is not None:
            return mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
        return mlp.down_proj(activation(mlp.up_proj(x)))

    for part, norm, gate in (
        (attended, block.mixer_norm, block.mixer_gate),
        (thought, block.mlp_norm, block.mlp_gate),
    ):
        if order == "pre":
            x = x + part(norm(x))
        elif order == "post":
            x = norm(x + part(x))
        else:
            x = x + gate * part(x)
    return x


ACTIVATIONS = {
    "relu": F.relu,
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x * torch.sigmoid(x),
    "swiglu": None,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("order", "norm"),
    [("pre", "layer"), ("post", "layer"), ("pre", "rms"), ("post", "batch"), ("rezero", None)],
)
def test_it_is_its_equation(graph, away, order, norm, activation):
    model = away(Encoder(16, 4, 2, order=order, norm=norm, activation=activation, hidden=24))
    model = model.double()
    x = torch.randn(9, 16, dtype=torch.float64, requires_grad=True)
    expected = x
    for block in model.blocks:
        expected = written_out(block, expected, copies(graph), ACTIVATIONS[activation])
    expected = model.norm(expected)
    out = model(x, graph)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    grad_out, weights = torch.randn_like(out), [x, *model.parameters()]
    mine, other = (torch.autograd.grad(y, weights, grad_out) for y in (out, expected))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
@pytest.mark.parametrize(
    "graph",
    [
        Complete(8),
        Causal(8),
        Window(8, left=2, right=1),
        Blocks([3, 5]),
        Grid((2, 4)),
        SelfLoops(8),
        EdgeList([[0, 1], [1, 2]], num_nodes=8),
    ],
    ids=str,
)
def test_over_any_graph(graph, lead):
    model = Encoder(16, 4, 2)
    x = torch.randn(*lead, 8, 16)
    out = model(x, graph)
    assert out.shape == x.shape
    turned = x.mT.contiguous().mT  # the same numbers with other strides
    torch.testing.assert_close(model(turned, graph), out)
    if graph == Complete(8):
        assert torch.equal(model(x), out)


@pytest.mark.parametrize("N", [0, 1])
def test_no_node_and_one_node(N):
    model = Encoder(16, 4, 2)
    x = torch.randn(2, N, 16, requires_grad=True)
    out = model(x)
    assert out.shape == (2, N, 16)
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_blocks_of_different_sizes_are_each_alone(away):
    model, sizes = away(Encoder(16, 4, 2, activation="gelu")).double(), [3, 1, 0, 5]
    x = torch.randn(9, 16, dtype=torch.float64)
    alone = [model(part) for part in x.split(sizes)]
    torch.testing.assert_close(model(x, Blocks(sizes)), torch.cat(alone))


def test_moving_nodes_moves_results():
    model = Encoder(16, 4, 2).double()
    x, order = torch.randn(8, 16, dtype=torch.float64), torch.randperm(8)
    torch.testing.assert_close(model(x[order]), model(x)[order])


def test_parts_can_be_left_out():
    x = torch.randn(2, 5, 16)
    bare = Encoder(16, 4, 1, norm=None, activation=None, residual=False)
    assert bare.blocks[0].mlp is None
    assert torch.equal(bare(x), bare.blocks[0].mixer(x, Complete(5)))
    assert torch.equal(Encoder(16, 4, 0, final_norm=False)(x), x)


@pytest.mark.parametrize(
    ("order", "given", "last"),
    [("pre", None, True), ("post", None, False), ("pre", False, False), ("post", True, True)],
)
def test_pre_norm_ends_with_a_norm(order, given, last):
    model = Encoder(16, 4, 1, order=order, final_norm=given, norm_eps=0.5)
    assert isinstance(model.norm, torch.nn.LayerNorm) == last
    if last:
        assert model.norm.eps == 0.5


def test_what_mixers_take_is_handed_on(graph):
    model = Encoder(16, 4, 2, edge_dim=3)
    x, edge = torch.randn(9, 16), torch.randn(graph.num_edges, 3)
    assert not torch.allclose(model(x, graph, edge=2 * edge), model(x, graph, edge=edge))
    model = Encoder(16, 4, 2, rotary=Rotary(4))
    moved = model(x, graph, positions=torch.arange(9) + 5)
    torch.testing.assert_close(moved, model(x, graph))  # only distances count
    assert not torch.allclose(model(x, graph, positions=2 * torch.arange(9)), moved)


def test_dropout_acts_in_training_only():
    model = Encoder(16, 4, 2, dropout=0.3, attention_dropout=0.3, hidden_dropout=0.3)
    x = torch.randn(2, 9, 16)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    block = model.blocks[0]
    assert block.dropout.p == block.mixer.dropout == block.mlp.dropout.p == 0.3


def test_gradient_checkpointing():
    model, x = Encoder(16, 4, 3).double(), torch.randn(2, 9, 16, dtype=torch.float64)
    graph = Causal(9)
    kept = model(x, graph)
    y = x
    for block in model.blocks:
        y = checkpoint(block, y, graph, use_reentrant=False)
    torch.testing.assert_close(model.norm(y), kept)
    weights, grad_out = list(model.parameters()), torch.randn_like(kept)
    pairs = (torch.autograd.grad(out, weights, grad_out) for out in (kept, model.norm(y)))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("graph", [None, Window(9, left=2, right=0)], ids=str)
def test_it_compiles(graph):
    torch._dynamo.reset()
    model, x = Encoder(16, 4, 1, activation="swiglu", norm="rms"), torch.randn(2, 9, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = model(x, graph)
    torch.testing.assert_close(compiled(x, graph), expected)
    weights, grad_out = list(model.parameters()), torch.randn_like(expected)
    pairs = (torch.autograd.grad(f(x, graph), weights, grad_out) for f in (model, compiled))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 16, "heads": 4, "layers": -1}, "Encoder: layers must be at least 0, got -1"),
        ({"dim": 16, "heads": 3, "layers": 1}, "DotAttention: dim=16 cannot be divided among"),
        ({"dim": 16, "heads": 4, "layers": 1, "order": "mid"}, "Block: order must be one of"),
        ({"dim": 16, "heads": 4, "layers": 1, "norm": "l2"}, "Block: norm must be one of"),
        ({"dim": 16, "heads": 4, "layers": 1, "activation": "x"}, "MLP: activation must be one"),
        ({"dim": 16, "heads": 4, "layers": 1, "dropout": 1.0}, "Block: dropout must be at least"),
        ({"dim": 16, "heads": 4, "layers": 1, "order": "rezero"}, "order='rezero' is a residual"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, sentence):
    with pytest.raises(ArgumentError, match=sentence):
        Encoder(**settings)


def test_a_setting_that_is_not_one_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        transformer_block(16, 4, depth=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        Encoder(16, 4, 2, depth=2)


def test_what_does_not_fit_is_refused():
    model = Encoder(16, 4, 2)
    with pytest.raises(ShapeError, match=r"Encoder: x has 7 features but .* dim=16"):
        model(torch.zeros(3, 7))
    with pytest.raises(ShapeError, match=r"Encoder: x must have shape \[\*batch, nodes, 16\]"):
        model(torch.zeros(16))
    with pytest.raises(ShapeError, match="3 rows but graph has 4 targets"):
        model(torch.zeros(3, 16), Complete(4))
    with pytest.raises(ArgumentError, match=r"caches must be one for each of the 2 blocks, got 1"):
        model(torch.zeros(3, 16), caches=[KVCache()])
