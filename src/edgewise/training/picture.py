"""Quality against time, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgewise.training.atomic import replacing
from edgewise.training.extras import require
from edgewise.training.machine import describe_machine
from edgewise.training.results import Results

__all__ = ["draw_picture"]

_COLORS = {"mlp": "#7f7f7f", "gnn": "#2a7f62", "gat": "#2a7f62", "graph-transformer": "#2a7f62"}
_EVERYONE = "#c0562b"
_LEGEND = {"no graph": "#7f7f7f", "the data's graph": "#2a7f62", "complete graph": _EVERYONE}


def draw_picture(results: Results, out: Path) -> list[Path]:
    """Draw every rung: seconds for an epoch (logarithmic) to the right, test score upwards.

    Returns:
        ``comparison.png`` and ``comparison.svg`` in the folder ``out``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    require("matplotlib")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = [out / "comparison.png", out / "comparison.svg"]
    # The same numbers give the same bytes: no date, and no random names inside the SVG.
    with rc_context({"svg.hashsalt": "edgewise", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), results)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            with replacing(path) as draft:
                figure.savefig(draft, dpi=160, metadata=metadata)
    return paths


def _draw(axes: Any, results: Results) -> None:
    percent = 100 if results.score == "accuracy" else 1
    for summary in results.summaries():
        color = _COLORS.get(summary.rung, _EVERYONE)
        place = (summary.seconds_per_epoch, percent * summary.mean)
        axes.errorbar(*place, yerr=percent * (summary.std or 0.0), fmt="o", color=color, capsize=3)
        axes.annotate(summary.rung, place, xytext=(7, 5), textcoords="offset points", color=color)
    for words, color in _LEGEND.items():
        axes.plot([], [], "o", color=color, label=words)
    axes.legend(frameon=False, loc="best")
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    unit = " (%)" if percent == 100 else ""
    better = "" if results.higher else ", lower is better"
    axes.set_ylabel(f"test {results.score}{unit}{better}")
    axes.set_xlabel(f"seconds for an epoch\n{describe_machine(results.machine)}")
    axes.set_title(results.data["description"], fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
