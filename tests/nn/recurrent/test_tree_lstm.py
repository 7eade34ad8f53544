"""Tree-LSTMs are their equations on any forest: deep, wide, many, and one node."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import Complete, EdgeList, SelfLoops, Window, disjoint_union, permute
from edgewise.nn import Block, ChildSumTreeLSTM, NaryTreeLSTM
from edgewise.nn.recurrent.tree_levels import forest

IN, OUT = 4, 3
LAYERS = {
    "child-sum": lambda: ChildSumTreeLSTM(IN, OUT),
    "n-ary": lambda: NaryTreeLSTM(IN, OUT, arity=12),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]().double()


@st.composite
def forests(draw, max_nodes=12):
    """Any forest: every node hangs below one before it, or is a root; then all are renamed."""
    N = draw(st.integers(1, max_nodes))
    parents = [draw(st.integers(-1, node - 1)) for node in range(N)]
    name = draw(st.permutations(range(N)))
    edges = [(name[node], name[up]) for node, up in enumerate(parents) if up >= 0]
    shuffled = draw(st.permutations(edges))
    return EdgeList(torch.tensor(shuffled, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


def features(graph, seed=0, batch=()):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, graph.num_targets, IN, dtype=torch.float64, generator=random)


def literal(layer, x, graph, places=None):
    """Section 3 of the paper, node by node; ``places`` of the children by edge."""
    N, size = graph.num_targets, layer.out_dim
    children = {node: {} for node in range(N)}
    for edge, (child, parent) in enumerate(graph.edge_index.T.tolist()):
        here = children[parent]
        here[len(here) if places is None else int(places[edge])] = child
    w, b = layer.in_proj.weight.chunk(4), layer.in_proj.bias.chunk(4)
    done = {}

    def gates(x, below):
        if isinstance(layer, ChildSumTreeLSTM):
            u_i, u_u, u_o = layer.hidden_proj.weight.chunk(3)
            total = sum((h for h, _ in below.values()), x.new_zeros(size))
            forget = {k: layer.forget_proj.weight @ h for k, (h, _) in below.items()}
            return (u_i @ total, u_u @ total, u_o @ total), forget
        rows = [
            row.chunk(layer.arity, 1) for row in layer.hidden_proj.weight.chunk(3 + layer.arity)
        ]
        message = [
            sum((row[k] @ h for k, (h, _) in below.items()), x.new_zeros(size)) for row in rows
        ]
        return message[:3], {k: message[3 + k] for k in below}

    def state(node):
        if node not in done:
            below = {k: state(child) for k, child in children[node].items()}
            (i, u, o), forget = gates(x[node], below)
            c = (w[0] @ x[node] + i + b[0]).sigmoid() * (w[2] @ x[node] + u + b[2]).tanh()
            for k, (_, memory) in below.items():
                c = c + (w[1] @ x[node] + forget[k] + b[1]).sigmoid() * memory
            done[node] = (w[3] @ x[node] + o + b[3]).sigmoid() * c.tanh(), c
        return done[node]

    return torch.stack([state(node)[0] for node in range(N)])


@settings(deadline=None, max_examples=40)
@given(forests())
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_its_equations(name, graph):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = features(graph).requires_grad_()
    ours, theirs = layer(x, graph), literal(layer, x, graph)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    grad_out = torch.randn_like(ours)
    leaves = [x, *layer.parameters()]
    mine = torch.autograd.grad(ours, leaves, grad_out, materialize_grads=True, allow_unused=True)
    other = torch.autograd.grad(theirs, leaves, grad_out, materialize_grads=True, allow_unused=True)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


TREE = EdgeList([[0, 1, 5, 2, 4, 7, 8], [2, 2, 6, 3, 3, 6, 7]], num_nodes=10)


def test_in_float32_too(layer, dtype, close):
    layer = layer.to(dtype)
    x = features(TREE).to(dtype)
    close(layer(x, TREE), literal(layer, x, TREE))


def test_a_batch_shares_the_trees(layer, close):
    x = features(TREE, batch=(2, 3))
    one_by_one = torch.stack([layer(item, TREE) for item in x.flatten(0, 1)])
    close(layer(x, TREE).flatten(0, 1), one_by_one)
    turned = x.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
    assert not turned.is_contiguous()
    close(layer(turned, TREE), layer(x, TREE))


@settings(deadline=None, max_examples=20)
@given(st.lists(forests(5), min_size=1, max_size=6))
@pytest.mark.parametrize("name", LAYERS)
def test_a_disjoint_union_is_its_trees_one_by_one(name, graphs):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    inputs = [features(graph, seed) for seed, graph in enumerate(graphs)]
    alone = torch.cat([layer(x, graph) for x, graph in zip(inputs, graphs, strict=True)])
    together = layer(torch.cat(inputs), disjoint_union(graphs))
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_thousands_of_trees_take_as_many_steps_as_the_deepest(layer):
    graph = disjoint_union([TREE] * 2000)
    result = forest("test", graph, torch.device("cpu"))
    assert len(result.inner) == 3
    assert result.num_inner == 2000 * 4
    out = layer(features(TREE).repeat(2000, 1), graph).view(2000, -1)
    assert bool((out == out[0]).all())


@settings(deadline=None, max_examples=20)
@given(forests(), st.integers(0, 2**32 - 1))
def test_renaming_the_nodes_renames_the_result(graph, seed):
    torch.manual_seed(0)
    layer = ChildSumTreeLSTM(IN, OUT).double()
    x = features(graph, seed)
    order = torch.randperm(graph.num_targets, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(x)
    renamed[order] = x
    out = layer(renamed, permute(graph, order))
    torch.testing.assert_close(out[order], layer(x, graph), rtol=1e-11, atol=1e-11)


def test_a_node_depends_on_exactly_what_is_below_it(layer):
    x = features(TREE).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x, TREE)[6].sum(), x)
    assert gradient.any(-1).nonzero()[:, 0].tolist() == [5, 6, 7, 8]


def test_one_node_and_no_edges(layer, close):
    x = features(SelfLoops(3))
    nothing = EdgeList([[], []], num_nodes=3)
    close(layer(x, nothing), literal(layer, x, nothing))
    close(layer(x[:1], EdgeList([[], []], num_nodes=1)), layer(x, nothing)[:1])
    for shape in ((0, IN), (2, 0, IN)):
        out = layer(torch.zeros(shape, dtype=torch.float64), EdgeList([[], []], num_nodes=0))
        assert out.shape == (*shape[:-1], OUT)


@pytest.mark.parametrize(("N", "upwards"), [(10_000, True), (100, False)])
def test_a_long_chain_is_torchs_lstm(N, upwards):
    line = torch.arange(N - 1)
    chain = EdgeList(torch.stack([line, line + 1] if upwards else [line + 1, line]), num_nodes=N)
    layer = ChildSumTreeLSTM(2, 2)
    theirs = torch.nn.LSTM(2, 2)
    i, u, o = layer.hidden_proj.weight.detach().chunk(3)
    theirs.load_state_dict(
        {
            "weight_ih_l0": layer.in_proj.weight.detach(),
            "weight_hh_l0": torch.cat([i, layer.forget_proj.weight.detach(), u, o]),
            "bias_ih_l0": layer.in_proj.bias.detach(),
            "bias_hh_l0": torch.zeros(8),
        }
    )
    x = torch.randn(N, 2, requires_grad=True)
    out = layer(x, chain)
    expected = theirs(x)[0] if upwards else theirs(x.flip(0))[0].flip(0)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    (mine,), (other,) = (torch.autograd.grad(y.sum(), x) for y in (out, expected))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_a_wide_star(close):
    N = 5_000
    star = EdgeList([list(range(1, N)), [0] * (N - 1)], num_nodes=N)
    layer = ChildSumTreeLSTM(IN, OUT).double()
    x = features(star).requires_grad_()
    out = layer(x, star)
    close(out, literal(layer, x, star))
    (gradient,) = torch.autograd.grad(out[0].sum(), x)
    assert bool(gradient.any(-1).all())
    with pytest.raises(GraphError, match="arity=2 children at most, got one with 4999"):
        NaryTreeLSTM(IN, OUT)(x, star)


def test_children_stand_in_the_order_of_the_edges(close):
    layer = NaryTreeLSTM(IN, OUT).double()
    left_first = EdgeList([[0, 1], [2, 2]], num_nodes=3)
    right_first = EdgeList([[1, 0], [2, 2]], num_nodes=3)
    x = features(left_first)
    assert not torch.allclose(layer(x, left_first)[2], layer(x, right_first)[2])
    close(layer(x[[1, 0, 2]], right_first)[2], layer(x, left_first)[2])
    # Said by places instead: the order of the edges no longer counts.
    for graph, places in ((left_first, [0, 1]), (right_first, [1, 0])):
        close(layer(x, graph, child_position=torch.tensor(places)), layer(x, left_first))


def test_a_place_may_be_empty(close):
    layer = NaryTreeLSTM(IN, OUT, arity=3).double()
    x = features(TREE)
    places = torch.tensor([2, 0, 1, 1, 2, 0, 2])
    close(layer(x, TREE, child_position=places), literal(layer, x, TREE, places))
    close(layer(x, TREE, child_position=places.int()), layer(x, TREE, child_position=places))
    graph = disjoint_union([TREE, TREE])
    twice = layer(torch.cat([x, x]), graph, child_position=places.repeat(2))
    close(twice, torch.cat([layer(x, TREE, child_position=places)] * 2))


def test_both_are_an_lstm_on_a_chain_and_differ_elsewhere(close):
    one, many = ChildSumTreeLSTM(IN, OUT).double(), NaryTreeLSTM(IN, OUT, arity=1).double()
    i, u, o = one.hidden_proj.weight.chunk(3)
    state = one.in_proj.state_dict(prefix="in_proj.")
    state["hidden_proj.weight"] = torch.cat([i, u, o, one.forget_proj.weight])
    many.load_state_dict(state)
    chain = EdgeList([[3, 1, 0], [1, 0, 2]], num_nodes=4)
    x = features(chain)
    close(one(x, chain), many(x, chain))


def test_second_derivatives(layer):
    x = features(TREE).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda t: layer(t, TREE), x)


def test_what_evaluation_worked_out_can_be_trained_with(layer):
    graph = EdgeList(TREE.edge_index, num_nodes=10)
    x = features(graph)
    with torch.inference_mode():
        before = layer(x, graph)
    out = layer(x, graph)
    out.sum().backward()
    assert torch.equal(out, before)


def test_it_is_a_mixer_of_a_block():
    block = Block(NaryTreeLSTM(IN, IN), IN)
    x = torch.randn(10, IN)
    places = torch.tensor([1, 0, 1, 0, 1, 0, 1])
    expected = x + block.mixer(block.mixer_norm(x), TREE, child_position=places)
    torch.testing.assert_close(block(x, TREE, child_position=places), expected)


def test_weights_are_redrawn_and_described():
    for layer in (ChildSumTreeLSTM(9, 4), NaryTreeLSTM(9, 4, arity=3)):
        before = [parameter.clone() for parameter in layer.parameters()]
        layer.reset_parameters()
        for old, new in zip(before, layer.parameters(), strict=True):
            assert not torch.equal(old, new)
            assert float(new.detach().abs().max()) <= 0.5
        assert "9, 4" in repr(layer)
    assert "in_proj.bias" not in ChildSumTreeLSTM(9, 4, bias=False).state_dict()
    assert "in_proj.bias" not in NaryTreeLSTM(9, 4, bias=False).state_dict()


# --- What is no forest -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (Complete(3, 5), "square, got 3 targets and 5 sources"),
        (SelfLoops(3), "got a cycle through node 0"),
        (EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3), "got a cycle through node [012]"),
        (EdgeList([[0, 1, 2], [1, 2, 1]], num_nodes=3), "got a cycle through node [12]"),
        (EdgeList([[0, 0], [1, 2]], num_nodes=3), "got node 0 with 2 edges"),
        (EdgeList([[1, 1], [2, 2]], num_nodes=3), "got node 1 with 2 edges"),
        (Window(3, left=1, right=0), "got node [01] with 2 edges"),
    ],
)
def test_a_graph_that_is_no_forest_is_refused(layer, graph, sentence):
    with pytest.raises(GraphError, match=f"TreeLSTM: the graph must be .*{sentence}"):
        layer(torch.zeros(3, IN, dtype=torch.float64), graph)


def test_a_long_cycle_is_found():
    N = 1025
    line = torch.arange(N)
    ring = EdgeList(torch.stack([line, (line + 1) % N]), num_nodes=N)
    with pytest.raises(GraphError, match="got a cycle through node"):
        ChildSumTreeLSTM(2, 2)(torch.zeros(N, 2), ring)
    hanging = EdgeList(torch.stack([line, torch.cat([line[1:], line[-2:-1]])]), num_nodes=N)
    with pytest.raises(GraphError, match=r"got a cycle through node 102[34]"):
        ChildSumTreeLSTM(2, 2)(torch.zeros(N, 2), hanging)


def test_places_that_are_none_are_refused():
    layer, x = NaryTreeLSTM(IN, OUT), torch.zeros(10, IN)
    three = EdgeList([[0, 1, 2], [3, 3, 3]], num_nodes=10)
    with pytest.raises(GraphError, match=r"must have arity=2 children at most, got one with 3\. "):
        layer(x, three)
    for places, sentence in (
        (torch.tensor([0, 1, 2]), "below arity=2, got 2"),
        (torch.tensor([0, 1, -1]), "below arity=2, got -1"),
        (torch.tensor([0, 1, 1]), "got 2 children in one place below node 3"),
        (
            torch.tensor([0.0, 1, 1]),
            "must hold whole numbers, got torch.fl",
        ),
        (torch.tensor([True, True, False]), "must hold whole numbers"),
    ):
        with pytest.raises(ArgumentError, match=f"NaryTreeLSTM: .*child_position.*{sentence}"):
            layer(x, three, child_position=places)
    with pytest.raises(ShapeError, match=r"must have shape \[edges\] = \[3\], got \[2\]"):
        layer(x, three, child_position=torch.tensor([0, 1]))


def test_features_and_sizes_that_do_not_fit_are_refused(layer):
    name = type(layer).__name__
    with pytest.raises(ShapeError, match=rf"{name}: x has 5 features .* in_dim=4"):
        layer(torch.zeros(10, 5), TREE)
    with pytest.raises(ShapeError, match=f"{name}: x has 3 nodes but graph has 10 targets"):
        layer(torch.zeros(3, IN), TREE)
    with pytest.raises(ArgumentError, match=f"{name}: in_dim must be at least 1, got 0"):
        type(layer)(0, 3)
    with pytest.raises(ArgumentError, match=f"{name}: out_dim must be at least 1, got 0"):
        type(layer)(3, 0)
    with pytest.raises(ArgumentError, match="arity must be at least 1, got 0"):
        NaryTreeLSTM(3, 3, arity=0)
