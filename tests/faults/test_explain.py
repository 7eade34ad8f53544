"""The command line beside training: huge graphs, odd words, names with markup, and slow plans."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import edgewise as ew
from edgewise.backends.flex.blocks import BLOCK, OccupiedBlocks, intervals, span
from edgewise.cli.main import COMMANDS, main
from edgewise.errors import PlanError
from edgewise.graphs import Graph, read_graph
from edgewise.graphs.cuts import Cuts
from edgewise.graphs.facts import Facts, band_pairs
from edgewise.layouts import csr
from edgewise.lottery.trials import AggregateWorkload, AttentionWorkload, Workload
from edgewise.planning import analyze, choose
from edgewise.testing import GRAPHS
from tests.faults.kinds import Kind, each_case

# --- Graphs of any size are judged by arithmetic --------------------------------------------------


def _families(n: int) -> dict[str, str]:
    """Every family of graphs that is written with its size, over n nodes."""
    side = math.isqrt(n)
    return {
        "Complete": f"Complete({n})",
        "Causal": f"Causal({n})",
        "Window": f"Window({n}, left=128, right=128)",
        "wide Window": f"Window({n}, left={n // 3}, right=5)",
        "causal Window": f"Window({n}, left=128, right=0)",
        "Dilated": f"Dilated({n}, left=4, right=4, dilation=3)",
        "far Dilated": f"Dilated({n}, left=4, right=4, dilation={n // 16})",
        "PrefixCausal": f"PrefixCausal({n}, prefix={n // 2})",
        "SelfLoops": f"SelfLoops({n})",
        "Hubs": f"Hubs({n}, [0, 5, {n - 1}])",
        "many Hubs": f"Hubs({n}, range(1000))",
        "RandomRegular": f"RandomRegular({n}, degree=4, seed=0)",
        "Blocks": f"Blocks([{n // 2}, {n - n // 2}])",
        "uneven Blocks": f"Blocks([7, {n - 8}, 1])",
        "Grid": f"Grid([{side}, {side}])",
        "wide Grid": f"Grid([{side}, {side}], radius={side // 3})",
        "Grid of rows": f"Grid([{side}, {side}], radius=[0, 2], periodic=True)",
        "Grid of one axis": f"Grid([{n}], radius=7)",
        "Grid without corners": f"Grid([{side}, {side}], corners=False)",
    }


# What is made of one graph, and of two over the same nodes.
OVER_ONE = (
    "reverse({a})",
    "induced({a}, range(100))",
    "receptive_field({a}, 2)",
    "disjoint_union([{a}, {a}, {a}])",
    "disjoint_union([{a}, Causal(1000000000), Complete(3)])",
)
OVER_TWO = (
    "{a} | {b}",
    "{a} & {b}",
    "{a} - {b}",
    "compose({a}, {b})",
    "{a} | {b} | Hubs({n}, [1])",
)
SETTINGS: tuple[Workload, ...] = (
    AttentionWorkload(2, 8),
    AttentionWorkload(4, 64, sharing=2, lse=True),
    AttentionWorkload(2, 16, score="gatv2"),
    AttentionWorkload(2, 16, bias="edge"),
    AttentionWorkload(2, 16, dropout=0.5),
    AggregateWorkload(16),
    AggregateWorkload(16, reduce="max"),
)


@cache
def _expressions() -> tuple[str, ...]:
    """All families, alone and in every combination."""
    found: list[str] = []
    for n in (10**9, 10**10, (1 << 40) // 4):
        families = _families(n)
        found += families.values()
        found += [each.format(a=text) for text in families.values() for each in OVER_ONE]
        if n == 10**10:  # a square number, so that grids have as many nodes as the others
            square = families.items()
            pairs = [(a, b) for one, a in square for other, b in square if one < other]
            found += [each.format(a=a, b=b, n=n) for a, b in pairs for each in OVER_TWO]
    return tuple(found)


class _Limits(NamedTuple):
    """What planning a problem may take."""

    seconds: float
    bytes: int


LIMITS = _Limits(2.0, 200 << 20)
_NO_BUDGET = 10**40


def _planned(text: str, settings_: tuple[Workload, ...]) -> str | None:
    """Plan every setting on a graph; what went wrong, or None."""

    def late(*_: object) -> None:
        raise TimeoutError(f"took over {LIMITS.seconds} s of processor time")

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMITS.seconds)
    try:
        graph = read_graph(text)
        for setting in settings_:
            for training in (False, True):
                problem = setting.problem(graph, torch.float32, training=training)
                try:
                    plan = choose(problem, budget=_NO_BUDGET).plan
                except PlanError:
                    continue  # no backend takes so many nodes, and says so
                if not (0 <= plan.seconds < math.inf and plan.memory >= 0):
                    return f"{text}: {plan}"
    except (MemoryError, TimeoutError, RuntimeError, ValueError, OverflowError) as error:
        return f"{text}: {error!r:.300}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def _plan_all() -> None:
    """Plan all expressions on standard input within the limits, in a process of its own."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMITS.bytes
    few, numbers = SETTINGS[:1], itertools.count()
    choose(AttentionWorkload(2, 8).problem(ew.Causal(64), torch.float32, training=True))  # imports
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # All settings on the families and on some of the others; the first on all.
    outcomes = [_planned(each, SETTINGS if next(numbers) % 16 < 1 else few) for each in sys.stdin]
    print(json.dumps([each for each in outcomes if each is not None]))


