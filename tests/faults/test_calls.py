"""Calls: read and checked once, whatever function they go to, with one error for one mistake."""

import gc
import json
import weakref

import pytest
import torch
import torch.fx

import edgewise as ew
from edgewise.backends import BACKENDS, AggregateBackend, AttentionBackend, Refuses
from edgewise.graphs import recalled
from edgewise.planning import plan_cache
from edgewise.planning.call import read_aggregate, read_call
from edgewise.planning.prepared import Prepared
from tests.faults.kinds import Kind, each_case

N = 8
Q = torch.randn(2, 4, N, 8)
LSE = torch.zeros(2, 4, N)
INDEX = torch.zeros(2, 3, dtype=torch.int64)

FUNCTIONS = {
    "attention": lambda graph: ew.attention(Q, Q, Q, graph),
    "attention with dropout": lambda graph: ew.attention(Q, Q, Q, graph, dropout=0.5),
    "attention_state": lambda graph: ew.attention_state(Q, Q, Q, graph),
    "plan": lambda graph: ew.plan(Q, Q, Q, graph),
    "explain": lambda graph: ew.explain(Q, Q, Q, graph),
    "weights": lambda graph: ew.weights(Q, Q, graph, LSE),
    "aggregate": lambda graph: ew.aggregate(Q, graph),
    "reverse": ew.reverse,
    "receptive_field": lambda graph: ew.receptive_field(graph, 2),
    "lower": lambda graph: ew.lower(graph, ew.DenseMask),
}
NO_GRAPHS = {"an edge index": INDEX, "a mask": torch.ones(N, N, dtype=torch.bool), "None": None}
NO_GRAPHS |= {"a number": 8, "text": "Causal(8)", "an array": INDEX.numpy(), "a class": ew.Causal}


def _check_no_graph(case):
    function, graph = case
    with pytest.raises(ew.GraphError, match=r"graph must be a graph, got \w+\. [UW]"):
        function(graph)


def _check_random_numbers(case):
    """Only a call that drops something draws a random number."""
    function, draws = case
    torch.manual_seed(3)
    before = torch.get_rng_state()
    function()
    assert torch.equal(before, torch.get_rng_state()) != draws


def _check_judged(backend):
    """What a backend does not compute is refused in a sentence, and never reached."""
    kinds = [kind for kind in (AttentionBackend, AggregateBackend) if isinstance(backend, kind)]
    assert kinds
    attention = read_call(Q, Q, Q, ew.Causal(N)).question.about(ew.Causal(N))
    sums = read_aggregate(Q, ew.Causal(N)).question.about(ew.Causal(N))
    for kind, problem in ((AttentionBackend, attention), (AggregateBackend, sums)):
        verdict = backend.judge(problem)
        if kind not in kinds:
            assert isinstance(verdict, Refuses)
            assert verdict.reasons == ("computes attention alone; use native or gather",)
    assert not hasattr(backend, "aggregate") or AggregateBackend in kinds


def _check_freed(case):
    """A graph with tensors dies with its last name: what it remembers does not hold it."""
    call, options = case
    graph = ew.EdgeList(torch.randint(N, (2, 30)), num_nodes=N) | ew.EdgeList(INDEX, num_nodes=N)
    call(graph, **options)
    memory, gone = graph.__dict__["_memory"], weakref.ref(graph)
    assert memory["plans"]
    for prepared in memory["plans"].values():
        for part in vars(prepared).values():
            assert not isinstance(part, ew.Graph)
    del graph, memory, prepared, part
    gc.collect()
    assert gone() is None


def _check_recorded(case):
    """A proxy of torch.fx anywhere among the arguments makes the call a node of the trace."""
    module, example = case
    traced = torch.fx.symbolic_trace(module)
    assert any("attention" in str(node.target) for node in traced.graph.nodes)
    torch.testing.assert_close(traced(example), module(example))


class _Given(torch.nn.Module):
    """A call that is given one argument, and holds the others."""

    def __init__(self, name, **options):
        super().__init__()
        self.name, self.options = name, options

    def forward(self, x):
        given = {"query": Q, "key": Q, "value": Q, "graph": ew.Causal(N)} | self.options
        return ew.attention(**(given | {self.name: x}))


def _attend(graph, **options):
    return ew.attention(Q, Q, Q, graph, **options)


def _attend_twice(graph, **options):
    _attend(graph, **options)
    return _attend(graph, **options)


KINDS = (
    Kind(
        "one mistake, two types of error",
        _check_no_graph,
        {
            f"{name} of {what}": (function, graph)
            for name, function in FUNCTIONS.items()
            for what, graph in NO_GRAPHS.items()
        },
    ),
    Kind(
        "planning that draws random numbers",
        _check_random_numbers,
        {
            "plan": (lambda: ew.plan(Q, Q, Q, ew.Causal(N), dropout=0.5), False),
            "explain": (lambda: ew.explain(Q, Q, Q, ew.Causal(N), dropout=0.5), False),
            "weights": (lambda: ew.weights(Q, Q, ew.Causal(N), LSE), False),
            "attention": (lambda: _attend(ew.Causal(N)), False),
            "attention with dropout": (lambda: _attend(ew.Causal(N), dropout=0.5), True),
        },
    ),
    Kind(
        "a backend that fails where it should refuse",
        _check_judged,
        {backend.name: backend for backend in BACKENDS},
    ),
    Kind(
        "a graph that its own plan keeps alive",
        _check_freed,
        {
            "chosen": (_attend, {}),
            "with a fast path": (_attend_twice, {}),
            "sums": (lambda graph: ew.aggregate(Q, graph, "mean"), {}),
            "dense, which spreads a NaN": (_attend, {"backend": "dense"}),
            "a bias for each distance": (
                _attend,
                {"bias": ew.RelativeBias(torch.zeros(4, 2 * N - 1)), "dropout": 0.1},
            ),
        },
    ),
    Kind(
        "a traced argument that is computed on",
        _check_recorded,
        {
            "the graph alone": (_Given("graph"), ew.Window(N, left=1, right=0)),
            "the bias alone": (_Given("bias"), ew.RelativeBias(torch.ones(4, 2 * N - 1))),
            "the query": (_Given("query"), torch.randn(2, 4, N, 8)),
            "the backend": (_Given("backend"), "gather"),
        },
    ),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_a_call_is_read_once(monkeypatch):
    """Query, key and value are checked once."""
    from edgewise.planning import call

    checked = []
    real = call.check_attention
    monkeypatch.setattr(
        call, "check_attention", lambda *args: (checked.append(args), real(*args))[1]
    )
    graph = ew.EdgeList(INDEX, num_nodes=N)
    ew.attention(Q, Q, Q, graph)
    assert len(checked) == 1
    ew.attention(Q, Q, Q, graph)  # the fast path
    assert len(checked) == 1
    ew.explain(Q, Q, Q, graph, analyze=True)
    assert len(checked) == 2


def test_what_is_remembered_is_prepared():
    graph = ew.EdgeList(INDEX, num_nodes=N)
    ew.attention(Q, Q, Q, graph)
    call = read_call(Q, Q, Q, graph)
    prepared = plan_cache.prepared_attention(call, "auto")
    assert isinstance(prepared, Prepared)
    assert prepared is plan_cache.prepared_attention(call, "auto")
    assert recalled(graph, "nothing") is None
    assert json.dumps(ew.plan(Q, Q, Q, graph).to_dict())
