"""Rules keep the edges and their order, and return the graphs they are written for."""

import pytest

import edgewise as ew
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.planning.rules import RULES, contained, simplify
from tests.graphs.expressions import expressions

N = 24
WINDOW, CAUSAL, RING = ew.Window(N, left=3, right=3), ew.Causal(N), ew.Window(N, left=1, right=1)
RANDOM = ew.EdgeList([[0, 5, 9], [5, 9, 0]], num_nodes=N)

SIMPLER: dict[str, tuple[Graph, Graph]] = {
    "causal window": (WINDOW & CAUSAL, ew.Window(N, left=3, right=0)),
    "causal of complete": (CAUSAL & ew.Complete(N), CAUSAL),
    "a wide window": (ew.Window(N, left=99, right=99), ew.Complete(N)),
    "a wide window backwards": (ew.Window(N, left=99, right=0), CAUSAL),
    "windows that touch": (
        ew.Window(N, left=3, right=0) | ew.Window(N, left=0, right=3),
        WINDOW,
    ),
    "union with a superset": (WINDOW | RING, WINDOW),
    "union with a superset, deep": ((RANDOM | RING) | WINDOW, RANDOM | RING | WINDOW),
    "union with everything": (RANDOM | ew.Complete(N), ew.Complete(N)),
    "intersection with a superset": ((RANDOM | RING) & ew.Complete(N), RANDOM | RING),
    "difference of strangers": (
        ew.Window(N, left=2, right=0) - (ew.Complete(N) - ew.Window(N, left=N, right=2)),
        ew.Window(N, left=2, right=0),
    ),
    "differences in a row": (
        ew.Complete(N) - ew.Hubs(N, [1]) - RANDOM,
        ew.Complete(N) - (ew.Hubs(N, [1]) | RANDOM),
    ),
    "what is left on one side": (
        ew.Window(N, left=3, right=3) - (ew.Complete(N) - CAUSAL),
        ew.Window(N, left=3, right=0),
    ),
    "a grid of one axis": (ew.Grid((N,), radius=3), WINDOW),
    "rows of a complete graph": (ew.induced(ew.Complete(N), targets=[3, 1]), ew.Complete(2, N)),
    "rectangle": (
        ew.Causal(6, 9) & ew.Window(6, 9, left=2, right=1),
        ew.Window(6, 9, left=2, right=0),
    ),
}
SAME = {
    "copies": RANDOM,
    "hubs": WINDOW | ew.Hubs(N, [0]),
    "dilated": ew.Dilated(N, left=2, right=2, dilation=3),
    "two sides": CAUSAL - WINDOW,
    "batch": ew.disjoint_union([ew.Causal(3), ew.Window(9, left=99, right=99)]),
}


@pytest.mark.parametrize("name", SIMPLER)
def test_it_gets_simpler(name):
    graph, simpler = SIMPLER[name]
    assert simplify(graph) == simpler


@pytest.mark.parametrize("name", SAME)
def test_it_is_simple_already(name):
    assert simplify(SAME[name]) is SAME[name]


@pytest.mark.parametrize("seed", range(6))
def test_the_edges_stay_the_same(seed):
    changed = 0
    for e in expressions(100 + seed, 400):
        simpler = simplify(e.graph)
        changed += simpler is not e.graph
        actual = edges(simpler)
        pairs = list(zip(actual.target.tolist(), actual.source.tolist(), strict=True))
        assert pairs == e.order, f"{e.graph} became {simpler}"
    assert changed > 40


@pytest.mark.parametrize("seed", range(4))
def test_what_is_contained_is(seed):
    drawn, proved = list(expressions(200 + seed, 250, largest=4)), 0
    by_shape: dict[tuple[int, int], list] = {}
    for e in drawn:
        by_shape.setdefault(e.shape, []).append(e)
    for same in by_shape.values():
        for a in same:
            for b in same[:12]:
                if contained(a.graph, b.graph):
                    proved += 1
                    assert not ((a.copies > 0) & (b.copies == 0)).any(), (a.graph, b.graph)
    assert proved > 50


def test_every_rule_has_a_law_and_is_reached(monkeypatch):
    reached = set()
    for rule in RULES:
        assert rule.law

        def spy(graph, rule=rule):
            actual = rule.apply(graph)
            if actual is not None:
                reached.add(rule.name)
            return actual

        monkeypatch.setattr(
            "edgewise.planning.rules.RULES",
            tuple(type(r)(r.name, r.law, spy) if r.name == rule.name else r for r in RULES),
        )
        for graph, _ in SIMPLER.values():
            graph.__dict__.pop("_memory", None)
            ew.graphs.cache._RECENT.clear()
            simplify(graph)
    assert reached == {rule.name for rule in RULES}


def test_no_edge_is_read():
    """Ten billion pairs are simplified at once."""
    n = 100_000
    whole = ew.Window(n, left=128, right=128) & ew.Causal(n) | ew.Window(n, left=7, right=0)
    assert simplify(whole) == ew.Window(n, left=128, right=0)
