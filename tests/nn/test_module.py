"""Layers are plain torch modules: they copy, save, print, compile and import without surprises."""

import copy
import io
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

from edgewise.graphs import Blocks, EdgeList, Window
from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    DynamicConvolution,
    GATAttention,
    GatedConvolution,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GINEConvolution,
    GPSBlock,
    GraphConvolution,
    GraphNetwork,
    LightweightConvolution,
    MoNetConvolution,
    TransformerConvolution,
)


class WithEdges(torch.nn.Module):
    """A layer that is given the edge features it needs, all alike."""

    def __init__(self, layer, edge_dim, edges, **given):
        super().__init__()
        self.layer, self.given, self.edge_dim, self.edges = layer, given, edge_dim, edges

    def forward(self, x, graph):
        edge = torch.linspace(-1, 1, self.edge_dim, device=x.device, dtype=x.dtype)
        edge = edge.expand(self.edges[isinstance(graph, EdgeList)], -1)
        out = self.layer(x, graph, edge=edge, **self.given)
        return out if isinstance(out, torch.Tensor) else out.u


def network():
    layer = GraphNetwork(MLP(14, 8, out_dim=4), MLP(10, 8, out_dim=5), MLP(9, 8, out_dim=6))
    return WithEdges(layer, 2, EDGES, readout=Blocks([1, 1], [3, 4]))


def gps():
    block = GPSBlock(GINEConvolution(MLP(6, 8), 6, 2), DotAttention(6, heads=2), 6)
    return WithEdges(block, 2, EDGES, everywhere=Blocks([3, 4]))


EDGES = {False: 19, True: 4}  # of the two graphs below
LAYERS = {
    "dot": lambda: DotAttention(6, heads=2, kv_heads=1),
    "gat": lambda: GATAttention(6, 3, heads=2),
    "gatv2": lambda: GATv2Attention(6, 3, heads=2),
    "convolution": lambda: GraphConvolution(6, 6, activation="gelu"),
    "pooling": lambda: GraphConvolution(6, 6, reduce="max", message="pool", normalize=True),
    "gcn": lambda: GCNConvolution(6, 6),
    "gin": lambda: GINConvolution(MLP(6, 8), train_eps=True),
    "gine": lambda: WithEdges(GINEConvolution(MLP(6, 8), 6, 2, eps=0.5), 2, EDGES),
    "monet": lambda: WithEdges(MoNetConvolution(6, 6, kernels=3, coordinates=2), 2, EDGES),
    "transformer": lambda: WithEdges(
        TransformerConvolution(6, 3, 2, edge_dim=2, beta=True), 2, EDGES
    ),
    "network": network,
    "gps": gps,
    "lightweight": lambda: LightweightConvolution(6, heads=2, kernel=3, left=1),
    "dynamic": lambda: GatedConvolution(DynamicConvolution(6, heads=2, kernel=3, left=1), 6),
    "block": lambda: Block(DotAttention(6, heads=2), 6, norm="batch", mlp=MLP(6, 9)),
}
GRAPHS = [Window(7, left=1, right=1), EdgeList([[0, 1, 6, 3], [1, 2, 5, 3]], num_nodes=7)]


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]()


def test_a_layer_is_copied_and_saved(layer):
    x = torch.randn(7, 6)
    expected = layer.eval()(x, GRAPHS[1])
    assert torch.equal(copy.deepcopy(layer)(x, GRAPHS[1]), expected)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    for parameter in other.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x, GRAPHS[1]), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_built_without_memory_and_filled_later(name):
    with torch.device("meta"):
        layer = LAYERS[name]()
    assert all(parameter.is_meta for parameter in layer.parameters())
    filled = layer.to_empty(device="cpu")
    filled.load_state_dict(LAYERS[name]().state_dict())
    assert filled(torch.randn(7, 6), GRAPHS[0]).isfinite().all()


@pytest.mark.parametrize("graph", GRAPHS, ids=["window", "edges"])
def test_a_layer_compiles_in_one_piece(layer, graph, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr("edgewise.graphs.cache._RECENT", OrderedDict())
    graph = pickle.loads(pickle.dumps(graph))  # an equal one, about which nothing is known yet
    x = torch.randn(7, 6, requires_grad=True)
    layer.eval()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    out, expected = compiled(x, graph), layer(x, graph)
    torch.testing.assert_close(out, expected)
    gradients = [torch.autograd.grad(result.square().sum(), x)[0] for result in (out, expected)]
    torch.testing.assert_close(*gradients)


def test_low_precision_goes_through(layer):
    x = torch.randn(7, 6)
    expected = layer.eval()(x, GRAPHS[0])
    out = layer.bfloat16()(x.bfloat16(), GRAPHS[0])
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)


def test_importing_loads_no_optional_package():
    optional = ["scipy", "torch_geometric", "lightning", "networkx.algorithms"]
    program = f"import sys, edgewise.nn; print([m for m in {optional} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
