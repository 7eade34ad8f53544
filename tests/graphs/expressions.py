"""Random graph expressions with their edges, computed from the definitions.

`expressions(seed)` draws a tree over all families and all operators. Its meaning is worked out by
loops over single numbers that share no code with the package: how often each edge occurs, and
the edges in edge order.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

import edgewise as ew

Pairs = list[tuple[int, int]]  # (target, source)


@dataclass(frozen=True, eq=False)
class Expression:
    """A graph with its edges.

    Attributes:
        graph: What is tested.
        copies: How often each edge occurs: ``[T, S]``.
        order: Target and source of every edge, in edge order.
    """

    graph: ew.Graph
    copies: np.ndarray
    order: Pairs

    @property
    def shape(self) -> tuple[int, int]:
        return self.copies.shape

    @property
    def holds_copies(self) -> bool:
        return bool((self.copies > 1).any())


def by_target(copies: np.ndarray) -> Pairs:
    """Every edge by target, then source."""
    T, S = copies.shape
    return [(t, s) for t in range(T) for s in range(S) for _ in range(copies[t, s])]


def sorted_edges(graph: ew.Graph, copies: np.ndarray) -> Expression:
    return Expression(graph, copies, by_target(copies))


def literal(
    graph: ew.Graph, shape: tuple[int, int], holds: Callable[[int, int], bool]
) -> Expression:
    """A graph whose edges are given by a condition on two plain numbers."""
    copies = np.zeros(shape, dtype=np.int64)
    for t, s in itertools.product(range(shape[0]), range(shape[1])):
        copies[t, s] = holds(t, s)
    return sorted_edges(graph, copies)


# --- Families -----------------------------------------------------------------------------


def complete(T: int, S: int) -> Expression:
    return literal(ew.Complete(T, S), (T, S), lambda *_: True)


def causal(T: int, S: int) -> Expression:
    return literal(ew.Causal(T, S), (T, S), lambda t, s: s <= t + S - T)


def window(T: int, S: int, left: int, right: int) -> Expression:
    graph = ew.Window(T, S, left=left, right=right)
    return literal(graph, (T, S), lambda t, s: -right <= t + S - T - s <= left)


def dilated(N: int, left: int, right: int, dilation: int) -> Expression:
    graph = ew.Dilated(N, left=left, right=right, dilation=dilation)

    def holds(t: int, s: int) -> bool:
        steps, rest = divmod(t - s, dilation)
        return rest == 0 and -right <= steps <= left

    return literal(graph, (N, N), holds)


def prefix_causal(N: int, prefix: int) -> Expression:
    graph = ew.PrefixCausal(N, prefix=prefix)
    return literal(graph, (N, N), lambda t, s: s <= t or s < prefix)


def blocks(rows: list[int], columns: list[int]) -> Expression:
    row = [block for block, size in enumerate(rows) for _ in range(size)]
    column = [block for block, size in enumerate(columns) for _ in range(size)]
    graph = ew.Blocks(rows, columns)
    return literal(graph, (len(row), len(column)), lambda t, s: row[t] == column[s])


def self_loops(N: int) -> Expression:
    return literal(ew.SelfLoops(N), (N, N), lambda t, s: t == s)


def hubs(N: int, nodes: list[int]) -> Expression:
    return literal(ew.Hubs(N, nodes), (N, N), lambda t, s: t in nodes or s in nodes)


def grid(
    shape: tuple[int, ...], radius: int | tuple[int, ...], *, corners: bool, periodic: bool
) -> Expression:
    radii = (radius,) * len(shape) if isinstance(radius, int) else radius
    cells = list(itertools.product(*(range(size) for size in shape)))

    def gap(a: int, b: int, size: int) -> int:
        return min((a - b) % size, (b - a) % size) if periodic else abs(a - b)

    def holds(t: int, s: int) -> bool:
        gaps = [gap(*axis) for axis in zip(cells[t], cells[s], shape, strict=True)]
        near = all(g <= r for g, r in zip(gaps, radii, strict=True))
        return near and (corners or sum(g > 0 for g in gaps) <= 1)

    graph = ew.Grid(shape, radius=radius, corners=corners, periodic=periodic)
    return literal(graph, (len(cells), len(cells)), holds)


def random_regular(N: int, degree: int, seed: int) -> Expression:
    graph = ew.RandomRegular(N, degree=degree, seed=seed)
    neighbors = graph.neighbors.tolist()  # the draw is tested by itself
    return literal(graph, (N, N), lambda t, s: s in neighbors[t])


def predicate(table: list[list[bool]], T: int, S: int) -> Expression:
    entries = torch.tensor(table, dtype=torch.bool).reshape(T, S)
    graph = ew.Predicate(lambda target, source: entries[target, source], T, S)
    return literal(graph, (T, S), lambda t, s: table[t][s])


def edge_list(T: int, S: int, order: Pairs) -> Expression:
    copies = np.zeros((T, S), dtype=np.int64)
    for t, s in order:
        copies[t, s] += 1
    index = [[s for _, s in order], [t for t, _ in order]]
    return Expression(ew.EdgeList(index, num_targets=T, num_sources=S), copies, order)


# --- Operators ----------------------------------------------------------------------------


def _simplified(graph: ew.Graph, copies: np.ndarray, *operands: Expression) -> Expression:
    """A new expression, or the operand that the graph was simplified to."""
    for operand in operands:
        if graph is operand.graph:
            np.testing.assert_array_equal(copies, operand.copies)
            return operand
    return sorted_edges(graph, copies)


def union(a: Expression, b: Expression) -> Expression:
    return _simplified(a.graph | b.graph, 1 * ((a.copies > 0) | (b.copies > 0)), a, b)


def intersection(a: Expression, b: Expression) -> Expression:
    return _simplified(a.graph & b.graph, 1 * ((a.copies > 0) & (b.copies > 0)), a, b)


def difference(a: Expression, b: Expression) -> Expression:
    return _simplified(a.graph - b.graph, 1 * ((a.copies > 0) & (b.copies == 0)), a, b)


def reverse(a: Expression) -> Expression:
    graph = ew.reverse(a.graph)
    if isinstance(a.graph, ew.EdgeList):
        return Expression(graph, a.copies.T, [(s, t) for t, s in a.order])
    return _simplified(graph, a.copies.T, a)


def compose(outer: Expression, inner: Expression) -> Expression:
    copies = 1 * ((outer.copies > 0).astype(int) @ (inner.copies > 0).astype(int) > 0)
    return _simplified(ew.compose(outer.graph, inner.graph), copies, outer, inner)


def permute(a: Expression, targets: list[int], sources: list[int]) -> Expression:
    copies = np.zeros_like(a.copies)
    for t, s in itertools.product(range(a.shape[0]), range(a.shape[1])):
        copies[targets[t], sources[s]] = a.copies[t, s]
    graph = ew.permute(a.graph, torch.tensor(targets).long(), torch.tensor(sources).long())
    if isinstance(a.graph, ew.EdgeList):
        return Expression(graph, copies, [(targets[t], sources[s]) for t, s in a.order])
    return _simplified(graph, copies, a)


def disjoint_union(parts: list[Expression]) -> Expression:
    shapes = [part.shape for part in parts]
    copies = np.zeros((sum(T for T, _ in shapes), sum(S for _, S in shapes)), dtype=np.int64)
    order, row, column = [], 0, 0
    for part in parts:
        T, S = part.shape
        copies[row : row + T, column : column + S] = part.copies
        order += [(row + t, column + s) for t, s in part.order]
        row, column = row + T, column + S
    return Expression(ew.disjoint_union(part.graph for part in parts), copies, order)


def induced(a: Expression, targets: list[int] | None, sources: list[int] | None) -> Expression:
    copies = a.copies if targets is None else a.copies[targets]
    copies = copies if sources is None else copies[:, sources]
    if targets is None and sources is None:
        return a
    return _simplified(ew.induced(a.graph, targets, sources), copies, a)


def receptive_field(a: Expression, layers: int) -> Expression:
    step = (a.copies > 0) | np.eye(len(a.copies), dtype=bool)
    reach = np.linalg.matrix_power(step.astype(np.int64), layers) > 0
    return _simplified(ew.receptive_field(a.graph, layers), 1 * reach, a)


def assume(a: Expression, slack: int) -> Expression:
    """A graph with its exact facts, each loosened by ``slack``."""
    values = exact_facts(a.copies)
    T, S = a.shape
    facts = ew.Facts.bounded(
        T,
        S,
        min_edges=max(0, values["min_edges"] - slack),
        max_edges=values["max_edges"] + slack,
        left=values["left"] + slack,
        right=values["right"] + slack,
        in_degree=(max(0, values["min_in_degree"] - slack), values["max_in_degree"] + slack),
        out_degree=(max(0, values["min_out_degree"] - slack), values["max_out_degree"] + slack),
        simple=not a.holds_copies,
    )
    return Expression(ew.Assume(a.graph, facts), a.copies, a.order)


def exact_facts(copies: np.ndarray) -> dict[str, int]:
    """The exact facts of a matrix; bandwidths of an empty graph are 0."""
    T, S = copies.shape
    target, source = copies.nonzero()
    rows, columns = copies.sum(1), copies.sum(0)
    return {
        "min_edges": int(copies.sum()),
        "max_edges": int(copies.sum()),
        "left": int((target - source).max()) if target.size else 0,
        "right": int((source - target).max()) if target.size else 0,
        "min_in_degree": int(rows.min()) if T else 0,
        "max_in_degree": int(rows.max()) if T else 0,
        "min_out_degree": int(columns.min()) if S else 0,
        "max_out_degree": int(columns.max()) if S else 0,
    }


# --- Random trees -------------------------------------------------------------------------


def expressions(seed: int, number: int, *, largest: int = 7) -> Iterator[Expression]:
    """Random trees of up to three operators above one another, over 0 to ``largest`` nodes."""
    draw = random.Random(seed)
    for _ in range(number):
        T = draw.randint(0, largest)
        S = T if draw.random() < 0.6 else draw.randint(0, largest)
        yield _tree(draw, T, S, draw.randint(0, 3))


def _tree(draw: random.Random, T: int, S: int, depth: int) -> Expression:
    if depth == 0:
        return draw.choice(_leaves(draw, T, S))()

    def below(rows: int, columns: int) -> Expression:
        return _tree(draw, rows, columns, draw.randint(0, depth - 1))

    def composed() -> Expression:
        middle = draw.choice([T, S, draw.randint(0, 7)])
        return compose(below(T, middle), below(middle, S))

    def side_by_side() -> Expression:
        parts = draw.randint(1, 3)
        cuts = zip(_split(draw, T, parts), _split(draw, S, parts), strict=True)
        return disjoint_union([below(*sizes) for sizes in cuts])

    def renamed() -> Expression:
        return permute(below(T, S), draw.sample(range(T), T), draw.sample(range(S), S))

    def some_nodes() -> Expression:
        rows, columns = T + draw.randint(0, 2), S + draw.randint(0, 2)
        targets = None if rows == T else draw.sample(range(rows), T)
        sources = None if columns == S else draw.sample(range(columns), S)
        return induced(below(rows, columns), targets, sources)

    operators = [
        lambda: union(below(T, S), below(T, S)),
        lambda: intersection(below(T, S), below(T, S)),
        lambda: difference(below(T, S), below(T, S)),
        lambda: reverse(below(S, T)),
        composed,
        renamed,
        some_nodes,
        side_by_side,
        lambda: assume(below(T, S), draw.randint(0, 2)),
    ]
    if T == S:
        operators.append(lambda: receptive_field(below(T, T), draw.randint(0, 3)))
    return draw.choice(operators)()


def _leaves(draw: random.Random, T: int, S: int) -> list[Callable[[], Expression]]:
    def some() -> int:
        return draw.choice([0, 1, 2, 3, 9])

    def pairs(number: int) -> Pairs:
        return [(draw.randrange(T), draw.randrange(S)) for _ in range(number)] if T * S else []

    def rows_and_columns() -> Expression:
        parts = draw.randint(1, 4)
        return blocks(_split(draw, T, parts), _split(draw, S, parts))

    def cells() -> Expression:
        shapes = [shape for axes in (1, 2, 3) for shape in _shapes(T, axes)]
        shape = draw.choice(shapes)
        radius = draw.choice([some(), tuple(some() for _ in shape)])
        return grid(shape, radius, corners=draw.random() < 0.5, periodic=draw.random() < 0.5)

    def regular() -> Expression:
        degrees = [d for d in range(max(T, 1)) if T * d % 2 == 0]
        return random_regular(T, draw.choice(degrees), draw.randrange(100))

    everywhere = list(itertools.product(range(T), range(S)))
    leaves = [
        lambda: complete(T, S),
        lambda: causal(T, S),
        lambda: window(T, S, some(), some()),
        rows_and_columns,
        lambda: predicate([[draw.random() < 0.4 for _ in range(S)] for _ in range(T)], T, S),
        lambda: edge_list(T, S, pairs(draw.randint(0, 12))),
        lambda: edge_list(T, S, draw.sample(everywhere, draw.randint(0, len(everywhere)))),
    ]
    square: list[Callable[[], Expression]] = [
        lambda: dilated(T, some(), some(), draw.randint(1, 4)),
        lambda: prefix_causal(T, draw.randint(0, T)),
        lambda: self_loops(T),
        lambda: hubs(T, draw.sample(range(T), draw.randint(0, T))),
        cells,
        regular,
    ]
    return leaves + square * (T == S)


def _split(draw: random.Random, size: int, parts: int) -> list[int]:
    """Sizes of so many parts, empty ones too."""
    ends = sorted(draw.randint(0, size) for _ in range(parts - 1))
    return [b - a for a, b in itertools.pairwise([0, *ends, size])]


def _shapes(size: int, axes: int) -> list[tuple[int, ...]]:
    """All ways to write a number as a product."""
    if axes == 1:
        return [(size,)]
    if size == 0:
        return [(0, *[2] * (axes - 1))]
    return [
        (first, *rest)
        for first in range(1, size + 1)
        if size % first == 0
        for rest in _shapes(size // first, axes - 1)
    ]


# --- One of everything --------------------------------------------------------------------


def _plain() -> list[Expression]:
    """Every family over 0, 1 and a few nodes, square and rectangular."""
    values: list[Expression] = []
    for T, S in [(0, 0), (1, 1), (0, 3), (3, 0), (1, 6), (6, 1), (5, 5), (4, 9), (9, 4)]:
        values += [complete(T, S), causal(T, S)]
        for left, right in [(0, 0), (1, 0), (0, 2), (2, 3), (50, 0), (0, 50), (50, 50)]:
            values.append(window(T, S, left, right))
    for N in (0, 1, 2, 5, 8):
        values.append(self_loops(N))
        values += [prefix_causal(N, prefix) for prefix in range(N + 1)]
        values += [hubs(N, nodes) for nodes in ([], [0], [N - 1], [1, 3], [*range(N)]) if N > 3]
        for reach in [(0, 0), (1, 0), (0, 2), (2, 1), (50, 0), (50, 50)]:
            values += [dilated(N, *reach, dilation) for dilation in (1, 2, 3, 7, 50)]
    for rows, columns in [
        ([], []),
        ([0], [0]),
        ([3], [3]),
        ([2, 0, 1], [2, 0, 1]),
        ([1, 1], [2, 3]),
        ([2, 1], [0, 3]),
        ([0, 3], [2, 0]),
        ([0, 2, 0, 0, 1], [1, 3, 0, 2, 2]),
        ([1, 2], [2, 1]),
    ]:
        values.append(blocks(rows, columns))
    for shape in [
        (0,),
        (1,),
        (2,),
        (3,),
        (6,),
        (0, 3),
        (2, 3),
        (4, 4),
        (3, 1),
        (2, 3, 2),
        (1, 4, 3),
    ]:
        radii = [0, 1, 2, 9, *([tuple(range(len(shape)))] * (len(shape) > 1))]
        for radius, corners, periodic in itertools.product(radii, [True, False], [True, False]):
            values.append(grid(shape, radius, corners=corners, periodic=periodic))
    return values


def _others() -> dict[str, Expression]:
    """Graphs whose facts may be loose, and graphs with another edge order."""
    N = 7
    copies = edge_list(N, N, [(3, 1), (0, 6), (3, 1), (5, 5), (3, 1), (0, 2), (5, 5)])
    unsorted = edge_list(4, 4, [(3, 0), (0, 2), (2, 2), (0, 1)])
    wide = edge_list(2, 5, [(1, 4), (0, 0), (1, 4), (1, 2)])
    chess = predicate([[(t + s) % 2 == 0 for s in range(5)] for t in range(N)], N, 5)
    order = [4, 0, 6, 2, 1, 5, 3]
    batch = disjoint_union([causal(2, 3), copies, self_loops(0), wide, complete(0, 2)])
    return {
        "edge list, sorted": edge_list(3, 3, [(0, 1), (1, 0), (1, 2)]),
        "edge list, unsorted": unsorted,
        "edge list, copies": copies,
        "edge list, bipartite": wide,
        "edge list, no edges": edge_list(3, 2, []),
        "edge list, no nodes": edge_list(0, 0, []),
        "random regular": random_regular(8, 3, 0),
        "random regular, dense": random_regular(N, 4, 1),
        "random regular, no edges": random_regular(3, 0, 2),
        "predicate": chess,
        "assume": assume(chess, 1),
        "assume, copies": assume(copies, 0),
        "union": union(window(N, N, 1, 1), hubs(N, [0])),
        "union of edge lists": union(copies, edge_list(N, N, [(3, 1), (1, 3)])),
        "intersection": intersection(copies, causal(N, N)),
        "difference": difference(complete(N, N), copies),
        "difference with copies": difference(copies, self_loops(N)),
        "reverse": reverse(prefix_causal(N, 3)),
        "reverse, edge list": reverse(wide),
        "reverse, batch": reverse(batch),
        "induced": induced(causal(9, 9), [8, 2, 5], [0, 7, 3, 1]),
        "induced, rows of edges": induced(copies, [3, 6, 0], None),
        "permutation": permute(causal(N, N), order, order),
        "permutation, two orders": permute(window(4, 3, 1, 0), [2, 0, 1, 3], [1, 2, 0]),
        "permutation, edge list": permute(copies, order, order[::-1]),
        "permutation, batch": permute(
            disjoint_union([unsorted, wide]), [5, 0, 3, 2, 1, 4], [*range(9)]
        ),
        "composition": compose(window(4, N, 1, 0), copies),
        "receptive field": receptive_field(unsorted, 2),
        "disjoint union": batch,
        "disjoint union of edge lists": disjoint_union([unsorted, copies, wide]),
        "disjoint union, nested": disjoint_union([batch, unsorted]),
    }


PLAIN: dict[str, list[Expression]] = {}
for _expression in _plain():
    PLAIN.setdefault(type(_expression.graph).__name__, []).append(_expression)
OTHERS = {name: [expression] for name, expression in _others().items()}
ALL = {**PLAIN, **OTHERS}
