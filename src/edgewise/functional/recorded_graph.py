"""Records of graphs: text, sizes and tensors, as arguments of an operator or in a file.

A *record* is nested tuples: the name of a family, then its fields. In it ``"$0"`` stands for the
first of the sizes, and ``"#0"`` for the first of the tensors.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor

from edgewise.graphs import Assume, EdgeList, Graph, recall
from edgewise.graphs.base import FAMILIES, family_name
from edgewise.graphs.disjoint_union import DisjointUnion
from edgewise.graphs.open_sizes import is_open
from edgewise.graphs.permutation import Permutation
from edgewise.layouts import edges

__all__ = ["as_text", "graph_of", "record_of", "with_sizes"]

_REMEMBERED = 64  # graphs that were built from records


def with_sizes(item: Any, sizes: list[Any]) -> Any:
    """A `Graph.spec` as a record; the sizes that are held open are appended to ``sizes``."""
    if isinstance(item, tuple):
        return tuple([with_sizes(part, sizes) for part in item])
    if is_open(item):
        sizes.append(item)
        return f"${len(sizes) - 1}"
    return item


def record_of(graph: Graph) -> tuple[str, list[Tensor]]:
    """The record of any graph as text, with its tensors: worked out once, and not traced."""

    def compute() -> tuple[str, list[Tensor]]:
        tensors: list[Tensor] = []
        return as_text(_record_of(graph, tensors)), tensors

    return recall(graph, "record", compute)


def _record_of(graph: Graph, tensors: list[Tensor]) -> Any:
    """The record of a graph; its tensors are appended to ``tensors``."""
    if isinstance(graph, Assume):  # facts choose a plan, never a number
        return _record_of(graph.graph, tensors)
    if isinstance(graph, DisjointUnion):
        return (
            "DisjointUnion",
            ("parts", tuple(_record_of(part, tensors) for part in graph.parts)),
        )
    if isinstance(graph, Permutation):
        inner = _record_of(graph.graph, tensors)
        return ("Permutation", inner, *(_place(t, tensors) for t in (graph.targets, graph.sources)))
    fields = [(name, getattr(graph, name)) for name in graph.__dataclass_fields__]  # type: ignore[attr-defined]
    name = family_name(type(graph))
    if name in FAMILIES and all(
        isinstance(value, int | tuple | Graph | None) for _, value in fields
    ):
        return (
            name,
            *(
                (field, _record_of(value, tensors) if isinstance(value, Graph) else value)
                for field, value in fields
            ),
        )
    listing = edges(graph)  # in edge order, which is the order of an edge list's columns
    index = torch.stack([listing.source, listing.target])
    return ("EdgeList", _place(index, tensors), graph.num_targets, graph.num_sources)


def as_text(record: Any) -> str:
    """A record as JSON."""
    return json.dumps(record)


def graph_of(text: str, sizes: Sequence[int], tensors: Sequence[Tensor]) -> Graph:
    """The graph of a record; the same object for the same record, so that its plans are reused."""
    numbers = tuple(int(size) for size in sizes)
    if any(tensor.is_inference() for tensor in tensors):  # which count no changes
        return _built(json.loads(text), numbers, tensors)
    key = (text, numbers, *((t.data_ptr(), t._version, t.shape) for t in tensors))
    with _LOCK:
        cached = _GRAPHS.get(key)
        if cached is not None:
            _GRAPHS.move_to_end(key)
            return cached[0]
    graph = _built(json.loads(text), numbers, tensors)
    with _LOCK:
        _GRAPHS[key] = graph, tuple(tensors)  # held, so that no other tensor has their addresses
        while len(_GRAPHS) > _REMEMBERED:
            _GRAPHS.popitem(last=False)
    return graph


_GRAPHS: OrderedDict[tuple[Any, ...], tuple[Graph, tuple[Tensor, ...]]] = OrderedDict()
_LOCK = Lock()

# torch.compile writes a record's text while it traces.
as_text._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _place(tensor: Tensor, tensors: list[Tensor]) -> str:
    tensors.append(tensor)
    return f"#{len(tensors) - 1}"


def _built(record: Any, sizes: Sequence[int], tensors: Sequence[Tensor]) -> Graph:
    name, *rest = record
    if name == "Permutation":
        inner, *orders = rest
        node_orders = (tensors[int(order[1:])] for order in orders)
        return Permutation(_built(inner, sizes, tensors), *node_orders)
    if name == "EdgeList":
        index, num_targets, num_sources = rest
        return EdgeList(tensors[int(index[1:])], num_targets=num_targets, num_sources=num_sources)
    return FAMILIES[name](**{field: _field(value, sizes, tensors) for field, value in rest})


def _field(value: Any, sizes: Sequence[int], tensors: Sequence[Tensor]) -> Any:
    """A field of a graph: another graph, several, or plain numbers."""
    if _is_record(value):
        return _built(value, sizes, tensors)
    if isinstance(value, list) and any(_is_record(item) for item in cast("list[Any]", value)):
        return tuple(_built(item, sizes, tensors) for item in cast("list[Any]", value))
    return _filled(value, sizes)


def _is_record(value: object) -> bool:
    """Whether a field is a graph: a list that begins with a family's name."""
    if not isinstance(value, list) or not value:
        return False
    first: Any = value[0]
    return isinstance(first, str) and not first.startswith("$")


def _filled(value: Any, sizes: Sequence[int]) -> Any:
    """A field with its sizes, lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_filled(item, sizes) for item in value)
    return sizes[int(value[1:])] if isinstance(value, str) else value
