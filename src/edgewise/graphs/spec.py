"""Graphs from plain numbers: the inverse of `Graph.spec`."""

from __future__ import annotations

from typing import Any

from edgewise.errors import GraphError
from edgewise.graphs.base import FAMILIES, Graph

__all__ = ["graph_from"]


def graph_from(spec: tuple[Any, ...]) -> Graph:
    """The graph of a `Graph.spec`.

    Raises:
        GraphError: the spec names no family.

    Example:
        >>> from edgewise.graphs import Hubs, Window
        >>> graph_from((Window(8, left=1, right=0) | Hubs(8, [0])).spec())
        (Window(8, left=1, right=0) | Hubs(8, [0]))
    """
    name, *items = spec
    if name not in FAMILIES:
        raise GraphError(
            f"graph_from: the family must be a class of graphs that is imported, got {name!r}. "
            f"Pass what Graph.spec() returned, and import the module of the class before."
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
