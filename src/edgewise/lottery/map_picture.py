"""Picture of the map, as PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewise.atomic_file import replacing
from edgewise.lottery.map import Cell
from edgewise.optional_packages import require

__all__ = ["draw_map"]

_COLORS = "PuOr"  # purple and orange: distinct with any color vision
_MOST = 5.0  # powers of two at which a color is saturated
_LETTERS = {"dense": "D", "tiles": "T", "sparse": "S"}


def draw_map(cells: Sequence[Cell], title: str, out: Path) -> list[Path]:
    """Draw a panel for each dtype and pass: sizes by densities, with the faster way as color.

    Returns:
        ``map.png`` and ``map.svg`` in the folder ``out``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    require("matplotlib")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = [out / "map.png", out / "map.svg"]
    kinds = list(dict.fromkeys(cell.point.kind for cell in cells))
    # Equal cells give equal bytes: no date, and no random names inside the SVG.
    with rc_context({"svg.hashsalt": "edgewise", "svg.fonttype": "none", "font.size": 9}):
        columns = min(2, len(kinds))
        rows = math.ceil(len(kinds) / columns)
        figure = Figure(figsize=(5.4 * columns, 4.2 * rows + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        image = None
        for kind, panel in zip(kinds, axes.flat, strict=False):
            image = _draw(panel, [cell for cell in cells if cell.point.kind == kind])
            panel.set_title(", ".join(kind))
        for panel in axes[-1]:
            panel.set_xlabel("nodes")
        for panel in axes[:, 0]:
            panel.set_ylabel("density: share of all pairs that are edges")
        if image is not None:
            _explain(figure, image, axes)
        figure.suptitle(f"Where sparse, tiles and dense attention win\n{title}", fontsize=11)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            with replacing(path) as draft:
                figure.savefig(draft, dpi=150, metadata=metadata)
    return paths


def _draw(axes: Any, cells: Sequence[Cell]) -> Any:
    """A panel: a square for each point, with the fastest way and its factor."""
    drawn = [cell for cell in cells if cell.ratio is not None]
    sizes, shares = _steps(cells)
    image = axes.scatter(
        [sizes.index(cell.point.nodes) for cell in drawn],
        [shares.index(cell.point.density) for cell in drawn],
        c=[-math.log2(cell.ratio or 1.0) for cell in drawn],
        cmap=_COLORS,
        vmin=-_MOST,
        vmax=_MOST,
        marker="s",
        s=620,
        linewidths=0.4,
        edgecolors="#888888",
    )
    for cell in drawn:
        at = sizes.index(cell.point.nodes), shares.index(cell.point.density)
        _write(axes, cell, at)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_yticks(range(len(shares)), [as_share(share) for share in shares])
    axes.margins(0.08)
    axes.spines[["top", "right"]].set_visible(False)
    return image


def _steps(cells: Sequence[Cell]) -> tuple[list[int], list[float]]:
    """Sizes and densities of the cells, in order: the ticks of both axes."""
    sizes = sorted({cell.point.nodes for cell in cells})
    return sizes, sorted({cell.point.density for cell in cells})


def _write(axes: Any, cell: Cell, at: tuple[int, int]) -> None:
    assert cell.ratio is not None
    far = abs(math.log2(cell.ratio)) > 0.7 * _MOST
    factor = max(cell.ratio, 1 / cell.ratio)
    number = f"{factor:.1f}" if factor < 9.95 else f"{factor:.0f}"
    words = f"{_LETTERS[cell.winner]}\n{number}{'*' * bool(cell.estimated)}"
    color = "white" if far else "black"
    axes.annotate(words, at, ha="center", va="center", fontsize=6.5, color=color)


def _explain(figure: Any, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=30, extend="both")
    ticks = [-4, -2, 0, 2, 4]
    names = ["dense 16x", "dense 4x", "equal", "sparse 4x", "sparse 16x"]
    bar.set_ticks(ticks, labels=names)
    bar.set_label("time of dense over time of sparse")
    figure.supxlabel(
        "Letter: the fastest of Dense, Tiles (a window of as many edges), Sparse (random edges). "
        "Number: dense against sparse.\n* estimated in part. 4 heads of 64 channels, one thread.",
        fontsize=8,
    )


def as_share(share: float) -> str:
    """A density as text, in percent.

    >>> as_share(0.25), as_share(1 / 4096)
    ('25 %', '0.024 %')
    """
    return f"{100 * share:.2g} %" if share < 1 else "100 %"