@cache
def _failures(every: int) -> list[str]:
    code = "from tests.faults.test_explain import _plan_all; _plan_all()"
    text = "\n".join(_expressions()[::every])
    words = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits memory")
def test_planning_takes_no_memory_of_the_size_of_the_graph():
    """A sample of all expressions; which one it is changes with nothing but the list."""
    assert _failures(every=7) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits memory")
def test_planning_takes_no_memory_in_any_combination():
    assert _failures(every=1) == []


def _check_printed(text: str) -> None:
    """In Python on tensors without memory, and on the command line."""
    graph = read_graph(text)
    one = torch.empty(())
    query, key = (one.expand(1, 2, n, 8) for n in (graph.num_targets, graph.num_sources))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("arange", "zeros", "randn", "ones", "full"):
            patch.setattr(torch, name, None)
        try:
            found = str(ew.explain(query, key, key, graph, memory_budget=_NO_BUDGET))
        except PlanError as error:
            found = str(error)
        assert "Traceback" not in found
        assert main(["explain", text]) in (0, 1)


REPORTED = {
    "a trillion nodes": "Window(1000000000000, left=128, right=128)",
    "causal": "Causal(99999999999)",
    "a grid": "Grid([100000, 100000])",
    "complete": "Complete(1000000000)",
    "a union": "Window(10**12, left=128, right=128) | Causal(10**12)",
    "parts": "disjoint_union([Window(10**11, left=3, right=3), Causal(10**11), Grid([9, 10**9])])",
    "a rectangle": "Causal(10**11, 10**12)",
}


@each_case((Kind("a huge graph", _check_printed, REPORTED),))
def test_huge_graphs_are_explained(check, case):
    check(case)


