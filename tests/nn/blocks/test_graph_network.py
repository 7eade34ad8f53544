"""A GraphNetwork is algorithm 1 of its paper; the claims compare it with loops and with PyG."""

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, EdgeList, Window, disjoint_union
from edgewise.layouts import edges
from edgewise.nn import MLP, GraphFeatures, GraphNetwork

PAIRS = EdgeList([[0, 1, 1, 3, 4, 4], [1, 0, 0, 4, 3, 3]], num_nodes=6)  # of 3, 2 and 1 nodes
READOUT = Blocks([1, 1, 1], [3, 2, 1])
OF = torch.tensor([0, 0, 0, 1, 1, 2])


class Kept(nn.Module):
    """Returns what it was given, and remembers it."""

    def forward(self, x):
        self.given = x
        return x


def features(dtype=torch.float64, *batch):
    shapes = {"x": (6, 4), "edge": (6, 3), "u": (3, 2)}
    return {name: torch.randn(*batch, *shape, dtype=dtype) for name, shape in shapes.items()}


@pytest.mark.usefixtures("seeded")
def test_each_function_gets_its_arguments_in_order():
    block, given = GraphNetwork(Kept(), Kept(), Kept()), features()
    x, edge, u = given["x"], given["edge"], given["u"]
    out = block(x, PAIRS, edge=edge, u=u, readout=READOUT)
    source, target = PAIRS.edge_index
    new_edge = torch.cat([edge, x[target], x[source], u[OF[target]]], 1)
    assert torch.equal(out.edge, new_edge)
    message = torch.zeros(6, 13, dtype=torch.float64).index_add(0, target, new_edge)
    new_x = torch.cat([message, x, u[OF]], 1)
    torch.testing.assert_close(out.x, new_x)
    links = torch.zeros(3, 13, dtype=torch.float64).index_add(0, OF[target], new_edge)
    nodes = torch.zeros(3, 19, dtype=torch.float64).index_add(0, OF, new_x)
    torch.testing.assert_close(out.u, torch.cat([links, nodes, u], 1))


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_reductions(reduce):
    settings = dict.fromkeys(("edges_to_nodes", "edges_to_globals", "nodes_to_globals"), reduce)
    block, given = GraphNetwork(None, Kept(), Kept(), **settings), features()
    given["edge"][3:] -= 9  # all below zero: an empty maximum is zero, not the largest
    block(given["x"], PAIRS, edge=given["edge"], readout=READOUT)
    into = [given["edge"][PAIRS.target == i] for i in range(6)]
    inside = [given["edge"][OF[PAIRS.target] == g] for g in range(3)]
    new = block.node_mlp.given
    of_graph = [new[first:last] for first, last in ((0, 3), (3, 5), (5, 6))]
    reduced = {
        "sum": lambda rows: rows.sum(0),
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.amax(0),
    }[reduce]
    for result, rows, width in (
        (new[:, :3], into, 3),
        (block.global_mlp.given[:, :3], inside, 3),
        (block.global_mlp.given[:, 3:], of_graph, 7),
    ):
        zero = torch.zeros(width, dtype=torch.float64)
        expected = torch.stack([reduced(r) if len(r) else zero for r in rows])
        torch.testing.assert_close(result, expected)


@pytest.mark.usefixtures("seeded")
def test_what_is_not_there_is_left_out():
    x, edge, u = features().values()
    empty = GraphNetwork()(x, PAIRS)
    assert isinstance(empty, GraphFeatures)
    assert empty.x is x
    assert empty.edge is None
    assert empty.u is None
    deep_set = GraphNetwork(None, Kept(), Kept())(x, PAIRS, u=u, readout=READOUT)
    assert (deep_set.x.shape, deep_set.edge, deep_set.u.shape) == ((6, 6), None, (3, 8))
    relation = GraphNetwork(Kept(), None, Kept())(x, PAIRS)
    assert (relation.x is x, relation.edge.shape, relation.u.shape) == (True, (6, 8), (1, 12))
    passing = GraphNetwork(Kept(), Kept())(x, PAIRS, edge=edge)
    assert (passing.x.shape, passing.edge.shape, passing.u) == ((6, 15), (6, 11), None)
    kept = GraphNetwork(None, None, None)(x, PAIRS, edge=edge, u=u[:1])
    assert kept.edge is edge


