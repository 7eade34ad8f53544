"""Conversion between sparse matrices of SciPy and graphs: rows are targets, columns sources."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.graphs import EdgeList, Graph
from edgewise.graphs.base import check_graph
from edgewise.layouts import edges as edges_of
from edgewise.optional_packages import require

__all__ = ["from_scipy", "to_scipy"]


def from_scipy(matrix: Any) -> tuple[EdgeList, Tensor]:
    """The graph of a sparse matrix, and its entries as weights of edges.

    An entry in row ``i`` and column ``j`` means that target ``i`` reads source ``j``, as in
    ``A @ x``: an ``edge_index`` of PyTorch Geometric is ``[columns, rows]``. **A stored entry
    is an edge, even if it is 0**; ``matrix.eliminate_zeros()`` removes those. Entries that are
    stored twice are two edges.

    Args:
        matrix: A sparse matrix or array of SciPy, in any format.

    Returns:
        The graph, and ``[E]`` weights in its edge order, for ``aggregate(value, graph,
        weight=weight)``.

    Raises:
        DataError: it is no sparse matrix of SciPy, or has more than two axes.

    Complexity: O(E).

    Example:
        >>> from scipy.sparse import csr_array
        >>> graph, weight = from_scipy(csr_array([[0.0, 2.0], [3.0, 0.0]]))
        >>> graph, weight.tolist()
        (EdgeList([[1, 0], [0, 1]], num_nodes=2), [2.0, 3.0])
    """
    sparse = require("scipy.sparse")
    if not sparse.issparse(matrix) or len(matrix.shape) != 2:
        shape = f" of shape {list(matrix.shape)}" if hasattr(matrix, "shape") else ""
        raise DataError(
            f"matrix: expected a sparse matrix of SciPy, got {type(matrix).__name__}{shape}. Make "
            f"one with scipy.sparse.csr_array(matrix)."
        )
    entries = matrix.tocoo()
    ends = np.stack([entries.col, entries.row]).astype(np.int64)
    T, S = matrix.shape
    try:
        weight = torch.from_numpy(np.ascontiguousarray(entries.data))
    except TypeError:
        raise DataError(
            f"matrix: torch has no numbers like {entries.data.dtype}. Convert it with "
            f"matrix.astype(float)."
        ) from None
    return EdgeList(torch.from_numpy(ends), num_targets=T, num_sources=S), weight.clone()


def to_scipy(graph: Graph, weight: Tensor | None = None) -> Any:
    """A sparse array of SciPy (CSR): rows are targets, columns are sources.

    Args:
        graph: Any graph.
        weight: ``[E]``, in edge order; 1 everywhere when left out. Copies of an edge are added up,
            as a matrix has one entry for each pair.

    Raises:
        DataError: ``weight`` does not fit the graph.

    Complexity: O(E).

    Example:
        >>> from edgewise.graphs import Causal
        >>> to_scipy(Causal(3)).toarray().astype(int).tolist()
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    sparse = require("scipy.sparse")
    check_graph("to_scipy: graph", graph)
    all_edges = edges_of(graph, "cpu")
    if weight is None:
        weight = torch.ones(all_edges.num_edges)
    if weight.shape != all_edges.target.shape:
        raise DataError(
            f"weight: expected one number for each of {all_edges.num_edges} edges, got shape "
            f"{list(weight.shape)}. Give them in edge order."
        )
    values = weight.detach().cpu().numpy()
    entries = (values, (all_edges.target.numpy(), all_edges.source.numpy()))
    return sparse.coo_array(entries, shape=(graph.num_targets, graph.num_sources)).tocsr()
