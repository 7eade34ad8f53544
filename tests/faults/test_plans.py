"""Plans as values: printed, compared by what they are, saved, loaded, and refused where damaged."""

import json
from dataclasses import replace

import pytest
import torch

import edgewise as ew
from edgewise.planning import Merge, Plan, planner
from tests.faults.kinds import Kind, each_case

N = 64
WINDOW = ew.Window(N, left=2, right=2)
TILES = [(i, j) for i in range(16) for j in range(16)]
EDGES = ew.EdgeList(
    [[i for i, _ in TILES] + [40, 50, 63], [j for _, j in TILES] + [3, 41, 0]], num_nodes=N
)
GRAPHS = {
    "two windows and hubs": WINDOW | ew.Hubs(N, [0, 9]),
    "causal": ew.Causal(N),
    "complete": ew.Complete(N),
    "equal blocks": ew.Blocks([8] * 8),
    "a grid along one axis": ew.Grid((8, 8), radius=(0, 2)),
    "different kinds side by side": ew.disjoint_union([ew.Causal(32), ew.Complete(32)]),
    "relabelled": ew.permute(WINDOW, torch.randperm(N, generator=torch.manual_seed(0))),
    "edges with a full tile": EDGES,
    "no edges": ew.EdgeList(torch.zeros(2, 0, dtype=torch.int64), num_nodes=N),
    "one target": ew.Complete(1, N),
    "a rectangle": ew.Causal(8, N),
}


def _inputs(graph, **options):
    random = torch.Generator().manual_seed(1)
    options = {"generator": random} | options
    query = torch.randn(2, 4, graph.num_targets, 8, **options)
    key, value = (torch.randn(2, 4, graph.num_sources, 8, **options) for _ in range(2))
    return query, key, value


def _every_plan(graph, *inputs, **options):
    """The choice, every dearer plan, and the plan of every backend that takes the call."""
    decision = ew.explain(*inputs, graph, **options).decision
    yield decision.plan
    yield from decision.dearer
    for backend in ("reference", "dense", "gather", "blocked"):
        try:
            yield ew.plan(*inputs, graph, backend=backend, **options)
        except ew.BackendRefused:
            continue


def _choices(text):
    """A saved plan without its estimates, which follow what is known about the graph."""
    estimates = ("seconds", "memory", "fill")
    return json.loads(
        text, object_hook=lambda found: {k: v for k, v in found.items() if k not in estimates}
    )


def _check_round_trip(case):
    graph, options = case
    inputs = _inputs(graph, requires_grad=options.pop("learns", False))
    plans = list(_every_plan(graph, *inputs, **options))
    for plan in plans:
        again = Plan.from_json(plan.to_json(), graph)
        assert again == plan
        assert hash(again) == hash(plan)
        assert _choices(again.to_json()) == _choices(plan.to_json())
        assert again.chosen == plan.chosen
        per_edge = {name: options[name] for name in ("bias",) if name in options}
        torch.testing.assert_close(again(*inputs, **per_edge), plan(*inputs, **per_edge))


def _check_not_equal(case):
    first, second = case()
    assert first != second


def _merged(problem, graphs, backends):
    parts = [ew.plan(*_inputs(g), g, backend=b) for g, b in zip(graphs, backends, strict=True)]
    return Merge.of(problem, parts)


def _two_merges():
    whole = ew.plan(*_inputs(ew.Complete(N)), ew.Complete(N), backend="reference").problem
    halves = (ew.Causal(N), ew.Complete(N) - ew.Causal(N))
    return (
        _merged(whole, halves, ("gather", "native")),
        _merged(whole, halves, ("native", "gather")),
    )


def _plans_of_folds():
    graph = ew.Grid((8, 8), radius=(0, 2))
    problem = ew.plan(*_inputs(graph), graph, backend="reference").problem
    folds = [p for p in planner._composed(problem, 1 << 40, depth=1) if p.name.startswith("batch")]
    (fold,) = folds
    inner = ew.plan(*_inputs(ew.Causal(8)), ew.Causal(8), backend="gather")
    return fold, replace(fold, inner=inner)