def _span_by_rows(facts: Facts) -> tuple[int, int]:
    """Blocks that may hold edges, row of blocks by row of blocks."""
    T, S = facts.num_targets, facts.num_sources
    if not facts.max_edges or band_pairs(T, S, -facts.left, facts.right) == 0:
        return 0, 0
    top = np.arange(0, T, BLOCK)
    bottom = np.minimum(top + BLOCK, T)
    before = np.searchsorted(facts.cuts.targets, top, side="right") - 1
    after = np.searchsorted(facts.cuts.targets, bottom, side="left")
    left = np.maximum(facts.cuts.sources[before], top - facts.left)
    right = np.minimum(facts.cuts.sources[after], bottom + facts.right)
    blocks = np.maximum(-(-right // BLOCK) - left // BLOCK, 0)
    return min(int(blocks.sum()), facts.max_edges), int(blocks.max())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_blocks_are_counted_as_row_by_row(data):
    T, S = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 3000))
    corners = st.lists(st.tuples(st.integers(0, T), st.integers(0, S)), max_size=9)
    inner = data.draw(corners)
    rows, columns = (sorted(each) for each in zip(*inner, strict=True)) if inner else ([], [])
    reach = st.none() | st.integers(-300, 3000)
    cuts = Cuts([0, *rows, T], [0, *columns, S])
    facts = Facts.bounded(T, S, left=data.draw(reach), right=data.draw(reach), cuts=cuts)
    assert span(facts) == _span_by_rows(facts)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_fewer_blocks_are_counted_than_there_are(name):
    graph: Graph = GRAPHS[name]() if callable(GRAPHS[name]) else GRAPHS[name]
    facts = graph.facts()
    rows = intervals(graph, facts)
    found = (
        OccupiedBlocks.of_edges(csr(graph))
        if rows is None
        else OccupiedBlocks.of_intervals(rows, graph.num_sources)
    )
    assert span(facts)[0] >= found.row.numel()
    assert span(facts)[1] >= (int(torch.bincount(found.row).max()) if found.row.numel() else 0)


# --- Words of a command line ----------------------------------------------------------------------


class _Words(NamedTuple):
    words: list[str]
    said: str


def _check_sentence(case: _Words) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "edgewise", *case.words], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run
    assert run.stdout == ""
    assert run.stderr.startswith("edgewise: ")
    assert run.stderr.count("\n") == 1
    assert case.said in run.stderr


SENTENCES = {
    "an option of another program": _Words(
        ["lottery", "--output", "x"], "lottery has no --output x. Did you mean --out?"
    ),
    "threads by the thousand": _Words(
        ["explain", "Causal(64)", "--threads", "5000", "--analyze"],
        f"threads must be at most {4 * (os.cpu_count() or 1)}",
    ),
}
# These run in the process of the test, which is faster.
MORE_SENTENCES = {
    "nothing": _Words(
        ["explain", ""], "graph must be an expression, a data set or a file, got ''."
    ),
    "a misspelt family": _Words(["explain", "Causl(4)"], "Did you mean Causal?"),
    "a misspelt option": _Words(
        ["explain", "Causal(4)", "--thread", "4"], "Did you mean --threads?"
    ),
    "a misspelt command": _Words(["explian", "Causal(4)"], "Did you mean explain?"),
    "an option of no command": _Words(["--quiet"], "the first word must be one of check, compare"),
    "a second graph": _Words(["explain", "Causal(4)", "Causal(5)"], "explain has no Causal(5)."),
    "no value": _Words(["explain", "Causal(4)", "--threads"], "--threads"),
    "a text for a number": _Words(
        ["explain", "Causal(4)", "--threads", "four"], "--threads cannot be 'four'"
    ),
    "no graph": _Words(["explain"], "explain needs GRAPH"),
    "no such choice": _Words(["explain", "Causal(4)", "--dtype", "half"], "'half'"),
    "no such choice of check": _Words(["check", "--dtype", "half"], "'half'"),
    "a short option": _Words(["check", "-x"], "check has no -x."),
    "markup": _Words(["lottery", "[red]x[/nope]"], "lottery has no"),
    "escapes": _Words(["lottery", "--\x1b[31mx"], "lottery has no"),
    "an escape for a command": _Words(["\x1b[31mX"], "got '\\x1b[31mX'"),
    "an escape for a graph": _Words(["explain", "\x1b[31mX"], "got '\\x1b[31mX'"),
    "a new line for a graph": _Words(["explain", "a\nb"], "got 'a\\nb'"),
    "an escape in an expression": _Words(["explain", "\x1b[31mX("], "\\x1b[31mX("),
    "a file with an escape": _Words(["explain", "\x1b[2J.npz"], "\\x1b[2J.npz"),
    "a long word": _Words(["explain", "a" * 5000], "got 'aaaa"),
    "a long option": _Words(["explain", "Causal(4)", "--" + "a" * 5000], "explain has no --aaaa"),
    "a folder": _Words(["explain", "."], "got '.', which is a folder"),
    "a data set in capitals": _Words(["explain", "CORA"], "Did you mean cora?"),
    "no threads": _Words(["explain", "Causal(4)", "--threads", "0"], "threads must be at least 1"),
    "fewer threads than none": _Words(
        ["explain", "Causal(4)", "--threads=-5"], "threads must be at least 1"
    ),
    "threads without analyze": _Words(
        ["explain", "Causal(4)", "--threads", "100000"], "threads must be at most"
    ),
    "seconds without end": _Words(["lottery", "--seconds", "inf"], "seconds must be a positive"),
}


