"""Back from plain numbers to a graph: the inverse of `Graph.spec`."""

from __future__ import annotations

from typing import Any

from edgewise.errors import GraphError
from edgewise.graphs.algebra import Difference, Intersection, Reverse, Union
from edgewise.graphs.base import Graph
from edgewise.graphs.blocks import Blocks
from edgewise.graphs.composition import Composition
from edgewise.graphs.disjoint import DisjointUnion
from edgewise.graphs.expander import RandomRegular
from edgewise.graphs.grid import Grid
from edgewise.graphs.hubs import Hubs
from edgewise.graphs.induced import Induced
from edgewise.graphs.sequence import Causal, Complete, Dilated, PrefixCausal, SelfLoops, Window

__all__ = ["FAMILIES", "graph_from"]

FAMILIES: dict[str, type[Graph]] = {
    family.__name__: family
    for family in (
        Blocks,
        Causal,
        Complete,
        Composition,
        Difference,
        Dilated,
        DisjointUnion,
        Grid,
        Hubs,
        Induced,
        Intersection,
        PrefixCausal,
        RandomRegular,
        Reverse,
        SelfLoops,
        Union,
        Window,
    )
}


def graph_from(spec: tuple[Any, ...]) -> Graph:
    """The graph of a `Graph.spec`.

    Raises:
        GraphError: the spec names no family.

    Example:
        >>> graph_from((Window(8, left=1, right=0) | Hubs(8, [0])).spec())
        (Window(8, left=1, right=0) | Hubs(8, [0]))
    """
    name, *items = spec
    if name not in FAMILIES:
        raise GraphError(
            f"graph_from: family must be one of {', '.join(FAMILIES)}, got {name!r}. "
            f"Pass what Graph.spec() returned."
        )
    values = {field: _value(value) for field, value in items}
    return FAMILIES[name](**values)


def _value(value: Any) -> Any:
    """A field of a graph: another graph, several, or plain numbers."""
    if _is_spec(value):
        return graph_from(value)
    several = isinstance(value, tuple) and any(_is_spec(item) for item in value)
    return tuple(graph_from(item) for item in value) if several else value


def _is_spec(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], str)
