"""What makes a drop-in a drop-in: classes, inputs, errors, and when the original computes."""

import copy
import inspect
import io
import re
import subprocess
import sys

import pytest
import torch
import torch_geometric.nn as originals
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from edgewise.integrations import pyg

N = 7
ATTENTION = ("GATConv", "GATv2Conv", "TransformerConv")
PLAIN = (*ATTENTION, "GCNConv", "SAGEConv")
NAMES = pytest.mark.parametrize("name", PLAIN)


def layers(name, *args, **kwargs):
    args = args or (4, 3)
    theirs = getattr(originals, name)(*args, **kwargs).double()
    ours = getattr(pyg, name)(*args, **kwargs).double()
    if not any(isinstance(p, nn.UninitializedParameter) for p in theirs.parameters()):
        ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.fixture
def edge_index():
    return torch.tensor([[0, 1, 2, 3, 4, 0, 1, 1], [1, 2, 3, 4, 0, 2, 5, 5]])


@pytest.fixture
def x():
    return torch.randn(N, 4, dtype=torch.float64)


@NAMES
def test_is_its_original(name):
    kind = getattr(pyg, name)
    original = getattr(originals, name)
    assert issubclass(kind, original)
    assert inspect.signature(kind) == inspect.signature(original)
    given = inspect.signature(original.forward).parameters
    assert list(inspect.signature(kind.forward).parameters) == list(given)


@NAMES
def test_the_same_seed_gives_the_same_weights(name):
    found = []
    for library in (originals, pyg):
        torch.manual_seed(3)
        layer = getattr(library, name)(4, 3)
        first = [p.clone() for p in layer.parameters()]
        layer.reset_parameters()
        found.append([*first, *layer.parameters(), torch.rand(2)])
    assert all(map(torch.equal, *found))


@NAMES
def test_lazy_sizes(name, x, edge_index):
    sizes = -1 if name == "GCNConv" else (-1, -1)
    ours, theirs = layers(name, sizes, 3)
    given = x if name == "GCNConv" else (x, x)
    ours(given, edge_index)
    theirs(given, edge_index)
    theirs.load_state_dict(ours.state_dict())
    assert ours.why_original() is None
    torch.testing.assert_close(ours(given, edge_index), theirs(given, edge_index))


@pytest.mark.filterwarnings("ignore:Sparse ", "ignore:Converting sparse tensor to CSR")
@NAMES
def test_kinds_of_edges(name, x, edge_index):
    ours, theirs = layers(name)
    coo = torch.sparse_coo_tensor(edge_index[:, :7].flip(0), torch.ones(7).double(), (N, N))
    for edges in (
        edge_index.int() if name == "TransformerConv" else edge_index,
        EdgeIndex(edge_index, sparse_size=(N, N)),
        EdgeIndex(edge_index, sparse_size=(N, N)).sort_by("col")[0],
        EdgeIndex(edge_index),
        coo.coalesce(),
        coo.coalesce().to_sparse_csr(),
        torch.zeros(2, 0, dtype=torch.long),
    ):
        torch.testing.assert_close(ours(x, edges), theirs(x, edges))


@pytest.mark.filterwarnings("ignore:Sparse ")
@pytest.mark.parametrize("name", ATTENTION)
def test_weights_of_kinds_of_edges(name, x, edge_index):
    ours, theirs = layers(name)
    coo = torch.sparse_coo_tensor(edge_index[:, :7].flip(0), torch.ones(7).double(), (N, N))
    for edges in (
        edge_index,
        EdgeIndex(edge_index, sparse_size=(N, N)),
        coo.coalesce(),
        coo.coalesce().to_sparse_csr(),
    ):
        (out, (ends, alpha)), (theirs_out, (their_ends, their_alpha)) = (
            layer(x, edges, return_attention_weights=True) for layer in (ours, theirs)
        )
        torch.testing.assert_close(out, theirs_out)
        torch.testing.assert_close(alpha, their_alpha)
        assert type(ends) is type(their_ends)
        assert ends.layout == their_ends.layout
        if ends.layout == torch.strided:
            assert torch.equal(torch.as_tensor(ends), torch.as_tensor(their_ends))
        else:
            assert torch.equal(ends.to_dense(), their_ends.to_dense())


