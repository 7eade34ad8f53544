"""Conversion between data of PyTorch Geometric and graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import is_torch_sparse_tensor

from edgewise.errors import DataError, GraphError
from edgewise.graphs import Blocks, EdgeList, Graph
from edgewise.graphs.base import check_graph
from edgewise.integrations.pyg.connectivity import connectivity, plain_edges
from edgewise.layouts import edges as edges_of

__all__ = ["from_batch", "from_data", "from_edge_index", "from_hetero", "to_data", "to_edge_index"]

EdgeType = tuple[str, str, str]


def from_data(data: Any) -> EdgeList:
    """The graph of a ``Data`` or ``Batch``, in the order of its edges.

    Features are not converted: ``edgewise.attention(q, k, v, from_data(data))`` reads tensors
    per edge in the order of ``data.edge_attr``. Another call returns the same graph, with its
    cache, while ``data.edge_index`` exists and does not change.

    Args:
        data: With ``edge_index`` (or ``adj_t``, a sparse matrix of torch whose rows are targets),
            and with ``num_nodes`` or tensors that have one row a node.

    Raises:
        DataError: it has no edges, or is no ``Data``.
        GraphError: an edge names a node that is not there.

    Example:
        >>> edge_index = torch.tensor([[0, 1], [1, 2]])
        >>> from_data(Data(x=torch.zeros(4, 2), edge_index=edge_index))
        EdgeList([[0, 1], [1, 2]], num_nodes=4)
    """
    if isinstance(data, HeteroData):
        raise DataError("data: it has several kinds of edges. Use from_hetero(data).")
    held = _edges_held(data) if isinstance(data, Data) else None
    if held is None:
        raise DataError(
            f"data: expected a Data with edge_index, got {_named(data)}. Set data.edge_index, "
            f"or use EdgeList(edge_index, num_nodes)."
        )
    return from_edge_index(held, None if is_torch_sparse_tensor(held) else data.num_nodes)


def from_edge_index(
    edge_index: Tensor, num_nodes: int | None = None, *, size: tuple[int, int] | None = None
) -> EdgeList:
    """The graph of an ``edge_index``, an ``EdgeIndex``, or a sparse matrix (rows are targets).

    A bipartite block of a neighbor loader is one too: ``size=(num_sources, num_targets)``.

    Args:
        edge_index: ``[2, E]`` (sources, targets), or a sparse matrix of torch.
        num_nodes: Nodes of a square graph.
        size: Sources and targets, as layers of PyTorch Geometric take it. The sizes of
            the tensor are used when both are left out.

    Raises:
        GraphError: the number of nodes is missing, or an edge names a node that is not there.

    Example:
        >>> from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 0]]), size=(3, 2))
        EdgeList([[0, 1, 2], [1, 0, 0]], num_targets=2, num_sources=3)
    """
    if size is None:
        size = _size(edge_index) if num_nodes is None else (num_nodes, num_nodes)
    edges = connectivity(edge_index, size[1], size[0])
    if edges is None:  # raises the error of the graph
        return EdgeList(plain_edges(edge_index), num_targets=size[1], num_sources=size[0])
    return edges.graph


def from_batch(batch: Any) -> tuple[EdgeList, Blocks]:
    """The edges of a ``Batch``, and the blocks of its graphs.

    The blocks are the graph in which every node of a molecule reads every node of it.

    Raises:
        DataError: it is no ``Batch``.

    Example:
        >>> from torch_geometric.data import Batch
        >>> data = Data(num_nodes=2, edge_index=torch.tensor([[0], [1]]))
        >>> from_batch(Batch.from_data_list([data, data]))
        (EdgeList([[0, 2], [1, 3]], num_nodes=4), Blocks([2, 2]))
    """
    if isinstance(batch, HeteroData):
        raise DataError(
            "batch: it has several kinds of nodes and edges. Use from_hetero(batch), which has one "
            "graph for each kind of edge; batch[kind].ptr says where each graph starts."
        )
    ptr = getattr(batch, "ptr", None)
    if not isinstance(batch, Data) or not isinstance(ptr, Tensor):
        raise DataError(
            f"batch: expected a Batch with ptr, got {_named(batch)}. Join graphs with "
            f"Batch.from_data_list(graphs)."
        )
    return from_data(batch), Blocks(ptr.diff().tolist())


def from_hetero(data: Any) -> dict[EdgeType, EdgeList]:
    """A bipartite graph for each kind of edge of a ``HeteroData``, or of a batch of them.

    Args:
        data: Every kind with ``edge_index``, or with ``adj_t``, a sparse matrix of torch whose
            rows are targets. Kinds without either are left out.

    Raises:
        DataError: it is no ``HeteroData``.
        GraphError: an edge names a node that is not there.

    Example:
        >>> data = HeteroData(paper={"num_nodes": 2}, author={"num_nodes": 3})
        >>> data["author", "writes", "paper"].edge_index = torch.tensor([[0, 2], [1, 1]])
        >>> from_hetero(data)
        {('author', 'writes', 'paper'): EdgeList([[0, 2], [1, 1]], num_targets=2, num_sources=3)}
    """
    if not isinstance(data, HeteroData):
        raise DataError(
            f"data: expected a HeteroData, got {_named(data)}. Use from_data for one kind of edges."
        )
    counts = data.num_nodes_dict
    held = {kind: _edges_held(store) for kind, store in data.edge_items()}
    return {
        kind: from_edge_index(edges, size=(counts[kind[0]], counts[kind[2]]))
        for kind, edges in held.items()
        if edges is not None
    }


def to_edge_index(graph: Graph) -> EdgeIndex:
    """The edges of any graph, in edge order, with its numbers of nodes.

    The edges of an `EdgeList` are not copied: do not change them.

    Raises:
        GraphError: it is no graph.

    Example:
        >>> from edgewise.graphs import Window
        >>> to_edge_index(Window(3, left=1, right=0)).as_tensor()
        tensor([[0, 0, 1, 1, 2],
                [0, 1, 1, 2, 2]])
    """
    check_graph("to_edge_index: graph", graph)
    ends = graph.edge_index if isinstance(graph, EdgeList) else None
    if ends is None:
        all_edges = edges_of(graph)
        ends = torch.stack([all_edges.source, all_edges.target])
    size = (graph.num_sources, graph.num_targets)
    return EdgeIndex(ends, sparse_size=size)  # pyright: ignore[reportCallIssue]  # defined by __new__


def to_data(graph: Graph, **fields: Any) -> Data:
    """A ``Data`` with the edges of a square graph; fields are added as they are.

    Raises:
        GraphError: the graph has two sets of nodes.

    Example:
        >>> from edgewise.graphs import Causal
        >>> to_data(Causal(3), x=torch.zeros(3, 2))
        Data(x=[3, 2], edge_index=[2, 6], num_nodes=3)
    """
    ends = to_edge_index(graph).as_tensor()
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"to_data: graph has {graph.num_targets} targets and {graph.num_sources} sources, but "
            f"a Data has one set of nodes. Use to_edge_index(graph)."
        )
    return Data(edge_index=ends, num_nodes=graph.num_targets, **fields)


def _size(edge_index: Tensor) -> tuple[int, int]:
    """Number of sources and targets that a tensor of edges holds."""
    sizes: tuple[int | None, int | None] = (None, None)
    if isinstance(edge_index, EdgeIndex):
        sizes = (edge_index.num_rows, edge_index.num_cols)
    elif is_torch_sparse_tensor(edge_index):
        sizes = (edge_index.shape[1], edge_index.shape[0])
    sources, targets = sizes
    if sources is None or targets is None:
        raise GraphError(
            "from_edge_index: the number of nodes is missing, and the largest index need not be "
            "the last node. Pass num_nodes, or size=(num_sources, num_targets)."
        )
    return sources, targets


def _edges_held(store: Any) -> Tensor | None:
    """The edges of a ``Data``, or of a kind of a ``HeteroData``; None if there are none."""
    if store.get("edge_index", None) is not None:
        return store["edge_index"]
    matrix: Any = store.get("adj_t", None)
    if matrix is None or is_torch_sparse_tensor(matrix):
        return matrix
    raise DataError(
        f"data: adj_t must be a sparse matrix of torch, got {type(matrix).__name__}. Convert it "
        f"with adj_t.to_torch_sparse_csr_tensor()."
    )


def _named(value: Any) -> str:
    if isinstance(value, Data):
        return f"{type(value).__name__}({', '.join(value.keys())})"
    return type(value).__name__
