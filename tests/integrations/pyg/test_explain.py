"""What is built on PyTorch Geometric's layers works on the drop-ins: explainers, to_hetero."""

import pytest
import torch
import torch_geometric.nn as originals
from torch import nn
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer

from edgewise.integrations import pyg

N = 8


class Net(nn.Module):
    def __init__(self, library, name, **settings):
        super().__init__()
        layer = getattr(library, name)
        heads = {} if name in ("GCNConv", "SAGEConv") else {"heads": 2, "concat": False}
        self.first = layer(3, 8, **heads, **settings)
        self.second = layer(8, 4, **heads, **settings)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index).log_softmax(-1)


@pytest.fixture
def edge_index():
    return torch.randint(N, (2, 20)).unique(dim=1)


def explained(library, name, algorithm, edge_index, explanation="model"):
    torch.manual_seed(0)
    model = Net(library, name).eval()
    x = torch.randn(N, 3)
    explainer = Explainer(
        model=model,
        algorithm=algorithm(),
        explanation_type=explanation,
        edge_mask_type="object",
        model_config={
            "mode": "multiclass_classification",
            "task_level": "node",
            "return_type": "log_probs",
        },
    )
    torch.manual_seed(1)
    found = explainer(x, edge_index)
    assert model.first.why_original() is None if library is pyg else True
    return found.edge_mask, model(x, edge_index).detach()


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "TransformerConv"])
def test_attention_explainer(name, edge_index):
    mask, out = explained(pyg, name, AttentionExplainer, edge_index)
    expected, theirs = explained(originals, name, AttentionExplainer, edge_index)
    torch.testing.assert_close(mask, expected)
    torch.testing.assert_close(out, theirs)
    assert float(mask.max()) > 0


@pytest.mark.parametrize("name", ["GATConv", "GCNConv", "SAGEConv", "TransformerConv"])
def test_gnn_explainer(name, edge_index):
    def short():
        return GNNExplainer(epochs=5)

    mask, out = explained(pyg, name, short, edge_index)
    expected, theirs = explained(originals, name, short, edge_index)
    torch.testing.assert_close(mask, expected)
    torch.testing.assert_close(out, theirs)
    assert mask.unique().numel() > 1


def hetero(library, name, metadata):
    torch.manual_seed(0)
    settings = {} if name == "SAGEConv" else {"add_self_loops": False}

    class Sizes(nn.Module):
        def __init__(self):
            super().__init__()
            layer = getattr(library, name)
            self.first = layer((-1, -1), 8, **settings)
            self.second = layer((-1, -1), 4, **settings)

        def forward(self, x, edge_index):
            return self.second(self.first(x, edge_index).relu(), edge_index)

    return originals.to_hetero(Sizes(), metadata, aggr="sum")


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "SAGEConv"])
def test_to_hetero(name):
    x = {"paper": torch.randn(6, 5), "author": torch.randn(4, 3)}
    kinds = {
        ("paper", "cites", "paper"): (6, 6),
        ("author", "writes", "paper"): (4, 6),
        ("paper", "has", "author"): (6, 4),
    }
    edges = {
        kind: torch.stack([torch.randint(s, (9,)), torch.randint(t, (9,))])
        for kind, (s, t) in kinds.items()
    }
    ours, theirs = (hetero(lib, name, (list(x), list(kinds))) for lib in (pyg, originals))
    ours(x, edges), theirs(x, edges)
    theirs.load_state_dict(ours.state_dict())
    found, expected = ours(x, edges), theirs(x, edges)
    for node in x:
        torch.testing.assert_close(found[node], expected[node])
    drop_ins = [m for m in ours.modules() if isinstance(m, getattr(pyg, name))]
    assert len(drop_ins) == 6
    assert all(layer.why_original() is None for layer in drop_ins)


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_hetero_conv():
    kind = ("author", "writes", "paper")
    x = {"author": torch.randn(4, 3), "paper": torch.randn(6, 5)}
    edges = {kind: torch.stack([torch.randint(4, (9,)), torch.randint(6, (9,))])}
    ours, theirs = (
        originals.HeteroConv({kind: lib.GATConv((3, 5), 2, add_self_loops=False)})
        for lib in (pyg, originals)
    )
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x, edges)["paper"], theirs(x, edges)["paper"])
