"""The journal: whatever happens to the file, what is whole in it counts."""

import json

import pytest

from edgewise.lottery import journal as place
from edgewise.lottery.journal import Journal, journal_path
from edgewise.planning.price_table import measured_path


@pytest.fixture
def path(cache):
    assert not cache.exists()
    journal = Journal(journal_path(quick=True))
    journal.add("first", {"dense": 0.5})
    journal.add("second", {"dense": 0.25, "native": 0.125})
    return journal.path


def test_it_lies_beside_the_constants(path, cache):
    assert path.parent == cache == measured_path().parent
    assert path.name.startswith("lottery-")
    assert measured_path().stem.removeprefix("machine-") in path.name
    assert journal_path(quick=True) != journal_path(quick=False)


def test_it_is_read_back(path):
    expected = {"first": {"dense": 0.5}, "second": {"dense": 0.25, "native": 0.125}}
    assert Journal(path).times == expected
    assert not Journal(path, fresh=True).times
    assert not Journal(path).times


def test_what_was_cut_off_is_as_if_it_had_not_been_written(path):
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


def test_another_machine_or_version_starts_anew(path, monkeypatch):
    monkeypatch.setattr(place, "identity", lambda: {"cpu": "another"})
    assert not Journal(path).times
    assert json.loads(path.read_text())["machine"] == {"cpu": "another"}
