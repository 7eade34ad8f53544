"""No name and no first line has a word that ``docs/glossary.md`` rules out."""

import pytest

from tests.docs.glossary import ANYWHERE, WHOLE, faults, offending


def test_the_page_rules_words_out():
    assert {"found", "known", "one"} <= WHOLE
    assert {"heard", "asked", "sees", "told"} <= ANYWHERE


def test_no_file_uses_them():
    assert not offending()


@pytest.mark.parametrize(
    "source",
    [
        '"""What the planner asks."""',
        "def f():\n    '''Looks at an edge.'''",
        "def who_heard(): pass",
        "class HeardEdges: pass",
        "found = 1",
        "def f(known): pass",
        "for one in range(3): pass",
    ],
)
def test_such_a_word_is_noticed(source):
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""The sources of a target: `ask` is quoted."""',
        "unknown_edges = 1",
        "def one_edge(own_loop): pass",
        "x.found",
    ],
)
def test_other_words_are_left_alone(source):
    assert not list(faults(source))
