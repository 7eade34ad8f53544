"""The examples of the gallery that need the core alone do what their pages say."""

import importlib.util
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

import edgewise as ew

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_graph():
    module = example("own_graph")
    out, weights = module.main()
    graph = module.molecule()
    assert out.shape == (1, 4, 14, 16)
    assert weights.shape == (1, 4, ew.num_edges(graph)) == (1, 4, 30)
    # Caffeine: three carbons of methyl groups and two oxygens have one bond each.
    assert graph.target.bincount().eq(1).sum() == 5


def test_explain_and_plan(capsys):
    seconds = example("explain_and_plan").main()
    assert len(seconds) == 4
    assert seconds["random, 4 neighbors"] < seconds["complete"]
    assert capsys.readouterr().out.count("budget") == 4


def test_window_language_model(capsys):
    losses, text = example("window_language_model").main()
    assert losses[-1] < 0.1 < losses[0]
    assert text == "abacabad" * 4
    assert "continued: abacabad|" in capsys.readouterr().out


def test_sums():
    shown = example("sums").main()
    assert all(torch.isfinite(heat).all() for heat in shown)
    assert int(shown[0].gt(0).sum()) == 1
    assert shown[-1].max() < shown[1].max()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_it_begins_with_a_title(path):
    """The gallery takes the title from the docstring."""
    title, line = path.read_text(encoding="utf-8").splitlines()[:2]
    assert title.startswith('"""')
    assert line == "=" * len(title.removeprefix('"""'))
