"""Tables of README and docs hold what was measured, and files of results keep what they hold."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
README = BENCHMARKS.parent / "README.md"


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The module that reads and writes results, with an empty folder."""
    module = load("_results", monkeypatch)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


@pytest.fixture
def tables(monkeypatch):
    return load("tables", monkeypatch)


def load(name, monkeypatch):
    """A script of the benchmarks, which find each other by their folder."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_pages_have_the_numbers_that_were_measured():
    command = [sys.executable, BENCHMARKS / "tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_has_the_table_of_speed(tables):
    assert "speed" in [name for _, name, _ in tables.MARKED.findall(README.read_text("utf-8"))]


def test_a_page_with_another_number_is_found_and_written(tables, monkeypatch, tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text("Before\n<!-- table: speed -->\n| 99x |\n<!-- end of table -->\nAfter\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 1
    assert "README.md" in capsys.readouterr().err
    assert "99x" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    assert tables.main() == 0
    text = page.read_text()
    assert "99x" not in text
    assert text.startswith("Before\n<!-- table: speed -->\n| work | against |")
    assert text.endswith("<!-- end of table -->\nAfter\n")
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 0


def test_every_table_can_be_written_from_what_is_here(tables):
    for name, (headers, _) in tables.TABLES.items():
        lines = tables.render(name).splitlines()
        assert len(lines) > 2, name
        assert all(line.count(" | ") == len(headers) - 1 for line in lines), name


def test_an_unknown_table_is_named_with_those_there_are(tables):
    with pytest.raises(LookupError, match=r"no table 'sped'; there are speed"):
        tables.filled("<!-- table: sped -->\n<!-- end of table -->")


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (16.9, "16x"),
        (2.999, "2.9x"),
        (3.0, "3.0x"),
        (1.098, "1.09x"),
        (0.979, "0.97x"),
        (351, "351x"),
    ],
)
def test_ratios_are_cut_off_and_never_rounded_up(ratio, text, monkeypatch):
    assert load("_lines", monkeypatch).times(ratio) == text


def test_days_are_appended_and_other_work_of_the_day_is_kept(results, tmp_path):
    path = tmp_path / "speed-abacus.json"
    before = {"date": "2020-01-01", "machine": {"torch": "1"}, "rows": [{"work": "a", "ms": 1}]}
    path.write_text(json.dumps({"entries": [before]}))
    results.record(path, [{"work": "a", "ms": 2}, {"work": "a", "ms": 3}])
    results.record(path, [{"work": "b", "ms": 4}], about={"seed": 1}, summary=[5])
    results.record(path, [{"work": "a", "ms": 6}])
    first, today = results.history(path)
    assert first == before
    assert today["rows"] == [{"work": "b", "ms": 4}, {"work": "a", "ms": 6}]
    assert {"cpu", "cores", "threads", "python", "torch", "versions"} <= set(today["machine"])
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_file_is_named_and_what_was_measured_is_kept_beside_it(results, tmp_path, capsys):
    path = tmp_path / "speed-abacus.json"
    path.write_text("<<<<<<< ours")
    written = results.record(path, [{"work": "a", "ms": 1}])
    assert written != path
    assert path.read_text() == "<<<<<<< ours"
    assert results.history(written)[0]["rows"] == [{"work": "a", "ms": 1}]
    assert "speed-abacus.json is damaged" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"speed-abacus.json is damaged .* Mend or remove it"):
        results.newest("speed")


def test_rows_of_another_torch_are_not_mixed_into_an_entry(results, tmp_path):
    path = tmp_path / "speed-abacus.json"
    results.record(path, [{"work": "a", "ms": 1}])
    content = json.loads(path.read_text())
    content["entries"][0]["machine"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    results.record(path, [{"work": "b", "ms": 2}])
    (today,) = results.history(path)
    assert today["rows"] == [{"work": "b", "ms": 2}]


def test_the_newest_entry_is_the_one_with_the_work(results, tmp_path):
    def write(name, *entries):
        content = [{"date": day, "rows": [{"work": work}]} for day, work in entries]
        (tmp_path / name).write_text(json.dumps({"entries": content}))

    write("speed-abacus.json", ("2020-01-01", "a"), ("2020-01-03", "b"))
    write("speed-loom.json", ("2020-01-02", "a"))
    assert results.newest("speed")["date"] == "2020-01-03"
    assert results.newest("speed", "a")["date"] == "2020-01-02"
    with pytest.raises(LookupError, match=r"no c of speed. Run: python benchmarks/speed.py"):
        results.newest("speed", "c")


def test_every_file_of_results_belongs_to_a_script_and_names_its_machine():
    scripts = {path.stem for path in BENCHMARKS.glob("[!_]*.py")}
    files = list((BENCHMARKS / "results").glob("*.json"))
    assert files
    for path in files:
        assert path.stem.partition("-")[0] in scripts, path.name
        content = json.loads(path.read_text("utf-8"))
        for entry in content.get("entries", [content]):
            assert {"cpu", "torch", "threads"} <= set(entry["machine"]), path.name
            assert entry["rows"], path.name


def test_every_benchmark_can_be_tried_quickly():
    for script in BENCHMARKS.glob("[!_]*.py"):
        if script.stem != "tables":
            text = script.read_text("utf-8")
            assert "arguments(__doc__" in text or '"--quick"' in text, script.name
