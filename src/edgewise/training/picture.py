"""Picture of a comparison: score against time, as PNG and SVG."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from edgewise.atomic_file import replacing
from edgewise.errors import printable
from edgewise.optional_packages import require
from edgewise.training.results import Results
from edgewise.training.writing import writing

__all__ = ["draw_picture"]

_COLORS = {"mlp": "#7f7f7f", "gnn": "#2a7f62", "gat": "#2a7f62", "graph-transformer": "#2a7f62"}
_COMPLETE = "#c0562b"
# Offsets of a label from its point, in points: right, left, further above, further below.
_PLACES = (
    (7, 4, "left"),
    (7, -11, "left"),
    (-7, 4, "right"),
    (-7, -11, "right"),
    (7, 16, "left"),
    (7, -23, "left"),
    (-7, 16, "right"),
    (-7, -23, "right"),
)
_TITLE_LENGTH = 96  # characters
_FALLBACK_FONTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Emoji",
    "Symbola",
    "Segoe UI Symbol",
)
_LEGEND = {"no graph": "#7f7f7f", "the data's graph": "#2a7f62", "complete graph": _COMPLETE}


def draw_picture(results: Results, out: Path) -> list[Path]:
    """Draw every rung: test score against seconds for an epoch (logarithmic).

    Bars are standard deviations over seeds; of one seed, standard errors over the test set. Rungs
    that diverged with every seed have no score, and are left out.

    Returns:
        ``comparison.png`` and ``comparison.svg`` in the folder ``out``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: a file cannot be written; the message names it.
    """
    require("matplotlib")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = [out / "comparison.png", out / "comparison.svg"]
    # Equal results give equal bytes: no date, and no random names inside the SVG.
    settings: dict[Any, Any] = {
        "svg.hashsalt": "edgewise",
        "svg.fonttype": "none",
        "font.size": 10,
        "font.sans-serif": _fonts(),
    }
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # shown as a box in the PNG
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), results)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            with writing(path), replacing(path) as draft:
                figure.savefig(draft, dpi=160, metadata=metadata)
    return paths


def _fonts() -> list[str]:
    """Fonts for titles: matplotlib's default, then installed fonts for other scripts."""
    from matplotlib import rcParams
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    usual: list[str] = list(rcParams["font.sans-serif"])
    first = [name for name in usual if name in installed][:1]
    return [*first, *(name for name in _FALLBACK_FONTS if name in installed)] or usual


def _title(text: str) -> str:
    """The text cut to the width of the picture."""
    text = printable(text)
    half = _TITLE_LENGTH // 2
    return text if len(text) <= _TITLE_LENGTH else f"{text[:half]}…{text[-half:]}"


def _draw(axes: Any, results: Results) -> None:
    percent = 100 if results.score == "accuracy" else 1
    points: dict[str, tuple[float, float]] = {}
    summaries = results.summaries()
    one_seed = all(summary.std is None for summary in summaries)
    bars = "sampling error of the test set" if one_seed else "standard deviation over seeds"
    for summary in summaries:
        if summary.mean is None:
            continue
        color = _COLORS.get(summary.rung, _COMPLETE)
        points[summary.rung] = (max(summary.seconds_per_epoch, 1e-9), percent * summary.mean)
        spread = percent * ((summary.error if one_seed else summary.std) or 0.0)
        axes.errorbar(*points[summary.rung], yerr=spread, fmt="o", color=color, capsize=3)
    for words, color in _LEGEND.items():
        axes.plot([], [], "o", color=color, label=words)
    unit = " (%)" if percent == 100 else ""
    better = "" if results.higher else ", lower is better"
    axes.set_ylabel(f"test {results.score}{unit}{better}")
    axes.set_xlabel(
        f"seconds for an epoch (bars: {bars})\n{results.machine_line()}", parse_math=False
    )
    axes.set_title(_title(results.data["description"]), fontsize=10, parse_math=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=8)
    axes.margins(x=0.2, y=0.15)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    _write_names(axes, points)


def _write_names(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Label each point at the offset with the fewest overlaps."""
    figure = axes.figure
    figure.canvas.draw()  # computes positions in pixels
    taken = [_around(*axes.transData.transform(point)) for point in points.values()]
    for name, point in points.items():
        label = axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            color=_COLORS.get(name, _COMPLETE),
        )
        boxes: list[Any] = []
        for dx, dy, side in _PLACES:
            label.set_position((dx, dy))
            label.set_horizontalalignment(side)
            boxes.append(label.get_window_extent())
        covered = [sum(box.overlaps(other) for other in taken) for box in boxes]
        best = covered.index(min(covered))
        dx, dy, side = _PLACES[best]
        label.set_position((dx, dy))
        label.set_horizontalalignment(side)
        taken.append(boxes[best])


def _around(x: float, y: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x - 5, y - 5, 10, 10)
