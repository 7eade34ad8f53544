"""Every error of reading a graph from its print: its whole text, cure included."""

import pytest

import edgewise as ew
from edgewise.graphs import read_graph
from tests.messages.raising import caught, forgotten, is_one_clear_sentence, names_a_cure

LIKE = "Write it the way graphs print, like Window(64, left=2, right=2) | Hubs(64, [0])."
MADE_OF = "the text must be made of graphs, whole numbers, lists and the signs | & -"
WORDS = (
    "Blocks, Causal, Complete, Dilated, EdgeList, Grid, Hubs, PrefixCausal, RandomRegular, "
    "SelfLoops, Window, compose, disjoint_union, induced, permute, range, receptive_field, reverse"
)

# What is read, and what is said about it.
CASES_OF_TEXT = {
    "nothing": ("", f"the text must be one expression, got '' (invalid syntax). {LIKE}"),
    "half": (
        "Causal(",
        f"the text must be one expression, got 'Causal(' ('(' was never closed). {LIKE}",
    ),
    "a short print": (
        "EdgeList(<4,096 edges>, num_nodes=8)",
        "every number must be written out, got <4,096 edges>, which stands for what a long print "
        "leaves out. Write the numbers, or save the edges to a file.",
    ),
    "a list": ("[1, 2]", f"the text must be a graph, got [1, 2] (list). {LIKE}"),
    "an attribute": ("ew.Causal(3)", f"{MADE_OF}, got ew.Causal(3). {LIKE}"),
    "a string": ("Causal('8')", f"{MADE_OF}, got '8'. {LIKE}"),
    "a power": (
        "Causal(9**-9)",
        "** must stand between two whole numbers that are written out, got 9**-9. Write a product, "
        "like n * n, or the number.",
    ),
    "a large power": (
        "Causal(9**99)",
        "an expression must hold numbers below 2**62, got 9**99. Build such a graph in Python.",
    ),
    "a misspelt call": (
        "causl(3)",
        f"a call must be one of {WORDS}, got causl(...). Did you mean Causal? Build other graphs "
        "in Python.",
    ),
    "another call": (
        "Predicate(f, 3)",
        f"a call must be one of {WORDS}, got Predicate(...). Build other graphs in Python.",
    ),
    "too much by position": (
        "Window(8, 8, 1, 1)",
        "a call must fit Window(num_targets, num_sources, *, left, right), got Window(8, 8, 1, 1) "
        "(too many positional arguments). Name every argument after the star.",
    ),
    "ragged": (
        "permute(Causal(3), [[0], [1, 2]])",
        "the arguments of permute must fit each other, got permute(Causal(3), [[0], [1, 2]]) "
        "(expected sequence of length 1 at dim 1 (got 2)). See the examples of permute.",
    ),
    "arithmetic": (
        "Causal(9 - 1)",
        "- must stand between two graphs, got 9 (int). Write the result of a calculation as a "
        "number.",
    ),
    "a large number": (
        "Complete(99999999999999999999)",
        "an expression must hold numbers below 2**62, got one of 67 bits. Build such a graph in "
        "Python.",
    ),
    "many nodes": (
        "Complete(9999999999999)",
        "an expression must hold graphs of at most 2**40 nodes, got 9,999,999,999,999. Build such "
        "a graph in Python.",
    ),
    "a long range": (
        "Hubs(9, range(1000000000))",
        "an expression must hold ranges of at most 1,048,576 numbers, got range(0, 1000000000). "
        "Build such a graph in Python.",
    ),
    "deep": (
        "reverse(" * 70 + "Causal(3)" + ")" * 70,
        "an expression must lie at most 64 deep, got more. Build such a graph in Python.",
    ),
    "many layers": (
        "receptive_field(Causal(3), 1000)",
        "an expression must compose at most 64 layers, got layers=1000. Build such a graph in "
        "Python.",
    ),
    "many graphs": (
        f"disjoint_union([{'Causal(1), ' * 10_000}])",
        "an expression must be made of at most 10,000 graphs, got more. Build such a graph in "
        "Python.",
    ),
}
CASES_WITH_NAMES = {
    "a division by zero": (
        "Causal(n // 0)",
        "a number must be divided by another than 0, got 7 divided by 0. Write max(1, ...) around "
        "the divisor.",
    ),
    "a graph after a minus": (
        "-Causal(n)",
        "a minus sign must stand before a whole number, got -Causal(n). Join graphs by |, & or -.",
    ),
    "a power of n": (
        "Causal(n**n)",
        "** must stand between two whole numbers that are written out, got n**n. Write a product, "
        "like n * n, or the number.",
    ),
    "a sign that is none of numbers": (
        "Causal(~n)",
        "the text must be made of graphs, whole numbers, which may be calculated by + - * // %, "
        f"min and max, lists and the signs | & -, got ~n. {LIKE}",
    ),
    "a product of graphs": (
        "Causal(n) * Causal(n)",
        "+ * // % must stand between two whole numbers, got Causal(n) * Causal(n). Join graphs by "
        "|, & or -.",
    ),
}
CASES = {
    name: (lambda text=text: read_graph(text), ew.GraphError, f"read_graph: {sentence}")
    for name, (text, sentence) in CASES_OF_TEXT.items()
} | {
    name: (lambda text=text: read_graph(text, {"n": 7}), ew.GraphError, f"read_graph: {sentence}")
    for name, (text, sentence) in CASES_WITH_NAMES.items()
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_text(name):
    text, _ = caught(CASES[name])
    assert text == CASES[name][2]
    assert is_one_clear_sentence(text)
    assert names_a_cure(text)


def test_every_error_has_a_case():
    assert forgotten(CASES.values(), (), "graphs/parse.py") == []