@each_case((Kind("one sentence for wrong words", _check_sentence, SENTENCES),))
def test_wrong_words_are_a_sentence(check, case):
    check(case)


@pytest.mark.parametrize("name", MORE_SENTENCES)
def test_more_wrong_words_are_a_sentence(name, capsys):
    case = MORE_SENTENCES[name]
    assert main(case.words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgewise: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert case.said in err
    assert len(err) < 1000


GRAPHS_IN_WORDS = (
    *(
        "Causal(8)",
        "Window(10**12, left=1, right=1)",
        "",
        "(",
        "Causal(",
        "Complete(0)",
        "Blocks([])",
    ),
    *("Grid([])", "Hubs(3, [5])", "EdgeList([[0], [0]], num_nodes=2**40)", "[1]*3", "range(9)"),
    *("induced(Causal(9), [0, 0])", "receptive_field(Causal(9), -1)", "disjoint_union([])", "\x00"),
    *("/dev/null", "/dev/zero", ".", "nope.npz", "[/red]", "Causal(\u0662)", "a\nb", "\ud800"),
)
OPTIONS = (
    *("--heads", "--kv-heads", "--head-dim", "--batch", "--dtype", "--training", "--dropout"),
    *("--backend", "--memory-budget", "--device", "--threads", "--json", "--num-nodes", "--reset"),
)
VALUES = (
    *("0", "-1", "1", "2", "9" * 21, "nan", "inf", "", "x", "1e3", "float32", "int8", "cpu"),
    *(
        "cuda:9",
        "meta",
        "native",
        "nope",
        "2GB",
        "\x1b[2J",
        "[/red]",
        "\ud800",
        "0.5",
        "None",
        "{}",
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(GRAPHS_IN_WORDS), max_size=2),
    st.lists(st.tuples(st.sampled_from(OPTIONS), st.sampled_from((*VALUES, None))), max_size=3),
)
def test_no_words_end_in_a_traceback(graphs, options):
    words = [word for pair in options for word in pair if word is not None]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(["explain", *graphs, *words])
    assert code in (0, 1, 2)
    said = err.getvalue()
    assert said.startswith("edgewise: ") == (code == 2)
    assert all(each.isprintable() or each == "\n" for each in out.getvalue() + said)
    assert len(said) < 2000


def test_help_is_one_line_for_each_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= len(COMMANDS) + 8
    for name in COMMANDS:
        (line,) = [each for each in out.splitlines() if each.startswith(f"  {name} ")]
        assert len(line) < 110


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name, capsys):
    assert main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: edgewise {name}")


def test_an_encoding_without_our_signs_stops_nothing():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "edgewise", "explain", "Causal(4)"]
    run = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    assert "\\u2514" in run.stdout or "└" in run.stdout


# --- Numbers in expressions -----------------------------------------------------------------------


def _check_number(case: tuple[str, int]) -> None:
    text, number = case
    assert read_graph(f"Complete({text})") == ew.Complete(number)


def _check_no_number(text: str) -> None:
    with pytest.raises(ew.EdgewiseError) as caught:
        read_graph(f"Complete({text})")
    assert "\n" not in str(caught.value)


