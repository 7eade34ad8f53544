"""The page on hedging says what was measured."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hedging.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results" / "hedging-amd-epyc-25-17.json"
*_, MEASURED = json.loads(RESULTS.read_text("utf-8"))["entries"]


def cells(row):
    """A line of the page's table."""
    at, scores = row["series"].rsplit(", ", 1)
    interval = f"{100 * row['low']:.0f} to {100 * row['high']:.0f} %"
    solved = f"{row['solved']} of {row['seeds']}"
    steps = f"{row['median_steps']:,}" if row["median_steps"] else "–"
    return [at, scores, str(row["heads"]), str(row["head_dim"]), solved, interval, steps]


def test_the_table_is_what_was_measured():
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    assert lines[1:] == [cells(row) for row in MEASURED["rows"]]


def test_the_settings_are_those_of_the_page():
    machine, rows = MEASURED["machine"], MEASURED["rows"]
    assert f"Adam, rate {machine['learning_rate']}" in PAGE
    assert f"{machine['steps']} steps." in PAGE
    assert f"Width {machine['width']}" in PAGE
    assert f"{rows[0]['seeds']} seeds for each setting" in PAGE
    assert machine["seconds"] < 600
