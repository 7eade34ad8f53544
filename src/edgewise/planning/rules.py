"""Rules: functions from a graph to a simpler one, each with the law that makes it exact.

A rule reads facts and how the graph is written, never its edges. The graph it returns has the same
edges in the same edge order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    Difference,
    Graph,
    Intersection,
    SelfLoops,
    Union,
    Window,
    facts_of,
    recall,
)
from edgewise.graphs.facts import provably_disjoint
from edgewise.layouts import Band, band
from edgewise.layouts.edges import has_free_order

__all__ = ["RULES", "Rule", "band_of", "contained", "simplify"]


@dataclass(frozen=True)
class Rule:
    """A rule: a function from a graph to a simpler one with the same edges.

    Attributes:
        name: A few words for what it does.
        law: Why the edges stay the same, in a line.
        apply: From a graph to a simpler one; None where the rule does not apply.
    """

    name: str
    law: str
    apply: Callable[[Graph], Graph | None]


def simplify(graph: Graph) -> Graph:
    """The graph to which the rules lead, with the same edges in the same order.

    Example:
        >>> from edgewise import Causal, Window
        >>> simplify(Window(64, left=100, right=0) & Causal(64))
        Causal(64)
        >>> simplify(Window(64, left=4, right=4) & Causal(64))
        Window(64, left=4, right=0)
    """
    simpler = recall(graph, "simplified", lambda: _simplified(graph))
    return graph if simpler is None else simpler


def _simplified(graph: Graph) -> Graph | None:
    """The simpler graph, or None: a graph that holds itself in its cache would never be freed."""
    simpler = _rewritten(graph)
    return None if simpler is graph else simpler


def _rewritten(graph: Graph) -> Graph:
    """The graph that rules make of this one; the graph itself where none applies."""
    if isinstance(graph, Union | Intersection | Difference):
        a, b = simplify(graph.a), simplify(graph.b)
        if (a, b) != (graph.a, graph.b):
            graph = type(graph)(a, b)
    if has_free_order(graph):
        return graph  # its edge tensors follow an order that no other way of writing it has
    for rule in RULES:
        simpler = rule.apply(graph)
        if simpler is not None and simpler != graph and _in_plain_order(simpler):
            return simplify(simpler)
    return graph


def _in_plain_order(graph: Graph) -> bool:
    """Whether edges come by target, then source, each once, as in all graphs that are rewritten."""
    return not has_free_order(graph) and (not graph.may_repeat or facts_of(graph).simple)


def band_of(graph: Graph) -> Band | None:
    """The band without gaps that a graph is; None where it is none."""
    rows = band(graph)
    return rows if rows is not None and rows.step == 1 else None


def contained(a: Graph, b: Graph) -> bool:
    """Whether every edge of ``a`` is provably one of ``b``; False where no rule proves it."""
    if a == b or facts_of(b).complete or facts_of(a).max_edges == 0:
        return True
    band_a, band_b = band_of(a), band_of(b)
    if band_a is not None and band_b is not None and band_a.within(band_b):
        return True
    if isinstance(a, Union):
        return contained(a.a, b) and contained(a.b, b)
    if isinstance(b, Union) and (contained(a, b.a) or contained(a, b.b)):
        return True
    if isinstance(b, Intersection) and contained(a, b.a) and contained(a, b.b):
        return True
    if isinstance(a, Intersection):
        return contained(a.a, b) or contained(a.b, b)
    return isinstance(a, Difference) and contained(a.a, b)


# Families that stay as they are: blocks of single nodes are a window too, but better as blocks.
_PLAIN = (Blocks, Causal, Complete, SelfLoops, Window)

# --- The rules -----------------------------------------------------------------------------------


def _complete(graph: Graph) -> Graph | None:
    whole = not isinstance(graph, Complete) and facts_of(graph).complete
    return Complete(graph.num_targets, graph.num_sources) if whole else None


def _causal(graph: Graph) -> Graph | None:
    exact = not isinstance(graph, Complete | Causal) and facts_of(graph).fully_causal
    return Causal(graph.num_targets, graph.num_sources) if exact else None


def _window(graph: Graph) -> Graph | None:
    rows = band_of(graph)
    if rows is None or isinstance(graph, _PLAIN):
        return None
    T, S = rows.num_targets, rows.num_sources
    left, right = S - T - rows.first, rows.last - (S - T)
    return Window(T, S, left=left, right=right) if left >= 0 and right >= 0 else None


def _absorbed(graph: Graph) -> Graph | None:
    match graph:
        case Union(a, b) if contained(a, b):
            return b
        case Union(a, b) if contained(b, a):
            return a
        case Intersection(a, b) if contained(a, b):
            return a
        case Intersection(a, b) if contained(b, a):
            return b
        case _:
            return None


def _nothing_removed(graph: Graph) -> Graph | None:
    match graph:
        case Difference(a, b) if facts_of(a).simple and provably_disjoint(facts_of(a), facts_of(b)):
            return a
        case Difference(Difference(a, b), c):
            return Difference(a, Union(b, c))
        case _:
            return None


RULES: tuple[Rule, ...] = (
    Rule(
        "absorb",
        "A in B: A | B = B and A & B = A",
        _absorbed,
    ),
    Rule(
        "remove nothing",
        "A - B = A where A and B share no edge; (A - B) - C = A - (B | C)",
        _nothing_removed,
    ),
    Rule("complete", "as many different edges as pairs: every pair is an edge", _complete),
    Rule("causal", "no later source, and as many edges as that allows: all of them", _causal),
    Rule("window", "bands overlap, touch or cover in a band", _window),
)
