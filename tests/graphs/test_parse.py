"""Parsing a graph from its print, without executing it."""

import time

import pytest

import edgewise as ew
from edgewise.graphs import read_graph
from tests.graphs.expressions import ALL, expressions

# What a print does not hold: a function, a person's facts, and what a long print leaves out.
INCOMPLETE = ("Predicate", "Assume", "<")


def complete(graphs):
    return [graph for graph in graphs if not any(word in repr(graph) for word in INCOMPLETE)]


def check(graph):
    parsed = read_graph(repr(graph))
    assert type(parsed) is type(graph)
    assert parsed == graph
    assert repr(parsed) == repr(graph)


@pytest.mark.parametrize("family", ALL)
def test_every_family_is_read_from_its_print(family):
    for graph in complete(expression.graph for expression in ALL[family]):
        check(graph)


def test_every_family_that_prints_whole_is_among_them():
    read = {
        type(graph).__name__ for group in ALL.values() for graph in complete(e.graph for e in group)
    }
    assert read >= {
        *("Blocks", "Causal", "Complete", "Dilated", "EdgeList", "Grid", "Hubs", "PrefixCausal"),
        *("RandomRegular", "SelfLoops", "Window", "Union", "Intersection", "Difference"),
        *("Reverse", "Permutation", "Composition", "DisjointUnion", "Induced"),
    }


def test_random_expressions():
    graphs = complete(expression.graph for expression in expressions(7, 600))
    assert len(graphs) > 300
    for graph in graphs:
        check(graph)


@pytest.mark.parametrize(
    ("text", "graph"),
    [
        ("  Causal(1_024)\n", ew.Causal(1024)),
        ("Causal(num_targets=8)", ew.Causal(8)),
        ("Hubs(9, range(3))", ew.Hubs(9, [0, 1, 2])),
        ("Hubs(9, range(8, 2, -3))", ew.Hubs(9, [8, 5])),
        ("Grid((4, 4), corners=False)", ew.Grid((4, 4), corners=False)),
        (
            "Window(9, left=1, right=1) | Hubs(9, [0]) - SelfLoops(9)",
            ew.Window(9, left=1, right=1) | ew.Hubs(9, [0]) - ew.SelfLoops(9),
        ),
        ("receptive_field(Window(9, left=1, right=0), 3)", ew.Window(9, left=3, right=0)),
        ("permute(Causal(3), (2, 0, 1))", ew.permute(ew.Causal(3), [2, 0, 1])),
        ("EdgeList([[0, 1], [1, 2]], num_nodes=3)", ew.EdgeList([[0, 1], [1, 2]], num_nodes=3)),
    ],
)
def test_other_spellings(text, graph):
    assert read_graph(text) == graph


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch made')",
        'exec(\'open("made", "w")\')',
        "open('made', 'w')",
        "ew.Causal(3)",
        "Causal(3).__class__",
        "Causal(3).facts()",
        "(lambda: Causal(3))()",
        "[Causal(i) for i in range(3)][0]",
        "Causal(*[3])",
        "Causal(**{'num_targets': 3})",
        "Causal(9**9**9)",
        "Causal(1 << 99999999999)",
        "Causal(3) if 1 else Causal(4)",
        "(a := Causal(3))",
        "f'{open}'",
        "Causal(3); import os",
        "Causal(3)\x00",
        "Hubs(9, range(1000000000000))",
        f"Causal({'9' * 9999})",
        f"{'(' * 5000}Causal(3){')' * 5000}",
        f"{'-' * 5000}1",
        f"Blocks({'[' * 90}1{']' * 90})",
        "|".join(["Window(9, left=1, right=0)"] * 5000),
        "reverse(" * 80 + "Causal(3)" + ")" * 80,
        "receptive_field(Causal(3), 99999999999)",
        "receptive_field(receptive_field(Hubs(9, [1]), 50), 50)",
        "Grid((99999999, 99999999))",
    ],
)
def test_text_that_is_no_graph_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = time.perf_counter()
    with pytest.raises(ew.GraphError, match=r"^read_graph: "):
        read_graph(text)
    assert time.perf_counter() - before < 10
    assert not list(tmp_path.iterdir())
