"""Tables of PyTorch Geometric's names: every weight has a twin, and with it both say the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import nn as pyg

from edgewise.graphs import Blocks, EdgeList
from edgewise.integrations.names import pyg_names as names
from edgewise.integrations.names.table import to_edgewise, to_original
from edgewise.models import GNN, GPS, NodeModel
from edgewise.nn import MLP, DotAttention, GINEConvolution, GPSBlock
from edgewise.testing import MESSAGE_LAYERS, LayerSizes

IN, OUT, EDGE = 6, 4, 3
GRAPH = EdgeList([[0, 1, 2, 3, 3, 1], [1, 0, 1, 4, 4, 2]], num_nodes=6)


def two_linear(first, hidden, last):
    return nn.Sequential(nn.Linear(first, hidden), nn.ReLU(), nn.Linear(hidden, last))


# Layers of the registry, the originals, and the table of their names.
PAIRS = {
    "message passing": (pyg.GraphConv(IN, OUT), names.GRAPH_CONVOLUTION),
    "GCN": (pyg.GCNConv(IN, OUT), names.GCN),
    "GraphSAGE with pooling": (
        pyg.SAGEConv(IN, OUT, "max", project=True, normalize=True),
        names.SAGE,
    ),
    "GIN": (pyg.GINConv(two_linear(IN, 8, OUT), train_eps=True), names.GIN),
    "GIN with edge features": (
        pyg.GINEConv(two_linear(IN, 8, OUT), edge_dim=EDGE),
        names.GIN,
    ),
    "MoNet": (pyg.GMMConv(IN, OUT, EDGE, 2), names.MONET),
    "GAT": (pyg.GATConv(IN, OUT // 2, 2, edge_dim=EDGE, add_self_loops=False), names.GAT),
    "GATv2": (pyg.GATv2Conv(IN, OUT // 2, 2, edge_dim=EDGE, add_self_loops=False), names.GATV2),
    "TransformerConvolution": (
        pyg.TransformerConv(IN, OUT // 2, 2, edge_dim=EDGE, beta=True),
        names.TRANSFORMER,
    ),
}


def twins(ours, theirs, table):
    """Give theirs the weights of ours, and see that ours come back."""
    weights = dict(ours.named_parameters())
    found = to_original(weights, table)
    parameters = dict(theirs.named_parameters())
    assert set(found) == set(parameters)
    with torch.no_grad():
        for name, tensor in found.items():
            assert tensor.shape == parameters[name].shape
            parameters[name].copy_(tensor)
    back = to_edgewise(parameters, table)
    assert set(back) == set(weights)
    for name, tensor in back.items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize("name", PAIRS)
def test_layers(name):
    kind, (theirs, table) = MESSAGE_LAYERS[name], PAIRS[name]
    sizes = LayerSizes(IN, OUT, EDGE, heads=2, activation="relu")
    ours = kind.build(sizes)
    twins(ours, theirs, table)
    x, edge = torch.randn(6, IN), torch.rand(GRAPH.num_edges, EDGE)
    weighted = kind.edges == "edge_weight"
    expected = theirs(x, GRAPH.edge_index, *(() if weighted else (edge,)))
    expected = F.elu(expected) if name == "message passing" else expected
    out = ours(x, GRAPH) if weighted else ours(x, GRAPH, edge=edge)
    torch.testing.assert_close(out, expected, rtol=2e-5, atol=2e-5)


def test_a_gps_layer():
    local = GINEConvolution(MLP(IN, 8), IN, edge_dim=EDGE)
    ours = GPSBlock(local, DotAttention(IN, heads=2), IN)
    theirs = pyg.GPSConv(IN, pyg.GINEConv(two_linear(IN, 8, IN), edge_dim=EDGE), heads=2)
    twins(ours, theirs, names.GPS)
    x, edge = torch.randn(6, IN), torch.randn(GRAPH.num_edges, EDGE)
    torch.testing.assert_close(
        ours(x, GRAPH, everywhere=Blocks([6]), edge=edge),
        theirs(x, GRAPH.edge_index, torch.zeros(6, dtype=torch.int64), edge_attr=edge),
        rtol=2e-5,
        atol=2e-5,
    )


@pytest.mark.parametrize("name", ["gcn", "sage", "gin", "gat"])
def test_stacks(name):
    kind = {"gcn": pyg.GCN, "sage": pyg.GraphSAGE, "gin": pyg.GIN, "gat": pyg.GAT}[name]
    settings = {"heads": 2, "add_self_loops": False} if name == "gat" else {}
    theirs = kind(IN, 8, 3, OUT, norm="batch_norm", jk="last", **settings)
    ours = NodeModel(GNN(IN, 8, name, layers=3, heads=2, norm="batch"), 8, OUT)
    twins(ours, theirs, names.gnn_names(getattr(names, name.upper()), layers=3))
    x = torch.randn(6, IN)
    torch.testing.assert_close(ours(x, GRAPH), theirs(x, GRAPH.edge_index), rtol=5e-5, atol=5e-5)


def test_the_blocks_of_gps():
    trunk = GPS(IN, 8, heads=2, layers=2, edge_dim=EDGE)
    layers = nn.ModuleList(
        pyg.GPSConv(8, pyg.GINEConv(two_linear(8, 8, 8)), heads=2) for _ in range(2)
    )
    blocks = nn.Module()
    blocks.blocks = trunk.blocks
    twins(blocks, layers, names.gps_names(layers=2))
