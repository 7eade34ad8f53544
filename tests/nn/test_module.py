"""Layers are plain torch modules: they copy, save, print, compile and import without surprises."""

import copy
import io
import subprocess
import sys

import pytest
import torch

from edgewise.graphs import EdgeList, Window
from edgewise.nn import (
    MLP,
    Block,
    DotAttention,
    DynamicConvolution,
    GATAttention,
    GatedConvolution,
    GATv2Attention,
    GCNConvolution,
    GraphConvolution,
    LightweightConvolution,
)

LAYERS = {
    "dot": lambda: DotAttention(6, heads=2, kv_heads=1),
    "gat": lambda: GATAttention(6, 3, heads=2),
    "gatv2": lambda: GATv2Attention(6, 3, heads=2),
    "convolution": lambda: GraphConvolution(6, 6, activation="gelu"),
    "gcn": lambda: GCNConvolution(6, 6),
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
def test_a_layer_compiles_in_one_piece(layer, graph):
    torch.compiler.reset()
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
