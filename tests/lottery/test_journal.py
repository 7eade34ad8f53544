"""The journal: complete lines are read, whatever is damaged in the file."""

import json

import pytest

from edgewise.lottery import journal as journal_module
from edgewise.lottery.journal import Journal, journal_path
from edgewise.planning.price_table import measured_path


@pytest.fixture
def path(cache):
    assert not cache.exists()
    journal = Journal(journal_path(quick=True))
    journal.add("first", {"dense": 0.5})
    journal.add("second", {"dense": 0.25, "native": 0.125})
    return journal.path


def test_the_journal_is_beside_the_constants(path, cache):
    assert path.parent == cache == measured_path().parent
    assert path.name.startswith("lottery-")
    assert measured_path().stem.removeprefix("machine-") in path.name
    assert journal_path(quick=True) != journal_path(quick=False)


def test_times_are_read_back(path):
    expected = {"first": {"dense": 0.5}, "second": {"dense": 0.25, "native": 0.125}}
    assert Journal(path).times == expected
    assert not Journal(path, fresh=True).times
    assert not Journal(path).times


def test_a_line_that_is_cut_off_is_ignored(path):
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(path)
    assert journal.times == {"first": {"dense": 0.5}}
    journal.add("third", {"dense": 1.0})
    assert Journal(path).times == {"first": {"dense": 0.5}, "third": {"dense": 1.0}}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "3",
        "\0\0\0",
        "{}",
        '{"trial": "x", "seconds": 5}',
        '{"trial": "x", "seconds": {"dense": -1}}',
        '{"trial": "x", "seconds": {"dense": NaN}}',
        '{"trial": "x", "seconds": {"dense": null}}',
    ],
)
def test_damaged_lines_are_left_out(path, line):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    assert set(Journal(path).times) == {"first", "second"}


def test_times_of_a_backend_that_came_later_are_added(path):
    Journal(path).add("first", {"native": 0.75})
    assert Journal(path).times["first"] == {"dense": 0.5, "native": 0.75}


def test_a_journal_of_another_machine_is_overwritten(path, monkeypatch):
    monkeypatch.setattr(journal_module, "identity", lambda: {"cpu": "another"})
    assert not Journal(path).times
    assert json.loads(path.read_text())["machine"] == {"cpu": "another"}