def _saved(**changes):
    text = json.loads(ew.plan(*_inputs(ew.Causal(N)), ew.Causal(N)).to_json())
    for path, value in changes.items():
        *outer, last = path.split("__")
        inside = text
        for name in outer:
            inside = inside[name]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
    return json.dumps(text)


def _check_refused(case):
    text, words = case
    with pytest.raises(ew.PlanError) as info:
        Plan.from_json(text() if callable(text) else text, ew.Causal(N))
    message = str(info.value)
    assert words in message
    assert message.endswith(".")
    assert "lan again" in message, "a cure"
    assert "\x1b" not in message
    assert len(message) < 400


def _nested(depth):
    saved = json.loads(_saved())
    run = {"plan": "run", "backend": "native", "graph": "Causal(64)"}
    for _ in range(depth):
        run = {"plan": "batch", "graph": "Causal(64)", "copies": 1, "inner": run}
    return json.dumps({**saved, **run})


DAMAGED = {
    "no JSON": ("dense", "it is not JSON"),
    "nothing": ("", "it is not JSON"),
    "no text": (b"{}", "it is a bytes"),
    "a list": ("[1, 2]", "it is no JSON object"),
    "brackets without end": ("[" * 100_000, "it is not JSON"),
    "foreign JSON": ('{"name": "edgewise"}', "its format is None"),
    "a later version": (lambda: _saved(format="edgewise plan, version 2"), "its format is"),
    "control characters": (lambda: _saved(format="\x1b[31m" * 99), "its format is"),
    "no problem": (lambda: _saved(problem=...), "problem is None"),
    "another graph": (lambda: _saved(problem__num_targets=65), "this plan is of a graph of 65"),
    "fewer edges": (lambda: _saved(problem__edges=[3, 5]), "3 to 5 edges"),
    "edges of text": (lambda: _saved(problem__edges=["3", 5]), "edges is"),
    "heads of text": (lambda: _saved(problem__heads="4"), "heads is '4' and no int"),
    "no heads": (lambda: _saved(problem__heads=0), "heads is 0"),
    "heads that are true": (lambda: _saved(problem__heads=True), "heads is True and no int"),
    "heads that do not divide": (lambda: _saved(problem__kv_heads=3), "not a multiple of 3"),
    "a size without end": (lambda: _saved(problem__batch=10**30), "which is no size"),
    "a dtype of integers": (lambda: _saved(problem__dtype="torch.int64"), "dtype is"),
    "a device of no kind": (lambda: _saved(problem__device="toaster"), "device is"),
    "dropout of one": (lambda: _saved(problem__dropout=1.0), "dropout is 1.0"),
    "dropout that is NaN": (lambda: _saved(problem__dropout=float("nan")), "dropout is nan"),
    "a bias of no kind": (lambda: _saved(problem__bias="x"), "bias is 'x'"),
    "a score of no kind": (lambda: _saved(problem__score=["Cosine", 1]), "score is"),
    "a score without name": (lambda: _saved(problem__score=[]), "score is []"),
    "a cap below zero": (lambda: _saved(problem__score=["Dot", None, -1.0]), "score is"),
    "no such backend": (lambda: _saved(backend="magic"), "backend is 'magic'"),
    "a backend that refuses": (lambda: _saved(problem__edge_key=True, backend="dense"), "cannot"),
    "a plan of no kind": (lambda: _saved(plan="loop"), "plan is 'loop'"),
    "a batch of what is none": (lambda: _saved(plan="batch", copies=2), "not 2 equal graphs"),
    "a split of another law": (lambda: _saved(plan="merge", law="x", parts=[{}]), "no split into"),
    "parts of numbers": (lambda: _saved(plan="merge", law="x", parts=[1]), "parts is"),
    "no parts": (lambda: _saved(plan="merge", law="x", parts=[]), "parts is"),
    "plans without end": (lambda: _nested(500), "equal graphs"),
}