NUMBERS = {
    "a power": ("10**6", 10**6),
    "underscores": ("1_000_000", 10**6),
    "an exponent": ("1e6", 10**6),
    "a power of two": ("2**20", 2**20),
    "a fraction of an exponent": ("1.5e3", 1500),
    "a capital": ("1E3", 1000),
    "a whole float": ("8.0", 8),
    "hexadecimal": ("0x10", 16),
    "to the power of nothing": ("7**0", 1),
    "nothing to a power": ("0**5", 0),
    "the largest": ("2**40", 2**40),
}
NO_NUMBERS = {
    "endless": "9**9**9**9",
    "a huge power": "9**99999999999",
    "a power of a graph": "Causal(3)**2",
    "a fraction": "1.5",
    "below one": "10**-1",
    "infinite": "1e999",
    "not exact": "1e17",
    "true": "True**2",
    "a text": "'10'**6",
    "a half": "4**0.5",
    "imaginary": "1e3j",
    "minus": "-10**6",
    "brackets": "(10)**(99999)",
}


@each_case(
    (
        Kind("a number that is not written out", _check_number, NUMBERS),
        Kind("what is no number", _check_no_number, NO_NUMBERS),
    )
)
def test_numbers_in_expressions(check, case):
    check(case)


# --- Plans that would take too long ---------------------------------------------------------------


def _explained(monkeypatch: pytest.MonkeyPatch, graph: Graph, **facts: Any) -> Any:
    """An analysis whose plans are estimated to take what the case says."""
    for name, value in facts.items():
        monkeypatch.setattr(analyze, name, value)
    q = torch.randn(1, 2, graph.num_targets, 8)
    return ew.explain(q, q, q, graph, analyze=True)


def test_every_plan_of_a_small_problem_runs(monkeypatch):
    found = _explained(monkeypatch, ew.Window(64, left=2, right=2))
    assert None not in found.measured
    assert not any(found.not_run)


def test_a_plan_that_would_take_long_is_not_run(monkeypatch):
    graph = ew.Window(96, left=2, right=2)
    found = _explained(monkeypatch, graph, _FAR=2.0, _LONG=0.0)
    plans = [found.decision.plan, *found.decision.dearer]
    slow = [plan.seconds > 2 * plans[0].seconds for plan in plans]
    assert any(slow)
    assert [seconds is None for seconds in found.measured] == slow
    assert found.measured[0] is not None
    text = str(found)
    assert text.count("not run, as ") == sum(slow)
    written = json.loads(found.to_json())
    assert [plan["measured"] is None for plan in written["dearer"]] == slow[1:]
    assert ["not_run" in plan for plan in written["dearer"]] == slow[1:]


def test_a_plan_that_fits_into_no_memory_is_not_run(monkeypatch):
    found = _explained(monkeypatch, ew.Causal(72), free_memory=lambda _: 1)
    assert set(found.measured) == {None}
    assert "the choice was not run, as it needs" in str(found)


def test_a_plan_that_takes_very_long_runs_once(monkeypatch):
    runs: list[int] = []
    monkeypatch.setattr(analyze, "seconds_of", lambda *_: runs.append(1) or 11.0)
    found = _explained(monkeypatch, ew.Causal(80))
    assert len(runs) == len(found.measured)


def test_the_plan_that_runs_is_logged(monkeypatch, caplog):
    with caplog.at_level("INFO", logger="edgewise.planning.analyze"):
        found = _explained(monkeypatch, ew.Causal(88))
    assert [record.getMessage() for record in caplog.records] == [
        f"running {plan.name}" for plan in (found.decision.plan, *found.decision.dearer)
    ]


# --- What `edgewise check` prints -----------------------------------------------------------------


def test_a_page_says_where_it_was_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--ladder", "new/ladder.md", "--models", "models.md"]) == 0
    assert capsys.readouterr().out == "Written: new/ladder.md\nWritten: models.md\n"


def test_names_are_whole_where_nobody_watches(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["check", "GCN", "--dtype", "float32", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    rows = [line for line in out.splitlines() if line.endswith("│ holds │")]
    assert rows
    assert all(line.count("│") == 8 for line in rows)
    assert sum("torch_geometric.nn.GCNConv " in line for line in rows) >= 2
