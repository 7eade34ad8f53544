"""No name and no first line has a word that ``docs/glossary.md`` rules out, but in listed files."""

import pytest

from tests.docs.glossary import ANYWHERE, EXCEPTIONS, WHOLE, faults, offending

# Files that were written before the glossary. The list only shrinks.
LISTED = set(EXCEPTIONS.read_text(encoding="utf-8").split())


def test_the_page_rules_words_out():
    assert {"found", "known", "one"} <= WHOLE
    assert {"heard", "asked", "sees", "told"} <= ANYWHERE


def test_only_the_files_that_are_listed_use_them():
    new = {name: lines for name, lines in offending().items() if name not in LISTED}
    assert not new, new


def test_a_file_that_uses_none_is_not_listed():
    done = sorted(LISTED - set(offending()))
    assert not done, f"Remove from {EXCEPTIONS.name}: {done}"


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