def _check_budget(case):
    graph, backend = case
    inputs = _inputs(graph)
    text = ew.plan(*inputs, graph, backend=backend).to_json()
    with pytest.raises(ew.PlanError, match="memory budget"):
        Plan.from_json(text, graph, memory_budget=1)


ROUND_TRIPS = {
    f"{name}, {how}": (graph, options)
    for name, graph in GRAPHS.items()
    for how, options in {"forward": {}, "training": {"learns": True}}.items()
}
ROUND_TRIPS |= {
    "a soft cap": (ew.Causal(N), {"score": ew.Dot(scale=0.3, softcap=20.0)}),
    "a bias for each edge": (EDGES, {"bias": torch.randn(4, EDGES.num_edges)}),
    "a bias for each distance": (WINDOW, {"bias": ew.RelativeBias(torch.randn(4, 2 * N - 1))}),
}
DIFFERENT = {
    "merges of other backends": _two_merges,
    "folds of other plans": _plans_of_folds,
    "runs of other backends": lambda: [
        ew.plan(*_inputs(WINDOW), WINDOW, backend=name) for name in ("gather", "native")
    ],
    "plans of other graphs": lambda: [
        ew.plan(*_inputs(g), g, backend="gather") for g in (WINDOW, ew.Causal(N))
    ],
}
KINDS = (
    Kind("a saved plan that nothing can load", _check_round_trip, ROUND_TRIPS),
    Kind("plans that are equal though their parts differ", _check_not_equal, DIFFERENT),
    Kind("damaged JSON that is taken for a plan", _check_refused, DAMAGED),
    Kind(
        "a plan that is loaded into too little memory",
        _check_budget,
        {name: (ew.Complete(N), name) for name in ("dense", "gather", "native")},
    ),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_a_merge_made_by_hand_is_loaded():
    """Its parts are read from their text, and checked to fit together again."""
    merge, _ = _two_merges()
    graph, inputs = ew.Complete(N), _inputs(ew.Complete(N))
    again = Plan.from_json(merge.to_json(), graph)
    assert again == merge
    torch.testing.assert_close(again(*inputs), ew.attention(*inputs, graph, backend="reference"))


def test_parts_of_another_merge_are_refused():
    merge, _ = _two_merges()
    text = merge.to_json().replace("(Complete(64) - Causal(64))", "Causal(64)")
    with pytest.raises(ew.PlanError, match="parts must hold every edge once"):
        Plan.from_json(text, ew.Complete(N))
    text = merge.to_json().replace('"(Complete(64) - Causal(64))"', '"__import__(0)"')
    with pytest.raises(ew.PlanError, match="cannot be read as a graph"):
        Plan.from_json(text, ew.Complete(N))


def test_what_is_no_graph_is_refused():
    with pytest.raises(ew.GraphError, match="graph must be a graph, got Tensor"):
        Plan.from_json(_saved(), torch.ones(2, 2))


def test_a_loaded_plan_keeps_nan_to_its_readers():
    """`chosen` is loaded too: the plan is checked as that of a call is."""
    q, k, v = _inputs(ew.Causal(N))
    plan = ew.plan(q, k, v, ew.Causal(N))
    v = v.clone()
    v[..., N - 1, :] = torch.nan
    out = Plan.from_json(plan.to_json(), ew.Causal(N))(q, k, v)
    assert out[..., : N - 1, :].isfinite().all()


def test_a_wide_plan_is_printed_without_being_prepared():
    plan = ew.plan(*_inputs(EDGES), EDGES)
    text = plan.to_json()
    assert "prepared" not in plan.__dict__
    assert str(plan) == plan.name
    assert plan.backend in text
