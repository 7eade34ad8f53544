"""Swapping the layers of models that are there."""

import io

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as originals
from torch import nn

from edgewise.integrations import pyg
from edgewise.integrations.pyg import accelerate

N = 8


class Stack(nn.Module):
    """A layer of every kind that can be swapped, and some that cannot."""

    def __init__(self):
        super().__init__()
        two = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.layers = nn.ModuleList(
            [
                originals.GATConv(4, 2, heads=2),
                originals.GATv2Conv(4, 2, heads=2),
                originals.TransformerConv(4, 2, heads=2),
                originals.GCNConv(4, 4),
                originals.SAGEConv(4, 4),
                originals.GINConv(two),
                originals.GPSConv(4, originals.GCNConv(4, 4), heads=2),
                originals.ChebConv(4, 4, K=2),
                originals.SAGEConv(4, 4, aggr="median"),
                Quiet(4, 4),
            ]
        )

    def forward(self, x, edge_index):
        for layer in self.layers:
            x = layer(x, edge_index)
        return x


class Quiet(originals.GCNConv):
    def message(self, x_j, edge_weight):
        return 0.5 * x_j


@pytest.fixture
def edge_index():
    return torch.randint(N, (2, 20))


def test_report():
    report = accelerate(Stack())
    assert str(report).splitlines() == [
        "swapped  layers.0       GATConv",
        "swapped  layers.1       GATv2Conv",
        "swapped  layers.2       TransformerConv",
        "swapped  layers.3       GCNConv",
        "swapped  layers.4       SAGEConv",
        "swapped  layers.5       GINConv",
        "swapped  layers.6       GPSConv",
        "swapped  layers.6.conv  GCNConv",
        "left     layers.7       ChebConv: there is no drop-in for it",
        "left     layers.8       SAGEConv: aggr='median' is none of add, sum, mean, max",
        "left     layers.9       Quiet: a subclass of GCNConv may have changed anything",
    ]


def test_the_same_numbers(edge_index):
    model, x = Stack().eval(), torch.randn(N, 4)
    before = model(x, edge_index)
    before.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    accelerate(model)
    after = model(x, edge_index)
    after.sum().backward()
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


def test_everything_but_the_class_stays(edge_index):
    model, seen = Stack(), []
    model.layers[2].eval()
    model.layers[0].register_forward_hook(lambda *_: seen.append("forward"))
    handle = model.layers[1].register_message_forward_hook(lambda *_: seen.append("message"))
    model.layers[3].note = "mine"
    modules, parameters = list(model.modules()), list(model.parameters())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    text, modes = repr(model), [m.training for m in model.modules()]
    accelerate(model)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[n], v) for n, v in model.state_dict().items())
    assert repr(model) == text
    assert [m.training for m in model.modules()] == modes
    assert model.layers[3].note == "mine"
    model(torch.randn(N, 4), edge_index)
    assert seen == ["forward", "message"]
    handle.remove()
    assert model.layers[1].why_original() is None
    Stack().load_state_dict(model.state_dict())


def test_twice_is_once():
    model = Stack()
    accelerate(model)
    again = accelerate(model)
    assert not again.swapped
    assert len(again.left) == 3


def test_a_layer_by_itself():
    layer = originals.GATConv(4, 2)
    assert str(accelerate(layer)) == "swapped  (model)  GATConv"
    assert type(layer) is pyg.GATConv
    assert type(originals.GATConv(4, 2)) is originals.GATConv


def test_a_model_without_messages():
    report = accelerate(nn.Linear(2, 2))
    assert str(report) == "nothing to swap: no layer of this model passes messages or attends"


def test_ready_made_models(edge_index):
    x = torch.randn(N, 4)
    for kind in (originals.GAT, originals.GCN, originals.GraphSAGE, originals.GIN):
        model = kind(4, 8, num_layers=2, out_channels=3).eval()
        before = model(x, edge_index)
        assert len(accelerate(model).swapped) == 2
        torch.testing.assert_close(model(x, edge_index), before, rtol=1e-4, atol=1e-5)


def test_performer_is_left():
    layer = originals.GPSConv(8, None, attn_type="performer", heads=2)
    report = accelerate(layer)
    assert report.left == (
        ("(model)", "GPSConv", "attn_type='performer' is no attention over a graph"),
    )
    assert type(layer) is originals.GPSConv


def test_training_goes_on(edge_index):
    """A model swapped between two steps takes the same steps, optimizer and all."""
    x, y = torch.randn(N, 4).double(), torch.randint(4, (N,))
    losses = []
    for swap_after in (None, 3):
        torch.manual_seed(0)
        model = originals.GAT(4, 8, num_layers=2, out_channels=4, heads=2).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(8):
            if step == swap_after:
                accelerate(model)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x, edge_index), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[:8] == pytest.approx(losses[8:], abs=1e-10)
    assert losses[7] < losses[0]


def test_a_swapped_model_in_a_file(edge_index):
    model, x = Stack().eval(), torch.randn(N, 4)
    accelerate(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(x, edge_index), model(x, edge_index))
    assert not accelerate(again).swapped
