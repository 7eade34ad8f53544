"""The GPS layer with graphs of its own for attention."""

import pytest
import torch
import torch_geometric.nn as originals

from edgewise import Blocks, Complete, EdgeList, Hubs, RandomRegular, Window
from edgewise.errors import ArgumentError
from edgewise.integrations import pyg
from edgewise.integrations.pyg.gps_conv import blocks_of

N, DIM = 9, 8
EDGES = torch.randint(N, (2, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def layer():
    return pyg.GPSConv(DIM, originals.GINConv(torch.nn.Linear(DIM, DIM)), heads=2).double()


def masked(layer, x, graph, bias=None):
    """What the original would compute if it knew masks, by its own modules."""
    node = torch.arange(N)
    mask = torch.zeros(N, N, dtype=x.dtype) if bias is None else bias
    blocked = ~graph.contains(node[:, None], node[None, :])
    seen, _ = layer.attn(x, x, x, attn_mask=mask.masked_fill(blocked, -torch.inf))
    both = layer.norm1(layer.conv(x, EDGES) + x) + layer.norm2(seen + x)
    return layer.norm3(both + layer.mlp(both))


@pytest.mark.parametrize(
    "graph",
    [
        Complete(N),
        Window(N, left=1, right=1) | Hubs(N, [0]),
        Window(N, left=1, right=1) | Hubs(N, [0]) | RandomRegular(N, degree=2),  # BigBird
        EdgeList(EDGES, N) | RandomRegular(N, degree=4) | Hubs(N, [0]),  # Exphormer
        Blocks([4, 5]),
    ],
    ids=["complete", "longformer", "bigbird", "exphormer", "blocks"],
)
def test_any_graph(layer, graph):
    x = torch.randn(N, DIM, dtype=torch.float64, requires_grad=True)
    ours, expected = layer(x, EDGES, graph=graph), masked(layer, x, graph)
    torch.testing.assert_close(ours, expected)
    leaves = [x, *layer.parameters()]
    weight = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, weight), torch.autograd.grad(expected, leaves, weight)
    )


def test_bias(layer):
    x, graph = torch.randn(N, DIM, dtype=torch.float64), EdgeList(EDGES.unique(dim=1), N)
    graph = EdgeList(
        torch.cat([graph.edge_index, torch.arange(N).expand(2, -1)], 1).unique(dim=1), N
    )
    bias = torch.randn(graph.num_edges, dtype=torch.float64)
    dense = torch.zeros(N, N, dtype=torch.float64)
    dense[graph.target, graph.source] = bias
    torch.testing.assert_close(
        layer(x, EDGES, graph=graph, bias=bias[None]), masked(layer, x, graph, dense)
    )


def test_molecules_do_not_see_one_another(layer):
    x, batch = torch.randn(N, DIM).double(), torch.tensor([0, 0, 0, 0, 1, 1, 1, 3, 3])
    layer.eval()
    edges = torch.tensor([[0, 4], [1, 5]])
    before = layer(x, edges, batch)
    x[7:] += 1
    assert torch.equal(layer(x, edges, batch)[:7], before[:7])


def test_the_batch_is_read_once():
    batch = torch.tensor([0, 0, 1, 3])
    assert blocks_of(batch) == Blocks([2, 1, 1])
    assert blocks_of(batch) is blocks_of(batch)
    batch[1] = 1
    assert blocks_of(batch) == Blocks([1, 2, 1])
    assert blocks_of(torch.tensor([1, 0])) is None
    assert blocks_of(torch.zeros(2)) is None


@pytest.mark.parametrize("name", ["graph", "bias"])
def test_not_where_the_attention_is_the_original_s(name):
    layer = pyg.GPSConv(DIM, None, heads=2, attn_type="performer")
    given = {name: Complete(N) if name == "graph" else torch.zeros(1, N * N)}
    with pytest.raises(ArgumentError, match=f"GPSConv: {name} was given, but the attention is"):
        layer(torch.randn(N, DIM), EDGES, **given)


def test_edge_features_reach_the_local_layer():
    def built(library):
        torch.manual_seed(0)
        return library.GPSConv(DIM, library.GATConv(DIM, DIM, edge_dim=3), heads=2)

    x, edge_attr = torch.randn(N, DIM), torch.randn(20, 3)
    ours, theirs = (built(library) for library in (pyg, originals))
    torch.testing.assert_close(
        ours(x, EDGES, edge_attr=edge_attr), theirs(x, EDGES, edge_attr=edge_attr)
    )


def test_dropout_of_attention():
    layer = pyg.GPSConv(DIM, None, heads=2, norm=None, attn_kwargs={"dropout": 0.5})
    x = torch.randn(N, DIM)
    assert not torch.equal(layer(x, EDGES), layer(x, EDGES))
    layer.eval()
    assert torch.equal(layer(x, EDGES), layer(x, EDGES))
