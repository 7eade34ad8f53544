"""Every layer learns something from real data: papers of Cora, and molecules of ESOL.

What stands before and behind a layer stays as it was drawn, so that the layer has to learn.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgewise.functional import aggregate
from edgewise.graphs import Blocks, EdgeList, Hubs, RandomRegular, SelfLoops
from edgewise.nn import (
    MLP,
    DotAttention,
    GCNConvolution,
    GPSBlock,
    GraphNetwork,
    degree_coordinates,
)
from edgewise.testing import MESSAGE_LAYERS, LayerSizes
from edgewise.training import load
from tests.learning import assert_learns

DIM, BONDS, STEPS, MOLECULES = 16, 4, 20, 64


# --- Cora --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cora(data_root):
    data = load("cora", data_root)
    graph = EdgeList(data.topology.whole().edge_index, num_nodes=data.topology.num_nodes)
    # A part of the words is enough to learn from, and ten times as fast.
    return data.x[:, ::10] * 50, data.y, graph, data.split(0).train


NODE_LAYERS = [name for name, kind in MESSAGE_LAYERS.items() if not kind.needs_edges]
LOOPS = ("GAT", "GATv2", "TransformerConvolution", "graph Transformer")


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", NODE_LAYERS)
def test_papers(name, cora):
    x, y, graph, train = cora
    graph = graph | SelfLoops(graph.num_targets) if name in LOOPS else graph
    kind = MESSAGE_LAYERS[name]
    layer = kind.build(LayerSizes(DIM, DIM, None, heads=4))
    assert_learns_papers(layer, lambda h: kind.call(layer, h, graph), x, y, train)


@pytest.mark.usefixtures("seeded")
def test_papers_with_coordinates(cora):
    x, y, graph, train = cora
    layer = MESSAGE_LAYERS["MoNet"].build(LayerSizes(DIM, DIM, 2, heads=3))
    edge = degree_coordinates(graph)
    assert_learns_papers(layer, lambda h: layer(h, graph, edge=edge), x, y, train)


@pytest.mark.usefixtures("seeded")
def test_papers_with_sparse_attention(cora):
    x, y, graph, train = cora
    N = graph.num_targets
    layer = GPSBlock(GCNConvolution(DIM, DIM), DotAttention(DIM, heads=4), DIM)
    everywhere = RandomRegular(N, degree=4) | Hubs(N, [0, 1])
    assert_learns_papers(layer, lambda h: layer(h, graph, everywhere=everywhere), x, y, train)


def assert_learns_papers(layer, call, x, y, train):
    first, last = nn.Linear(x.shape[1], DIM), nn.Linear(DIM, 7)

    def loss():
        return F.cross_entropy(last(call(first(x)))[train], y[train])

    assert_learns(layer, loss, steps=STEPS, rate=0.1)


# --- ESOL --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def esol(data_root):
    data = load("esol", data_root)
    part = data.topology.part(torch.arange(MOLECULES))
    with np.load(data_root / "molecules" / "esol.npz") as raw:
        bonds = torch.from_numpy(raw["bond_type"][: int(raw["edge_ptr"][MOLECULES])].astype(int))
    kinds = torch.unique(bonds, return_inverse=True)[1].repeat_interleave(2)  # both directions
    edge = F.one_hot(kinds, BONDS).float()
    graph = EdgeList(part.edge_index, num_nodes=part.nodes.numel())
    assert graph.num_edges == len(edge)
    y = data.y[:MOLECULES]
    return data.x[part.nodes], edge, (y - y.mean()) / y.std(), graph, part.sizes.tolist()


EDGE_LAYERS = [name for name, kind in MESSAGE_LAYERS.items() if kind.edges == "edge"]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", EDGE_LAYERS)
def test_molecules(name, esol):
    x, edge, y, graph, sizes = esol
    readout = Blocks([1] * len(sizes), sizes)
    kind = MESSAGE_LAYERS[name]
    layer = kind.build(LayerSizes(DIM, DIM, BONDS, heads=4))
    first, last = nn.Linear(x.shape[1], DIM), nn.Linear(DIM, 1)

    def loss():
        h = kind.call(layer, first(x), graph, edge=edge)
        return F.mse_loss(last(aggregate(h, readout, "mean"))[:, 0], y)

    assert_learns(layer, loss, steps=STEPS, rate=0.02)


@pytest.mark.usefixtures("seeded")
def test_molecules_as_graph_networks(esol):
    x, edge, y, graph, sizes = esol
    readout = Blocks([1] * len(sizes), sizes)
    first, last = nn.Linear(x.shape[1], DIM), nn.Linear(DIM, 1)
    block = GraphNetwork(
        MLP(BONDS + 2 * DIM + 1, 32, out_dim=DIM),
        MLP(DIM + DIM + 1, 32, out_dim=DIM),
        MLP(DIM + DIM + 1, 32, out_dim=DIM),
        edges_to_globals="mean",
        nodes_to_globals="mean",
    )

    def loss():
        size = torch.tensor(sizes)[:, None] / 10  # what is known of each molecule from the start
        out = block(first(x), graph, edge=edge, u=size, readout=readout)
        return F.mse_loss(last(out.u)[:, 0], y)

    assert_learns(block, loss, steps=STEPS, rate=0.02)