@pytest.mark.parametrize("name", ATTENTION)
def test_what_is_returned(name, x, edge_index):
    ours, theirs = layers(name)
    for asked in (None, False, True):
        found, expected = (
            layer(x, edge_index, return_attention_weights=asked) for layer in (ours, theirs)
        )
        assert type(found) is type(expected)
    if name == "TransformerConv":
        assert ours._alpha is None


@NAMES
def test_nodes_without_any(name):
    ours, theirs = layers(name)
    empty, edges = torch.zeros(0, 4).double(), torch.zeros(2, 0, dtype=torch.long)
    assert ours(empty, edges).shape == theirs(empty, edges).shape == (0, 3)


@pytest.mark.parametrize("name", ["GCNConv", "SAGEConv"])
def test_static_graphs(name, edge_index):
    ours, theirs = layers(name)
    x = torch.randn(2, 3, N, 4, dtype=torch.float64)
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


@pytest.mark.parametrize("name", PLAIN)
def test_autocast(name, edge_index):
    ours, theirs = (layer.float() for layer in layers(name))
    x = torch.randn(N, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = ours(x, edge_index), theirs(x, edge_index)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ATTENTION)
def test_dropout_drops_the_share_it_says(name):
    """Neighbors all say one, so the result is the sum of the weights that were left."""
    ours, _ = layers(name, dropout=0.4, **({} if name == "TransformerConv" else {"bias": False}))
    x, ends = torch.ones(2000, 4).double(), torch.randint(2000, (2, 40_000))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
        value = ours.lin_value if name == "TransformerConv" else None
        value = (ours.lin if name == "GATConv" else ours.lin_l) if value is None else value
        value.weight.fill_(0.25)
        assert torch.allclose(ours.eval()(x, ends)[ends[1]], torch.ones(1).double())
        found = ours.train()(x, ends)[ends[1].unique()]
    assert abs(float(found.mean()) - 1.0) < 0.02
    assert float(found.std()) > 0.05


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
def test_weights_that_were_dropped(name, x, edge_index):
    """Asked for in training they are those after dropout, and those that were used."""
    ours, theirs = layers(name, dropout=0.5)
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(1)
        out, (_, alpha) = layer(x, edge_index, return_attention_weights=True)
        found.append([out.detach(), alpha.detach()])
    assert all(map(torch.equal, *found))
    assert float(found[0][1].max()) > 1 or bool((found[0][1] == 0).any())


def test_weights_before_dropout(x, edge_index):
    ours, _ = layers("TransformerConv", dropout=0.5)
    _, (_, alpha) = ours(x, edge_index, return_attention_weights=True)
    ours.eval()
    torch.testing.assert_close(alpha, ours(x, edge_index, return_attention_weights=True)[1][1])


# --- When the original computes ----------------------------------------------------------------


def spy(monkeypatch, name):
    """Count the calls of the original's message."""
    calls, message = [], getattr(originals, name).message

    def counted(self, *args, **kwargs):
        calls.append(self)
        return message(self, *args, **kwargs)

    monkeypatch.setattr(getattr(originals, name), "message", counted)
    return calls


@NAMES
def test_edgewise_makes_no_messages(name, x, edge_index, monkeypatch):
    ours, theirs = layers(name)
    calls = spy(monkeypatch, name)
    ours(x, edge_index)
    assert not calls
    theirs(x, edge_index)
    assert len(calls) == 1


@NAMES
@pytest.mark.parametrize("pre", ["", "_pre"])
@pytest.mark.parametrize("step", ["message", "aggregate", "propagate"])
def test_hooks_see_messages(name, step, pre, x, edge_index):
    ours, theirs = layers(name)
    seen = []
    handle = getattr(ours, f"register_{step}_forward{pre}_hook")(lambda *args: seen.append(args))
    assert ours.why_original() == "hooks want to see messages"
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
    assert len(seen) == 1
    handle.remove()
    assert ours.why_original() is None


def test_other_aggregations(x, edge_index):
    for aggr in ("mean", "max", "mul", ["sum", "max"]):
        ours, theirs = layers("GATConv", aggr=aggr)
        assert ours.why_original().startswith(f"aggr={aggr!r} is none of")
        if isinstance(aggr, str):
            torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
    for aggr in ("median", "softmax", ["mean", "max"], originals.SumAggregation()):
        ours, theirs = layers("SAGEConv", aggr=aggr)
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