@pytest.mark.usefixtures("seeded")
def test_without_readout_all_nodes_are_one_graph(close):
    x, edge, u = features().values()
    block = GraphNetwork(MLP(13, 8), MLP(13 + 4 + 2, 8), MLP(13 + 19 + 2, 8, out_dim=2)).double()
    one = block(x, PAIRS, edge=edge, u=u[:1])
    same = block(x, PAIRS, edge=edge, u=u[:1], readout=Blocks([1], [6]))
    for a, b in zip(one, same, strict=True):
        close(a, b)


@pytest.mark.usefixtures("seeded")
def test_a_batch_shares_the_graph(close):
    block = GraphNetwork(MLP(13, 8), MLP(13 + 4 + 2, 8), MLP(13 + 19 + 2, 8, out_dim=2)).double()
    given = features(torch.float64, 2, 3)
    together = block(given["x"], PAIRS, edge=given["edge"], u=given["u"], readout=READOUT)
    shared = block(given["x"], PAIRS, edge=given["edge"][0, 0], u=given["u"][0, 0], readout=READOUT)
    for i in range(2):
        for j in range(3):
            x, edge, u = (tensor[i, j] for tensor in given.values())
            for a, b in zip(
                together, block(x, PAIRS, edge=edge, u=u, readout=READOUT), strict=True
            ):
                close(a[i, j], b)
            edge, u = given["edge"][0, 0], given["u"][0, 0]
            for a, b in zip(shared, block(x, PAIRS, edge=edge, u=u, readout=READOUT), strict=True):
                close(a[i, j], b)


@pytest.mark.usefixtures("seeded")
def test_graphs_of_a_batch_are_those_alone(close):
    block = GraphNetwork(MLP(13, 8), MLP(13 + 4 + 2, 8), MLP(13 + 19 + 2, 8, out_dim=2)).double()
    parts = [Window(3, left=1, right=0), EdgeList([[0, 0], [1, 1]], num_nodes=2)]
    x, edge, u = torch.randn(5, 4).double(), torch.randn(7, 3).double(), torch.randn(2, 2).double()
    assert [edges(part).num_edges for part in parts] == [5, 2]
    readout = Blocks([1, 1], [3, 2])
    together = block(x, disjoint_union(parts), edge=edge, u=u, readout=readout)
    first = block(x[:3], parts[0], edge=edge[:5], u=u[:1])
    second = block(x[3:], parts[1], edge=edge[5:], u=u[1:])
    for all_of_them, a, b in zip(together, first, second, strict=True):
        close(all_of_them, torch.cat([a, b]))


def test_what_does_not_fit_is_refused():
    block, (x, edge, u) = GraphNetwork(Kept(), Kept(), Kept()), features().values()
    with pytest.raises(ArgumentError, match="edges_to_nodes must be one of 'sum', 'mean', 'max'"):
        GraphNetwork(edges_to_nodes="median")
    with pytest.raises(ShapeError, match="must be square, got 1 targets and 2 sources"):
        block(x, EdgeList([[1], [0]], num_targets=1, num_sources=2))
    with pytest.raises(ShapeError, match=r"x must have shape \[\*batch, nodes, features\], got"):
        block(x[:, 0], PAIRS)
    with pytest.raises(ShapeError, match="GraphNetwork: x has 5 nodes but graph has 6 targets"):
        block(x[:5], PAIRS)
    with pytest.raises(ShapeError, match="GraphNetwork: edge must have shape"):
        block(x, PAIRS, edge=edge[:5])
    with pytest.raises(ShapeError, match="readout has 5 sources but graph has 6 nodes"):
        block(x, PAIRS, readout=Blocks([1, 1], [3, 2]))
    for wrong in (u, u[:1, 0], u[None, :1]):
        with pytest.raises(ShapeError, match=r"u must have shape .* and 1 graphs, got"):
            block(x, PAIRS, u=wrong)
    with pytest.raises(ShapeError, match=r"MLP: x has 13 features but the layer was built with"):
        GraphNetwork(MLP(12, 8))(x, PAIRS, edge=edge, u=u, readout=READOUT)
    assert "edges_to_nodes='sum'" in repr(block)
