"""What holds for every layer: relabelling, batching, and seeing exactly the receptive field."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from edgewise.graphs import EdgeList, SelfLoops, Window, disjoint_union, permute, receptive_field
from edgewise.layouts import edges
from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GraphConvolution,
    TransformerConvolution,
)

DIM = 6
MIXERS = {
    "dot": lambda: DotAttention(DIM, heads=2),
    "grouped": lambda: DotAttention(DIM, heads=6, kv_heads=2, head_dim=3),
    "gat": lambda: GATAttention(DIM, 3, heads=2),
    "gatv2": lambda: GATv2Attention(DIM, DIM, heads=2, concat=False),
    "sum": lambda: GraphConvolution(DIM, DIM, activation="relu"),
    "mean": lambda: GraphConvolution(DIM, DIM, reduce="mean"),
    "max": lambda: GraphConvolution(DIM, DIM, reduce="max"),
    "gcn": lambda: GCNConvolution(DIM, DIM),
    "gin": lambda: GINConvolution(MLP(DIM, 8, activation="gelu"), train_eps=True),
    "transformer": lambda: TransformerConvolution(DIM, 3, 2, beta=True),
}


@pytest.fixture(params=MIXERS, scope="module")
def block(request):
    """Every mixer in a block: all have one signature."""
    torch.manual_seed(0)
    return Block(MIXERS[request.param](), DIM, mlp=MLP(DIM, 12, activation="gelu")).double()


@st.composite
def edge_lists(draw, max_nodes=10):
    N = draw(st.integers(1, max_nodes))
    node = st.integers(0, N - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=25))
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


def features(graph, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(graph.num_targets, DIM, dtype=torch.float64, generator=random)


@settings(deadline=None, max_examples=25)
@given(edge_lists(), st.integers(0, 2**32 - 1))
def test_renaming_the_nodes_renames_the_result(block, graph, seed):
    x = features(graph, seed)
    order = torch.randperm(graph.num_targets, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(x)
    renamed[order] = x
    out = block(renamed, permute(graph, order))
    torch.testing.assert_close(out[order], block(x, graph), rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.lists(edge_lists(6), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_a_disjoint_union_is_its_graphs_one_by_one(block, graphs, seed):
    inputs = [features(graph, seed + i) for i, graph in enumerate(graphs)]
    alone = torch.cat([block(x, graph) for x, graph in zip(inputs, graphs, strict=True)])
    together = block(torch.cat(inputs), disjoint_union(graphs))
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    "graph",
    [
        Window(11, left=2, right=1),
        EdgeList([[0, 1, 2, 3, 4, 5, 6, 6, 0], [1, 2, 3, 4, 5, 6, 7, 8, 10]], num_nodes=11),
    ],
    ids=["window", "tree"],
)
def test_layers_see_exactly_the_receptive_field(block, graph, layers):
    field = receptive_field(graph, layers)
    node = torch.arange(11)
    expected = field.contains(node[:, None], node[None, :])
    x = features(graph, 0)

    def deep(h):
        for _ in range(layers):
            h = block(h, graph)
        return h

    before, reached = deep(x), torch.zeros(11, 11, dtype=torch.bool)
    for source in range(11):
        moved = x.clone()
        moved[source] += torch.linspace(-2, 3, DIM, dtype=torch.float64)
        reached[:, source] = (deep(moved) != before).any(-1)
    assert not (reached & ~expected).any()  # perturbed outside: not one bit changes
    if not (isinstance(block.mixer, GraphConvolution) and block.mixer.reduce == "max"):
        assert torch.equal(reached, expected)  # max hears only the loudest


def test_self_loops_are_the_graphs_business(block):
    if not isinstance(block.mixer, GATAttention | GATv2Attention | DotAttention):
        return
    graph = EdgeList([[0], [1]], num_nodes=2)
    with_loops = graph | SelfLoops(2)
    assert edges(with_loops).target.tolist() == [0, 1, 1]
    x = features(graph, 0)
    assert not torch.allclose(block.mixer(x, graph), block.mixer(x, with_loops))