def test_maxima_share_a_gradient_as_ever(edge_index):
    ours, theirs = layers("SAGEConv", aggr="max")
    found = []
    for layer in (ours, theirs):
        x = torch.ones(N, 4, dtype=torch.float64, requires_grad=True)
        layer(x, edge_index).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found)


@NAMES
def test_a_subclass_with_its_own_messages(name, x, edge_index):
    def louder(kind):
        class Louder(kind):
            def update(self, inputs):
                return 2 * inputs

        Louder.__name__ = f"Louder{kind.__module__}{name}".replace(".", "")  # names a file
        return Louder

    ours, theirs = (louder(getattr(lib, name))(4, 3).double() for lib in (pyg, originals))
    ours.load_state_dict(theirs.state_dict())
    assert ours.why_original() == "it has its own message, aggregate or update"
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


def test_a_subclass_without(x, edge_index):
    class Named(pyg.GATConv):
        def __init__(self, width):
            super().__init__(width, 3, heads=2)
            self.extra = nn.Linear(2, 2)

    layer = Named(4).double()
    assert type(layer) is Named
    assert layer.why_original() is None
    assert layer(x, edge_index).shape == (N, 6)


def test_a_layer_with_its_own_message(x, edge_index):
    ours, theirs = layers("SAGEConv")
    for layer in (ours, theirs):
        layer.message = lambda x_j: 3 * x_j
    assert ours.why_original() is not None
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


def test_decomposed_layers(x, edge_index):
    ours, theirs = layers("GCNConv", decomposed_layers=2)
    assert ours.why_original() == "decomposed_layers is above 1"
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
    ours.decomposed_layers = 1
    assert ours.why_original() is None
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


def test_compiled(edge_index):
    ours, theirs = (layer.float() for layer in layers("GATConv"))
    x = torch.randn(N, 4)
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edge_index), theirs(x, edge_index))


@NAMES
def test_errors_are_the_original_s(name, x, edge_index):
    ours, theirs = layers(name)
    for given, edges in (
        (x, edge_index.float()),
        (x, edge_index[0]),
        (x, edge_index[:1]),
        (x, edge_index + 5),
        (x[:, :3], edge_index),
    ):
        with pytest.raises((ValueError, IndexError, RuntimeError)) as expected:
            theirs(given, edges)
        with pytest.raises(type(expected.value), match=re.escape(str(expected.value)[:40])):
            ours(given, edges)


# --- Copies and files --------------------------------------------------------------------------


@NAMES
def test_copies_and_pickles(name, x, edge_index):
    ours, _ = layers(name)
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    for again in (copy.deepcopy(ours), torch.load(file, weights_only=False)):
        assert type(again) is type(ours)
        assert again.why_original() is None
        assert torch.equal(again(x, edge_index), ours(x, edge_index))
        again.explain = True
        again._edge_mask, again._loop_mask = torch.ones(8), edge_index[0] != edge_index[1]
        assert not torch.equal(again(x, edge_index), ours(x, edge_index))


def test_a_pickle_in_a_process_that_never_saw_the_original(tmp_path, x, edge_index):
    """The code that the original writes for itself must be written there first."""
    path = tmp_path / "layer.pt"
    ours, _ = layers("GATConv")
    torch.save((ours, x, edge_index, ours(x, edge_index)), path)
    code = (
        "import sys, torch; layer, x, e, out = torch.load(sys.argv[1], weights_only=False);"
        "assert layer.why_original() is None; assert torch.allclose(layer(x, e), out);"
        "layer.explain = True; layer._edge_mask = torch.ones(8);"
        "layer._loop_mask = e[0] != e[1]; assert not torch.allclose(layer(x, e), out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_sentence():
    code = (
        "import sys; sys.modules['torch_geometric'] = None; import edgewise.integrations.pyg as p;"
        "p.save; p.GATConv"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: torch_geometric is not installed. Run: pip install 'edgewise[pyg]'"
    )


def test_names():
    assert {"GATConv", "accelerate", "save"} <= set(dir(pyg))
    assert all(issubclass(getattr(pyg, name), MessagePassing) for name in PLAIN)
    with pytest.raises(AttributeError, match="has no attribute 'ChebConv'"):
        pyg.ChebConv  # noqa: B018
