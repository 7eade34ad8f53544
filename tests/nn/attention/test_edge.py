"""EdgeAttention is the equation of its paper, for nodes and for edges."""

import pytest
import torch

from edgewise.claims.fixtures.layer_pair import multigraph, scattered
from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Complete, EdgeList, Window
from edgewise.layouts import edges
from edgewise.nn import MLP, Block, EdgeAttention, EdgeBlock

pytestmark = pytest.mark.usefixtures("seeded")
DIM, EDGE, HEADS = 6, 4, 3


def drawn(layer, dtype):
    layer = layer.to(dtype)
    with torch.no_grad():
        for name, weight in scattered(layer).items():
            layer.get_parameter(name).copy_(weight)
    return layer


def written_out(layer, x, graph, edge):
    """The equation with dense matrices of counts, which copies of edges are added up in."""
    result = edges(graph)
    target, source = result.target, result.source
    query, key, value = layer.q_proj(x), layer.k_proj(x), layer.v_proj(x)
    size = layer.dim // layer.heads
    hat = query[..., target, :] * key[..., source, :] / size**0.5 * layer.edge_proj(edge)
    heads = []
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        share = hat[..., part].sum(-1).exp()
        weights = x.new_zeros(*x.shape[:-2], graph.num_targets, graph.num_sources)
        flat = weights.flatten(-2).index_add(-1, target * graph.num_sources + source, share)
        weights = flat.unflatten(-1, weights.shape[-2:])
        total = weights.sum(-1, keepdim=True)
        weights = weights / torch.where(total > 0, total, 1.0)
        heads.append(weights @ value[..., part])
    return layer.out_proj(torch.cat(heads, -1)), layer.edge_out_proj(hat)


GRAPHS = {
    "multigraph": multigraph,
    "complete": lambda: Complete(5),
    "window": lambda: Window(6, left=2, right=0),
    "one node": lambda: EdgeList([[0], [0]], num_nodes=1),
    "no edges": lambda: EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=3),
    "no nodes": lambda: EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=0),
}


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("name", GRAPHS)
def test_it_is_its_equation(name, batch, dtype, close):
    graph = GRAPHS[name]()
    layer = drawn(EdgeAttention(DIM, HEADS, edge_dim=EDGE), dtype)
    E = edges(graph).num_edges
    x = torch.randn(*batch, graph.num_targets, DIM, dtype=dtype, requires_grad=True)
    edge = torch.randn(E, EDGE, dtype=dtype, requires_grad=True)
    ours = layer(x, graph, edge=edge)
    theirs = written_out(layer, x, graph, edge)
    assert ours.edge.shape == (*batch, E, EDGE)
    leaves = [x, edge, *layer.parameters()]
    grad_out = [torch.randn_like(t) for t in theirs]
    mine, other = (torch.autograd.grad(out, leaves, grad_out) for out in (ours, theirs))
    for a, b in zip((*ours, *mine), (*theirs, *other), strict=True):
        close(a, b)


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_edges_with_and_without_batch_axes(shape, dtype, close):
    graph = multigraph()
    layer = drawn(EdgeAttention(DIM, HEADS, edge_dim=EDGE), dtype)
    x = torch.randn(2, graph.num_targets, DIM, dtype=dtype)
    edge = torch.randn(*shape, graph.num_edges, EDGE, dtype=dtype)
    result = layer(x, graph, edge=edge)
    for row in range(2):
        alone = layer(x[row], graph, edge=edge.expand(2, -1, -1)[row])
        close(result.x[row], alone.x)
        close(result.edge[row], alone.edge)


def test_strides_do_not_matter(dtype, close):
    graph = multigraph()
    layer = drawn(EdgeAttention(DIM, HEADS, edge_dim=EDGE), dtype)
    x = torch.randn(DIM, graph.num_targets, dtype=dtype).T
    edge = torch.randn(graph.num_edges, 2 * EDGE, dtype=dtype)[:, ::2]
    result = layer(x, graph, edge=edge)
    plain = layer(x.contiguous(), graph, edge=edge.contiguous())
    close(result.x, plain.x)
    close(result.edge, plain.edge)


def test_a_target_without_sources_gets_the_bias(dtype, close):
    layer = drawn(EdgeAttention(DIM, HEADS), dtype)
    pair = EdgeList([[0], [1]], num_nodes=3)
    edge = torch.randn(1, DIM, dtype=dtype)
    out = layer(torch.randn(3, DIM, dtype=dtype), pair, edge=edge)
    close(out.x[2], layer.out_proj.bias)


