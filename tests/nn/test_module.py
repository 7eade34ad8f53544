"""Layers are plain torch modules: they copy, save, print, compile and import without surprises."""

import copy
import io
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

from edgewise.graphs import EdgeList, Window
from edgewise.testing import MESSAGE_LAYERS, LayerSizes
from edgewise.testing.layers import LAYERS as CASES, Called

EDGES = {False: 19, True: 4}  # of the two graphs below


def message_layer(kind):
    """A layer of this kind that is called with nodes and a graph, its edges all alike."""
    sizes = LayerSizes()

    def call(layer, x, graph):
        shape = kind.edge_shape(sizes)
        edge = torch.linspace(-1, 1, shape[0] if shape else 1, device=x.device, dtype=x.dtype)
        edge = edge.expand(EDGES[isinstance(graph, EdgeList)], -1)
        return kind.call(layer, x, graph, **{kind.edges: edge if shape else edge[:, 0]})

    return lambda: Called(kind.build(sizes), call)


LAYERS = {name: message_layer(kind) for name, kind in MESSAGE_LAYERS.items()} | {
    name: CASES[name].build
    for name in ("dot", "gat", "gatv2", "pooling", "gin", "lightweight", "dynamic, gated", "block")
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
