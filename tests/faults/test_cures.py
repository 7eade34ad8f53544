"""Sentences that end in a cure: of names, settings, rules, labels and damaged caches."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import edgewise as ew
from edgewise import nn
from edgewise.backends import BACKENDS
from edgewise.cli.main import main
from edgewise.errors import DataError, EdgewiseError
from edgewise.graphs import read_graph
from edgewise.planning.price_table import measured_path, shipped
from edgewise.training.batches import given_with_self
from edgewise.training.data import from_arrays
from edgewise.training.data.topology import JoinedGraphs
from edgewise.training.recipe import Recipe
from edgewise.training.rungs import RUNGS, rungs_named
from tests.faults.kinds import Kind, each_case

EDGES = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
RING = np.concatenate([EDGES, EDGES[::-1]], 1)


def _nodes(**arrays):
    given = {"x": np.ones((4, 2), np.float32), "edge_index": RING, "y": np.array([0, 1, 0, 1])}
    return from_arrays("mine", given | arrays)


def _six_graphs():
    count = 6
    pairs = np.array([[0, 1], [1, 0]])
    return from_arrays(
        "mine",
        {
            "x": np.ones((2 * count, 1), np.float32),
            "edge_index": np.concatenate([pairs] * count, 1),
            "node_ptr": np.arange(count + 1) * 2,
            "edge_ptr": np.arange(count + 1) * 2,
            "y": np.arange(count) % 2,
        },
    ).split(0)


def _check_cure(case):
    make, words = case
    with pytest.raises(EdgewiseError) as caught:
        make()
    for word in (words,) if isinstance(words, str) else words:
        assert word in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


LAYERS = (
    nn.DotAttention,
    nn.GATAttention,
    nn.GATv2Attention,
    nn.GCNConvolution,
    nn.GraphConvolution,
    nn.TransformerConvolution,
)
RING_OF_3 = ew.EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)


def _layer(kind):
    heads = {"heads": 2} if "Attention" in kind.__name__ or "Transformer" in kind.__name__ else {}
    return kind(8, **heads) if kind is nn.DotAttention else kind(8, 8, **heads)


def _state():
    q = torch.ones(4, 3, 8)
    return ew.attention_state(q, q, q, RING_OF_3)


def _attended(**given):
    q = torch.ones(4, 3, 8)
    return ew.attention(q, q, q, ew.EdgeList([[0, 1], [1, 2]], num_nodes=3), **given)


def _with_n(text):
    return lambda: read_graph(text, {"n": 8})


def _typed(name):
    """A name with one letter missing."""
    return name[:2] + name[3:]


CURES = {
    "gatter": (lambda: ew.use_backend("gatter"), "Did you mean 'gather'?"),
    "Native": (lambda: ew.set_default_backend("Native"), "Did you mean 'native'?"),
    "far from every name": (lambda: ew.use_backend("cudnn9"), "Use 'auto'."),
    **{
        f"backend {_typed(backend.name)}": (
            partial(ew.use_backend, _typed(backend.name)),
            f"Did you mean {backend.name!r}?",
        )
        for backend in BACKENDS
    },
    "mpl": (lambda: rungs_named("mlp,gnn,mpl"), ("got mpl.", "Did you mean mlp?")),
    "no rung": (lambda: rungs_named(" , "), "Separate names by commas."),
    **{
        f"rung {_typed(name)}": (partial(rungs_named, _typed(name)), f"Did you mean {name}?")
        for name in RUNGS
        if len(name) > 3
    },
    "heads 0": (lambda: Recipe(heads=0), "Use 4, for example, or leave it out."),
    **{
        f"{name} {value}": (partial(Recipe, **{name: value}), "for example, or leave it out.")
        for name, value in (
            *((name, 0) for name in ("hidden", "layers", "encodings", "epochs", "batch")),
            *(("lr", number) for number in (0.0, -1.0, float("nan"), float("inf"))),
            *(("weight_decay", number) for number in (-1.0, float("nan"), float("inf"))),
            *(("dropout", number) for number in (-0.1, 1.0, float("nan"))),
        )
    },
    "labels of -1 alone": (
        lambda: _nodes(y=np.full(4, -1)),
        ("y labels none of the 4 nodes", "Number the classes from 0."),
    ),
    "six small graphs": (_six_graphs, "by masks, or by more graphs."),
    "n ** n": (_with_n("Causal(n ** n)"), ("got n ** n", "Write a product, like n * n")),
    "2 ** n": (_with_n("Causal(2**n)"), ("got 2**n", "Write a product")),
    "-n": (_with_n("Window(n, left=-n, right=0)"), "left must be at least 0, got -8"),
    "- a graph": (_with_n("-Causal(n)"), "a minus sign must stand before a whole number"),
    "~n": (_with_n("Causal(~n)"), "which may be calculated by + - * // %, min and max"),
    "a scale beyond float": (lambda: ew.Dot(10**400), "must be a finite number of float32"),
    "a scale below float": (lambda: ew.Dot(1.0, -(10**400)), "must be a finite number of float32"),
    "a scale of a text": (lambda: ew.Dot("1"), "got str. Pass a float, such as 0.5."),
    "a slope of nothing": (lambda: ew.Additive(None), "got NoneType. Pass a float, such as 0.5."),
    "a mask as bias": (
        lambda: _attended(bias=torch.ones(4, 2, dtype=torch.bool)),
        "use torch.where(bias, 0.0, -torch.inf)",
    ),
    "a complex bias": (
        lambda: _attended(bias=torch.ones(4, 2, dtype=torch.complex64)),
        "Use bias.real.",
    ),
    "a weight on another device": (
        lambda: _attended(score=ew.GATv2(torch.ones(4, 8, device="meta"))),
        "Move it with weight.to('cpu').",
    ),
    "one state": (lambda: ew.merge(_state()), "got AttentionState. Pass a list of"),
    "a number to merge": (lambda: ew.merge(3), "got int. Pass a list of"),
    "states on two devices": (
        lambda: ew.merge([_state(), ew.AttentionState(_state().out.to("meta"), _state().lse)]),
        "must have one dtype and device",
    ),
    **{
        f"{layer.__name__}, edge_index for a graph": (
            lambda layer=layer: _layer(layer)(torch.ones(3, 8), torch.zeros(2, 3).long()),
            ("must be a", "graph, got Tensor", "Wrap edges in EdgeList"),
        )
        for layer in LAYERS
    },
    **{
        f"{layer.__name__}, {dtype}": (
            lambda layer=layer, dtype=dtype: _layer(layer)(torch.ones(3, 8).to(dtype), RING_OF_3),
            (f"got {dtype}. Convert it with x.",),
        )
        for layer in LAYERS
        for dtype in (torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn)
    },
    "slope 3e38": (lambda: ew.Additive(3e38), ("between -1e+30 and 1e+30", "such as 0.2")),
    "slope -3e38": (lambda: ew.GATv2(torch.ones(1, 1), -3e38), "between -1e+30 and 1e+30"),
    **{
        f"edge_attr {number}": (
            partial(_nodes, edge_attr=np.array([1, 1, number, 1, 1, 1, 1, 1])[:, None]),
            ("edge_attr holds NaN or an infinite number, first in row 2", "Fill in or remove"),
        )
        for number in (np.inf, -np.inf, np.nan)
    },
    "edge_attr of text": (
        lambda: _nodes(edge_attr=np.array(["a"] * 8)),
        ("edge_attr has to hold numbers", "Number the names from 0"),
    ),
    "x infinite": (
        lambda: _nodes(x=np.full((4, 2), np.inf, np.float32)),
        ("x holds NaN or an infinite number", "Fill in or remove"),
    ),
}

RIGHT = {
    "a minus before n": ("Window(n, left=max(-n, 2), right=-(2 - n) // 3)", (8, 2, 2)),
    "twice": ("Window(n, left=--1, right=0)", (8, 1, 0)),
}


def _check_calculated(case):
    text, (nodes, left, right) = case
    found = read_graph(text, {"n": 8})
    assert found == ew.Window(nodes, left=left, right=right)


# --- The way back to shipped prices ---------------------------------------------------------------


def _reset(capsys_text, *words):
    assert main(["lottery", "--reset", *words]) == 0
    return capsys_text().out


@pytest.mark.parametrize("there", [True, False])
def test_reset_prints_json(tmp_path, monkeypatch, capsys, there):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    if there:
        measured_path().write_text("{}", encoding="utf-8")
    found = json.loads(_reset(capsys.readouterr, "--json"))
    removed = str(measured_path()) if there else None
    assert found == {"removed": removed, "prices": shipped().source}
    assert not measured_path().exists()


def test_reset_refuses_a_folder_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    (measured_path() / "inside").mkdir(parents=True)
    for words in ([], ["--json"]):
        assert main(["lottery", "--reset", *words]) != 0
        printed = capsys.readouterr()
        assert "but it is a folder. Remove it by hand" in printed.err
        assert "Errno" not in printed.err + printed.out


# --- Self-loops that are there already ------------------------------------------------------------


@pytest.mark.parametrize("loops", [[], [1], [0, 0, 3]])
def test_every_node_reads_itself_once_as_in_pytorch_geometric(loops):
    utils = pytest.importorskip("torch_geometric.utils")
    index = torch.cat([torch.from_numpy(EDGES), torch.tensor([loops, loops]).long()], 1)
    part = JoinedGraphs(torch.arange(4), index, torch.tensor([4]))
    expected, _ = utils.add_self_loops(utils.remove_self_loops(index)[0], num_nodes=4)
    assert torch.equal(given_with_self(part).edge_index, expected)


# --- A choice of backend, and code that runs again later ------------------------------------------

GRAPH = ew.Causal(64) | ew.Hubs(64, [0])


def _attend(q):
    return ew.attention(q, q, q, GRAPH)


def _decorated(q, block):
    return checkpoint(block(_attend), q, use_reentrant=False)


def _with_contexts(q, block):
    with block:
        return checkpoint(_attend, q, use_reentrant=False, context_fn=lambda: (block, block))


def _by_default(q, block):
    del block
    ew.set_default_backend("gather")
    return checkpoint(_attend, q, use_reentrant=False)


def _reentrant(q, block):
    with block:
        return checkpoint(_attend, q, use_reentrant=True)


def _check_checkpoint(call):
    """The cures that `use_backend` names: gradients are those without a checkpoint."""
    q = torch.randn(2, 64, 8, requires_grad=True)
    try:
        call(q, ew.use_backend("gather")).square().sum().backward()
    finally:
        ew.set_default_backend()
    (expected,) = torch.autograd.grad(_attend(q).square().sum(), q)
    torch.testing.assert_close(q.grad, expected, rtol=1e-4, atol=1e-4)


def test_an_exported_batch_of_more_than_a_million_is_planned_as_such():
    from edgewise.planning import plan_cache

    class Model(torch.nn.Module):
        def forward(self, x):
            self.found = plan_cache._power_of_two(x.shape[0])
            return x + 1

    for size, expected in ((3_000_000, 1 << 22), (5, 8)):
        model = Model()
        torch.export.export(model, (torch.zeros(size),), strict=False)
        assert model.found == expected


def test_a_plan_that_is_called_again_finds_its_exact_plan_once(monkeypatch):
    from edgewise.planning import checked

    calls = []
    exact = checked.exact
    monkeypatch.setattr(checked, "exact", lambda problem: calls.append(problem) or exact(problem))
    q = torch.randn(1, 2, 64, 8)
    q[0, 0, -1] = float("nan")
    plan = ew.plan(q, q, q, ew.Causal(64))
    assert plan.spreads
    for _ in range(3):
        out = plan(q, q, q)
        assert out[0, 0, :-1].isfinite().all()
    assert len(calls) == 1


KINDS = (
    Kind("a sentence without a cure", _check_cure, CURES),
    Kind("a calculation in a rule", _check_calculated, RIGHT),
    Kind(
        "a choice that a checkpoint forgets",
        _check_checkpoint,
        {
            "a decorated function": _decorated,
            "contexts for both passes": _with_contexts,
            "the default": _by_default,
            "reentrant": _reentrant,
        },
    ),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_a_prices_file_is_an_error_of_data(tmp_path, monkeypatch):
    """What `--reset` raises is one of our errors, for those who call it from Python."""
    from edgewise.cli.lottery import lottery

    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    measured_path().mkdir(parents=True)
    with pytest.raises(DataError, match="EDGEWISE_CACHE"):
        lottery(reset=True)
