"""Graph of a word on the command line: an expression, the name of a data set, or a file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from edgewise.errors import ArgumentError, DataError
from edgewise.graphs import EdgeList, Graph, disjoint_union, read_graph
from edgewise.measure.memory import as_text, free_memory
from edgewise.training import CATALOG, load
from edgewise.training.data import EDGE_SUFFIXES, edges_from_file
from edgewise.training.data.topology import Separate, Shared

__all__ = ["Named", "graph_named"]

_GRAPHS = 256  # graphs of a data set of many, unless a number is given
_LONGEST = 80  # characters of a word in a message


class Named(NamedTuple):
    """A graph that a word names.

    Attributes:
        graph: The graph, or many side by side.
        copies: Number of graphs that share it: a leading dimension of their tensors.
    """

    graph: Graph
    copies: int = 1


def graph_named(
    word: str,
    *,
    num_nodes: int | None = None,
    graphs: int | None = None,
    data_root: Path | None = None,
) -> Named:
    """The graph of a word on the command line.

    Args:
        word: An expression as graphs print, the name of a data set, or the path of a file.
        num_nodes: Nodes of a graph from a file; what its edges need when None.
        graphs: Number of graphs of a data set or file of many; 256, or all if fewer, when None.
        data_root: Folder of the data sets.

    Raises:
        GraphError: an expression that is no graph.
        DataError: no such data set, or a file that holds no edges.
        ArgumentError: an option that does not apply to this kind of graph.
    """
    if word in CATALOG:
        _check_unused("num_nodes", num_nodes, word, "the data set says how many there are")
        return _of_data(word, load(word, data_root).topology, graphs)
    path = Path(word)
    if path.suffix in EDGE_SUFFIXES or _is_file(path):
        return _of_data(word, edges_from_file(path, num_nodes), graphs)
    if "(" not in word:
        near = difflib.get_close_matches(word.lower(), CATALOG, n=1)
        raise DataError(
            f"graph must be an expression, a data set or a file, got {_shown(word)}."
            f"{''.join(f' Did you mean {each}?' for each in near)} Use for example "
            f"'Causal(1024)', {', '.join(CATALOG)}, or the path of a file ending in "
            f"{', '.join(EDGE_SUFFIXES)}."
        )
    _check_unused("num_nodes", num_nodes, "an expression", "it says how many there are")
    _check_unused("graphs", graphs, "an expression", "write a disjoint_union instead")
    return Named(_affordable(read_graph(word)))


def _shown(word: str) -> str:
    path = Path(word)
    try:
        if word and path.is_dir():
            return f"{word!r}, which is a folder"
    except (OSError, ValueError):
        pass
    return repr(word) if len(word) <= _LONGEST else f"{word[:_LONGEST]!r}..."


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an expression can be longer than any path
        return False


def _check_unused(option: str, value: int | None, what: str, why: str) -> None:
    if value is not None:
        raise ArgumentError(f"{option} must be left out for {what}, got {value}: {why}.")


def _of_data(name: str, topology: Separate | Shared, graphs: int | None) -> Named:
    """The graph of a data set, or its first graphs."""
    count = topology.num_graphs
    if graphs is not None and graphs > count:
        raise ArgumentError(
            f"graphs must be at most {count} for {name}, got {graphs}. Leave it out."
        )
    chosen = min(count, _GRAPHS) if graphs is None else graphs
    if isinstance(topology, Shared):
        return Named(topology.graph, copies=chosen)
    nodes, ends = topology.node_ptr[: chosen + 1], topology.edge_ptr[: chosen + 1]
    _check_memory(int(nodes[-1]), int(ends[-1]))
    first = Separate(topology.edge_index[:, : int(ends[-1])], nodes, ends)
    return Named(disjoint_union(first.graphs()))


# --- Memory of edges ------------------------------------------------------------------------------


def _affordable(graph: Graph) -> Graph:
    """The graph, checked to have edge lists that fit into memory: facts count their degrees."""
    left = [graph]
    while left:
        part = left.pop()
        left += part.children()
        if isinstance(part, EdgeList):
            _check_memory(max(part.num_targets, part.num_sources), part.num_edges)
    return graph


def _check_memory(num_nodes: int, num_edges: int) -> None:
    import torch

    needed = 32 * num_nodes + 64 * num_edges
    free = free_memory(torch.device("cpu"))
    if needed > free:
        raise ArgumentError(
            f"graph: edges must fit into the {as_text(free)} of memory that are free, got "
            f"{num_edges:,} over {num_nodes:,} nodes, which take about {as_text(needed)}. Number "
            f"the nodes from 0 without gaps, or take a part of the graph."
        )