def test_scores_of_any_size_are_safe():
    layer = EdgeAttention(DIM, HEADS)
    x = 100.0 * torch.randn(5, DIM)
    out = layer(x, Complete(5), edge=100.0 * torch.randn(25, DIM))
    assert torch.isfinite(out.x).all()


def test_dropout_acts_on_weights_in_training_alone():
    layer = EdgeAttention(DIM, HEADS, dropout=0.5)
    x, edge = torch.randn(5, DIM), torch.randn(25, DIM)
    first, second = (layer(x, Complete(5), edge=edge) for _ in range(2))
    assert not torch.equal(first.x, second.x)
    assert torch.equal(first.edge, second.edge)
    layer.eval()
    assert torch.equal(layer(x, Complete(5), edge=edge).x, layer(x, Complete(5), edge=edge).x)


@pytest.mark.parametrize("norm", ["batch", "layer", "rms", None])
def test_a_block_is_two_post_norm_blocks(norm, dtype, close):
    """The mixer runs once; nodes and edges then pass through a block each."""

    class Mixed(torch.nn.Module):
        def forward(self, x, graph, *, mixed):
            return mixed

    graph = multigraph()
    block = drawn(
        EdgeBlock(EdgeAttention(DIM, HEADS, edge_dim=EDGE), DIM, edge_dim=EDGE, norm=norm), dtype
    )
    x = torch.randn(graph.num_targets, DIM, dtype=dtype)
    edge = torch.randn(graph.num_edges, EDGE, dtype=dtype)
    new = block.mixer(x, graph, edge=edge)
    out = block(x, graph, edge=edge)
    for part, before, mixed, size in (
        ("nodes", x, new.x, DIM),
        ("edges", edge, new.edge, EDGE),
    ):
        other = Block(Mixed(), size, norm=norm, order="post", mlp=MLP(size, 2 * size)).to(dtype)
        other.load_state_dict(getattr(block, part).state_dict())
        close(
            getattr(out, {"nodes": "x", "edges": "edge"}[part]), other(before, graph, mixed=mixed)
        )


def test_compiled_it_is_the_same(close):
    block = EdgeBlock(EdgeAttention(DIM, HEADS), DIM, norm="layer")
    graph = multigraph()
    x, edge = torch.randn(graph.num_targets, DIM), torch.randn(graph.num_edges, DIM)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(x, graph, edge=edge), block(x, graph, edge=edge), strict=True):
        close(ours, theirs)


REFUSED = {
    "no edge": (
        lambda x: EdgeAttention(DIM, HEADS, edge_dim=EDGE)(x, Complete(5)),
        ArgumentError,
        r"EdgeAttention: edge is missing, .* Pass edge of shape \[edges, 4\], or use DotAttention",
    ),
    "no edge for a block": (
        lambda x: EdgeBlock(EdgeAttention(DIM, HEADS, edge_dim=EDGE), DIM, edge_dim=EDGE)(
            x, Complete(5)
        ),
        ArgumentError,
        r"EdgeBlock: edge is missing, .* Pass edge of shape \[edges, 4\], or use Block",
    ),
    "heads": (
        lambda _: EdgeAttention(DIM, 4),
        ArgumentError,
        "EdgeAttention: dim=6 cannot be divided among heads=4",
    ),
    "nodes": (
        lambda x: EdgeAttention(DIM, HEADS)(x, Complete(4), edge=torch.zeros(16, DIM)),
        ShapeError,
        "EdgeAttention: x has 5 nodes but graph has 4 targets",
    ),
    "features": (
        lambda x: EdgeAttention(DIM + 3, HEADS)(x, Complete(5), edge=torch.zeros(25, DIM + 3)),
        ShapeError,
        "EdgeAttention: x has 6 features but the layer was built with dim=9",
    ),
    "edges": (
        lambda x: EdgeAttention(DIM, HEADS)(x, Complete(5), edge=torch.zeros(24, DIM)),
        ShapeError,
        r"EdgeAttention: edge must have shape .* got \[24, 6\]",
    ),
    "edge features": (
        lambda x: EdgeAttention(DIM, HEADS, edge_dim=EDGE)(
            x, Complete(5), edge=torch.zeros(25, DIM)
        ),
        ShapeError,
        "EdgeAttention: edge has 6 features but the layer was built with edge_dim=4",
    ),
    "norm": (
        lambda _: EdgeBlock(EdgeAttention(DIM, HEADS), DIM, norm="graph"),
        ArgumentError,
        "norm must be one of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    act, error, sentence = REFUSED[name]
    with pytest.raises(error, match=sentence):
        act(torch.zeros(5, DIM))
