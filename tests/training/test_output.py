"""Files are written atomically, and equal results give equal bytes."""

import stat

import pytest

from edgewise.atomic_file import replacing
from edgewise.measure.machine import describe_machine, machine
from edgewise.training import Comparison, draw_picture, rungs_named


def test_a_failed_write_changes_nothing(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with replacing(path) as draft:
        draft.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:  # noqa: PT012
        draft.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_a_new_file(tmp_path):
    other = tmp_path / "other"
    other.write_text("")
    with replacing(tmp_path / "a") as draft:
        draft.write_text("")
    rights = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", other)]
    assert rights[0] == rights[1]


@pytest.fixture
def results(small_nodes, tmp_path):
    overrides = {"epochs": 1}
    rungs = rungs_named("mlp,gnn,transformer+pe")
    return Comparison(small_nodes, tmp_path, rungs=rungs, seeds=2, overrides=overrides).run()


def test_pictures(results, tmp_path):
    first = [path.read_bytes() for path in draw_picture(results, tmp_path / "one")]
    paths = draw_picture(results, tmp_path / "two")
    assert [path.name for path in paths] == ["comparison.png", "comparison.svg"]
    assert [path.read_bytes() for path in paths] == first
    assert first[0].startswith(b"\x89PNG")
    for words in ("transformer+pe", "complete graph", "seconds for an epoch", "test accuracy"):
        assert words in first[1].decode()


def test_the_machine_record_has_no_user_and_no_host():
    record = machine("cpu", threads=3)
    assert set(record) == {
        "system",
        "processor",
        "cores",
        "threads",
        "threads_chosen",
        "device",
        "python",
        "versions",
    }
    assert ", 3 threads, torch " in describe_machine(record, [3, 3])
    assert ", 1 to 2 threads, torch " in describe_machine(record, [1, 2])
    assert ", 1 thread, torch " in describe_machine(record, [1])
