"""Predicate: a graph given by a function; Assume: a graph with facts that the user declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, OverOne, Reverse, check_graph
from edgewise.graphs.counts import count
from edgewise.graphs.cuts import Cuts
from edgewise.graphs.disjoint_union import DisjointUnion
from edgewise.graphs.edge_list import EdgeList
from edgewise.graphs.facts import Facts
from edgewise.graphs.induced import Induced
from edgewise.graphs.permutation import Permutation

__all__ = ["Assume", "Predicate", "check_facts"]


@dataclass(frozen=True, repr=False)
class Predicate(Graph):
    """A graph given by a function of (target, source).

    The facts of such a graph are those of its size alone, so every lowering tests all pairs.
    Declare tighter facts with `Assume`. Two predicates are equal when they hold the same function.

    Args:
        function: Takes two int64 tensors that broadcast, returns bool: True where there is an edge.
        num_targets: Rows ``T``.
        num_sources: Columns ``S``; as many as targets when left out.

    Raises:
        GraphError: the function returns something that is not a bool tensor of the right shape, or
            the graph is built in compiled code.

    Complexity: O(T * S) to lower.

    Example:
        >>> even = Predicate(lambda target, source: (target + source) % 2 == 0, 4)
        >>> even.contains(torch.tensor([0, 0]), torch.tensor([1, 2])).tolist()
        [False, True]
    """

    function: Callable[[Tensor, Tensor], Tensor]
    num_targets: int  # pyright: ignore[reportIncompatibleMethodOverride]
    num_sources: int = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if torch.compiler.is_dynamo_compiling():
            raise GraphError(
                "Predicate: cannot be built inside torch.compile, because it holds a function. "
                "Build it outside, and pass it in or close over it."
            )
        if not callable(self.function):
            raise GraphError(
                f"Predicate: function must be callable, got {type(self.function).__name__}. "
                f"Pass a function of (target, source)."
            )
        T = count("Predicate", "num_targets", self.num_targets)
        S = T if self.num_sources is None else count("Predicate", "num_sources", self.num_sources)  # pyright: ignore[reportUnnecessaryComparison]
        object.__setattr__(self, "num_targets", T)
        object.__setattr__(self, "num_sources", S)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        result = self.function(target, source)
        shape = torch.broadcast_tensors(target, source)[0].shape
        if not isinstance(result, Tensor) or result.dtype != torch.bool:  # pyright: ignore[reportUnnecessaryIsInstance]
            got = result.dtype if isinstance(result, Tensor) else type(result).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
            raise GraphError(
                f"Predicate: function must return a bool tensor, got {got}. "
                f"Compare tensors, for example (target - source).abs() < 3."
            )
        try:
            return result.expand(shape)
        except RuntimeError:
            raise GraphError(
                f"Predicate: function must return shape {list(shape)}, got "
                f"{list(result.shape)}. Use operations that broadcast."
            ) from None

    def facts(self) -> Facts:
        return Facts.bounded(self.num_targets, self.num_sources)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        sizes = [self.num_targets] + [self.num_sources] * (self.num_sources != self.num_targets)
        return f"Predicate({name}, {', '.join(map(str, sizes))})"


@dataclass(frozen=True, repr=False)
class Assume(OverOne):
    """A graph with facts that the user declares.

    The planner uses these facts unchecked. Prove them once with `check_facts`: it
    reads every pair and names the fact that is false.

    Args:
        graph: Any graph.
        assumed: Facts about it. The tighter bound counts, of these and of the graph's facts.

    Raises:
        GraphError: the facts are of another size.

    Example:
        >>> near = Predicate(lambda t, s: (t - s).abs() <= 1, 6)
        >>> graph = Assume(near, Facts.bounded(6, 6, left=1, right=1))
        >>> graph.facts().max_in_degree
        3
        >>> check_facts(graph)
    """

    assumed: Facts

    def __post_init__(self) -> None:
        check_graph("Assume: graph", self.graph)
        if not isinstance(self.assumed, Facts):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise GraphError(
                f"Assume: assumed must be Facts, got {type(self.assumed).__name__}. "
                f"Build them with Facts.bounded(num_targets, num_sources, ...)."
            )
        sizes = (self.graph.num_targets, self.graph.num_sources)
        if sizes != (self.assumed.num_targets, self.assumed.num_sources):
            raise GraphError(
                f"Assume: facts must be about {sizes[0]} x {sizes[1]} nodes like the graph, got "
                f"{self.assumed.num_targets} x {self.assumed.num_sources} (targets x sources). "
                f"Pass the sizes of the graph to Facts.bounded()."
            )

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.graph.contains(target, source)

    def facts(self) -> Facts:
        computed, assumed = self.graph.facts(), self.assumed
        return Facts.bounded(
            self.num_targets,
            self.num_sources,
            min_edges=max(computed.min_edges, assumed.min_edges),
            max_edges=min(computed.max_edges, assumed.max_edges),
            left=min(computed.left, assumed.left),
            right=min(computed.right, assumed.right),
            in_degree=(
                max(computed.min_in_degree, assumed.min_in_degree),
                min(computed.max_in_degree, assumed.max_in_degree),
            ),
            out_degree=(
                max(computed.min_out_degree, assumed.min_out_degree),
                min(computed.max_out_degree, assumed.max_out_degree),
            ),
            simple=computed.simple or assumed.simple,
            cuts=assumed.cuts.finer(computed.cuts),
        )

    def __repr__(self) -> str:
        return f"Assume({self.graph!r}, {self.assumed!r})"


def check_facts(graph: Graph, multiplicity: Tensor | None = None) -> None:
    """Read every pair of a graph and prove its facts, or name the one that is false.

    Args:
        graph: Any graph small enough for O(T * S) time and memory.
        multiplicity: How often each edge occurs, ``[T, S]``; by default the copies that an
            `EdgeList` holds are counted, here and inside of other graphs.

    Raises:
        GraphError: a fact is false.

    Example:
        >>> loose = Assume(Predicate(lambda t, s: t >= s, 4), Facts.bounded(4, 4, left=1))
        >>> check_facts(loose)
        Traceback (most recent call last):
        ...
        edgewise.errors.GraphError: check_facts: left <= 1 is false, the edges need 3. ...
    """
    check_graph("check_facts: graph", graph)
    facts = graph.facts()
    T, S = graph.num_targets, graph.num_sources
    copies = _copies(graph) if multiplicity is None else multiplicity
    if copies.shape != (T, S):
        raise GraphError(
            f"check_facts: multiplicity must have shape [targets, sources] = [{T}, {S}], got "
            f"{list(copies.shape)}. Leave it out to count the copies of the graph."
        )
    t, s = copies.nonzero(as_tuple=True)
    rows, columns, edges = copies.sum(1), copies.sum(0), int(copies.sum())
    # Declared facts are checked before facts that follow from them, so the message names the cause.
    if edges:
        _check_bounds(graph, left=(int((t - s).max()), 1), right=(int((s - t).max()), 1))
    if facts.simple and bool((copies > 1).any()):
        raise GraphError(
            f"check_facts: simple is false, an edge occurs {int(copies.max())} times. "
            f"Declare simple=False ({graph!r})."
        )
    _check_cuts(facts.cuts, t, s, graph)
    if T:
        low, high = int(rows.min()), int(rows.max())
        _check_bounds(graph, min_in_degree=(low, -1), max_in_degree=(high, 1))
    if S:
        low, high = int(columns.min()), int(columns.max())
        _check_bounds(graph, min_out_degree=(low, -1), max_out_degree=(high, 1))
    _check_bounds(graph, min_edges=(edges, -1), max_edges=(edges, 1))


def _check_bounds(graph: Graph, **measured: tuple[int, int]) -> None:
    """Compare facts with measured numbers; sign 1 is an upper bound, -1 a lower bound."""
    facts = graph.facts()
    for name, (actual, sign) in measured.items():
        claimed = getattr(facts, name)
        if sign * (actual - claimed) > 0:
            raise GraphError(
                f"check_facts: {name} {'<=' if sign > 0 else '>='} {claimed} "
                f"is false, the edges need {actual}. Loosen the fact ({graph!r})."
            )


def _copies(graph: Graph) -> Tensor:
    """How often each pair is an edge: ``[T, S]``, int64."""
    T, S = graph.num_targets, graph.num_sources
    match graph:
        case EdgeList():
            pair = (graph.target * S + graph.source).cpu()
            return torch.bincount(pair, minlength=T * S).view(T, S)
        case DisjointUnion():
            return torch.block_diag(*(_copies(part) for part in graph.parts))
        case Reverse():
            return _copies(graph.graph).t()
        case Permutation():
            copies = _copies(graph.graph)
            return torch.empty_like(copies).index_put_(
                (graph.targets.cpu()[:, None], graph.sources.cpu()), copies
            )
        case Induced():
            rows, columns = graph.targets, graph.sources
            copies = _copies(graph.graph)
            copies = copies if rows is None else copies[list(rows)]
            return copies if columns is None else copies[:, list(columns)]
        case Assume():
            return _copies(graph.graph)
        case _:
            return graph.contains(torch.arange(T)[:, None], torch.arange(S)[None, :]).long()


def _check_cuts(cuts: Cuts, target: Tensor, source: Tensor, graph: Graph) -> None:
    row = torch.bucketize(target, torch.from_numpy(cuts.targets[1:].copy()), right=True)
    column = torch.bucketize(source, torch.from_numpy(cuts.sources[1:].copy()), right=True)
    if bool((row != column).any()):
        raise GraphError(
            f"check_facts: cuts are false, an edge leaves its block. "
            f"Declare fewer cuts ({graph!r})."
        )
