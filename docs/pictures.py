"""Draw the pictures of the documentation: graphs as dots and lines, and the same as masks.

    python docs/pictures.py

writes ``docs/pictures/*.svg``; a test compares them with what this script draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin
from pathlib import Path

import edgewise as ew
from edgewise.graphs import Graph

FOLDER = Path(__file__).parent / "pictures"
N = 12  # nodes of every picture
MASK = 132  # side of a mask
MARGIN = 24
BLUE, GREY, INK = "#2b6cb0", "#e2e8f0", "#1a202c"

_BONDS = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (2, 6), (6, 7), (7, 8), (8, 9), (9, 10))
_BONDS += ((10, 11), (11, 7), (4, 9))
SPARSE = ew.EdgeList(
    [
        [a for a, b in _BONDS] + [b for a, b in _BONDS],
        [b for a, b in _BONDS] + [a for a, b in _BONDS],
    ],
    num_nodes=N,
)

# Picture: panels of a graph, its title, the model it is the graph of, and whether nodes are a line.
Panel = tuple[Graph, str, str, bool]
FAMILIES: tuple[Panel, ...] = (
    (ew.Complete(N), "Complete", "Transformer", False),
    (ew.Causal(N), "Causal", "language model", True),
    (ew.Window(N, left=2, right=2) | ew.Hubs(N, [0]), "Window | Hubs", "long context", True),
    (SPARSE, "EdgeList", "graph neural network", False),
)
SPLIT: tuple[Panel, ...] = (
    (ew.Window(N, left=1, right=1) | ew.Hubs(N, [0]) | SPARSE, "the graph", "one call", True),
    (ew.Window(N, left=1, right=1), "a window", "dense tiles", True),
    (ew.Hubs(N, [0]) - ew.Window(N, left=1, right=1), "+ hubs", "two dense strips", True),
    (
        SPARSE - (ew.Window(N, left=1, right=1) | ew.Hubs(N, [0])),
        "+ the rest",
        "sparse rows",
        True,
    ),
)
BATCH: tuple[Panel, ...] = (
    (ew.Blocks([5, 4, 3]), "Blocks", "a batch of sets", False),
    (
        ew.disjoint_union([ew.Causal(5), ew.Causal(4), ew.Causal(3)]),
        "disjoint_union",
        "packed documents",
        True,
    ),
)
PICTURES = {"families": FAMILIES, "split": SPLIT, "batch": BATCH}


def pairs(graph: Graph) -> list[tuple[int, int]]:
    """The edges of a graph as ``(target, source)``, each once."""
    edges = ew.edges(graph)
    return sorted(set(zip(edges.target.tolist(), edges.source.tolist(), strict=True)))


def mask(graph: Graph, x: float, y: float) -> Iterator[str]:
    """A square for each pair: blue where the target (row) reads the source (column)."""
    cell, filled = MASK // N, set(pairs(graph))
    for color, is_edge in ((GREY, False), (BLUE, True)):
        squares = "".join(
            f"M{x + column * cell:g} {y + row * cell:g}h{cell - 1}v{cell - 1}h{1 - cell}z"
            for row in range(N)
            for column in range(N)
            if ((row, column) in filled) == is_edge
        )
        if squares:
            yield f'<path d="{squares}" fill="{color}"/>'


def places(is_line: bool, x: float, y: float) -> list[tuple[float, float]]:
    """Where the nodes stand: on a line, or on a circle."""
    if is_line:
        return [(x + MASK * (i + 0.5) / N, y + 0.62 * MASK) for i in range(N)]
    middle, radius = MASK / 2, MASK / 2 - 8
    turns = [2 * pi * i / N - pi / 2 for i in range(N)]
    return [(x + middle + radius * cos(t), y + middle + radius * sin(t)) for t in turns]


def network(graph: Graph, is_line: bool, x: float, y: float) -> Iterator[str]:
    """Dots and lines: arcs over a line, chords of a circle."""
    at = places(is_line, x, y)
    for a, b in sorted({(min(edge), max(edge)) for edge in pairs(graph)}):
        (x1, y1), (x2, y2) = at[a], at[b]
        if a == b:
            continue
        radius = abs(x2 - x1) / 2
        height = min(radius, 0.56 * MASK)
        path = f"A{radius:.1f} {height:.1f} 0 0 1" if is_line else "L"
        yield (
            f'<path d="M{x1:.1f} {y1:.1f} {path} {x2:.1f} {y2:.1f}" fill="none" stroke="{BLUE}" '
            'stroke-width="0.9" stroke-opacity="0.6"/>'
        )
    for cx, cy in at:
        yield f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.6" fill="{INK}"/>'


def picture(panels: tuple[Panel, ...]) -> str:
    """A row of panels as SVG: title, dots and lines, mask, and what the graph is for."""
    wide, tall = MARGIN + len(panels) * (MASK + MARGIN), 2 * MASK + 88
    title = ", ".join(f"{name} ({purpose})" for _, name, purpose, _ in panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" '
        f'height="{tall}" font-family="sans-serif" role="img">',
        f"<title>Graphs as dots and as masks: {title}</title>",
        f'<rect width="{wide}" height="{tall}" rx="8" fill="#ffffff"/>',
    ]
    for number, (graph, name, purpose, is_line) in enumerate(panels):
        x = MARGIN + number * (MASK + MARGIN)
        middle = x + MASK / 2
        lines += [
            _text(name, middle, 26, 15, "bold"),
            *network(graph, is_line, x, 38),
            *mask(graph, x, 38 + MASK + 12),
            _text(purpose, middle, tall - 12, 13, "normal"),
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(text: str, x: float, y: float, size: int, weight: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{INK}" '
        f'text-anchor="middle">{text}</text>'
    )


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, panels in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(picture(panels), encoding="utf-8")


if __name__ == "__main__":
    main()
