"""Edge list: a graph given by its edges."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.cache import lasting
from edgewise.graphs.counts import count
from edgewise.graphs.facts import Facts
from edgewise.shapes import is_shape_only

__all__ = ["EdgeList"]

_INTEGER = (
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
)
_PRINTED = 32


@dataclass(frozen=True, repr=False, eq=False)
class EdgeList(Graph, parsed=True):
    r"""A graph given by its edges, as graph-learning libraries store them.

    ``edge_index[0]`` are the sources (read), ``edge_index[1]`` the targets (updated), as in
    PyTorch Geometric. **Per-edge tensors follow the order of these columns.** An edge that occurs
    twice counts twice. The edges are copied, so that changing ``edge_index`` in place later
    changes nothing here.

    Args:
        edge_index: ``[2, E]``, whole numbers: a tensor or nested lists.
        num_nodes: Number of nodes ``N`` of a square graph.
        num_targets: Rows ``T`` of a bipartite graph (with ``num_sources``, instead of
            ``num_nodes``).
        num_sources: Columns ``S`` of a bipartite graph.

    Raises:
        GraphError: wrong shape or dtype, an index out of range, or sizes that contradict.

    Complexity: O(E) to build; facts sort the edges once, O(E log E).

    Example:
        >>> graph = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
        >>> graph.facts().max_in_degree
        1
        >>> graph
        EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)

    References:
        Fey, Lenssen. Fast Graph Representation Learning with PyTorch Geometric. 2019,
        arXiv:1903.02428 (the ``edge_index`` convention).
    """

    edge_index: Tensor
    num_nodes: int | None = None
    num_targets: int = field(default=None, kw_only=True)  # type: ignore[assignment]
    num_sources: int = field(default=None, kw_only=True)  # type: ignore[assignment]

    if TYPE_CHECKING:  # the dataclass defines it; this declares the types that it accepts

        def __init__(
            self,
            edge_index: Tensor | Sequence[Sequence[int]],
            num_nodes: int | None = None,
            *,
            num_targets: int | None = None,
            num_sources: int | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if torch.compiler.is_dynamo_compiling():
            raise GraphError(
                "EdgeList: cannot be built inside torch.compile, because its checks "
                "read the edges. Build it outside, and pass it in or close over it."
            )
        with lasting():
            edges = _checked_edges(self.edge_index)
        T, S = self._given_sizes()
        if T * S >= 2**63:
            raise GraphError(
                f"EdgeList: num_targets * num_sources must be below 2**63, so that every pair has "
                f"a number, got {T} * {S}. Split the graph into parts."
            )
        for row, name, size in ((1, "target", T), (0, "source", S)):
            word = f"num_{name}s" if self.num_nodes is None else "num_nodes"
            _check_range(edges[row], name, size, word)
        object.__setattr__(self, "edge_index", edges)
        object.__setattr__(self, "num_targets", T)
        object.__setattr__(self, "num_sources", S)
        object.__setattr__(self, "num_nodes", T if T == S else None)

    @classmethod
    def from_dense(cls, mask: Tensor | Sequence[Sequence[bool]]) -> EdgeList:
        """The graph of a matrix that is True where there is an edge, by target, then source.

        Args:
            mask: ``[T, S]``, bool: rows are targets, columns sources. `torch.nn` masks of type
                bool mean the opposite: pass ``~mask``.

        Raises:
            GraphError: another shape or dtype.

        Complexity: O(T S).

        Example:
            >>> EdgeList.from_dense([[True, False, True], [False, True, False]])
            EdgeList([[0, 2, 1], [0, 0, 1]], num_targets=2, num_sources=3)
        """
        with lasting():
            matrix = torch.as_tensor(mask)
        if matrix.ndim != 2 or matrix.dtype != torch.bool:
            raise GraphError(
                f"EdgeList.from_dense: mask must be [targets, sources] of dtype bool, got "
                f"{list(matrix.shape)} of {matrix.dtype}. Compare numbers first, as in mask != 0."
            )
        if matrix.layout != torch.strided or matrix.is_meta:
            raise GraphError(
                f"EdgeList.from_dense: mask must be a dense tensor with data, got one of layout "
                f"{matrix.layout} on {matrix.device}. Use EdgeList with the indices of its entries."
            )
        target, source = matrix.nonzero(as_tuple=True)
        T, S = matrix.shape
        return cls(torch.stack([source, target]), num_targets=T, num_sources=S)

    @classmethod
    def from_csr(
        cls,
        indptr: Tensor | Sequence[int],
        indices: Tensor | Sequence[int],
        *,
        num_sources: int | None = None,
    ) -> EdgeList:
        """The graph of compressed sparse rows: row ``t`` holds the sources of target ``t``.

        Edge order is that of ``indices``, so per-edge tensors are the values of the matrix. It is
        what `scipy.sparse.csr_matrix` and `torch.sparse_csr_tensor` hold, where rows are targets.

        Args:
            indptr: ``[T + 1]``, whole numbers, rising from 0 to ``E``.
            indices: ``[E]``, whole numbers from 0 on: the source of each edge.
            num_sources: Columns ``S``; as many as targets when left out.

        Raises:
            GraphError: another shape or dtype, rows that do not rise from 0 to ``E``, or a source
                out of range.

        Complexity: O(T + E).

        Example:
            >>> EdgeList.from_csr([0, 2, 2, 3], [1, 2, 0])
            EdgeList([[1, 2, 0], [0, 0, 2]], num_nodes=3)
        """
        with lasting():
            rows, sources = _whole_numbers("indptr", indptr), _whole_numbers("indices", indices)
            E = len(sources)
            counts = rows.diff()
            rises = len(rows) > 0 and not rows.is_meta and bool((counts >= 0).all())
            if not rises or int(rows[0]) != 0 or int(rows[-1]) != E:
                raise GraphError(
                    f"EdgeList.from_csr: indptr must rise from 0 to the {E} entries of indices, "
                    f"one number more than there are targets, got {reprlib.repr(rows.tolist())}. "
                    f"Pass matrix.indptr and matrix.indices of one matrix."
                )
            T = len(counts)
            target = torch.arange(T, device=rows.device).repeat_interleave(counts)
            pairs = torch.stack([sources, target.to(sources.device)])
        return cls(pairs, num_targets=T, num_sources=T if num_sources is None else num_sources)

    def _given_sizes(self) -> tuple[int, int]:
        sizes: tuple[int | None, ...] = (self.num_nodes, self.num_targets, self.num_sources)
        if self.num_nodes is not None and sizes[1:] == (None, None):
            nodes = count("EdgeList", "num_nodes", self.num_nodes)
            return nodes, nodes
        if sizes.count(None) == 1 and self.num_nodes is None:
            return (
                count("EdgeList", "num_targets", self.num_targets),
                count("EdgeList", "num_sources", self.num_sources),
            )
        raise GraphError(
            "EdgeList: give either num_nodes, or both num_targets and num_sources; got "
            f"num_nodes={sizes[0]}, num_targets={sizes[1]}, num_sources={sizes[2]}."
        )

    @property
    def holds_tensors(self) -> bool:
        return True

    @property
    def may_repeat(self) -> bool:
        return True

    def spec(self) -> None:
        """Edges are tensors, not plain numbers."""
        return

    @property
    def num_edges(self) -> int:
        """Edges ``E``, copies counted."""
        return self.edge_index.shape[1]

    @property
    def source(self) -> Tensor:
        """Source of every edge: ``[E]``, int64."""
        return self.edge_index[0]

    @property
    def target(self) -> Tensor:
        """Target of every edge: ``[E]``, int64."""
        return self.edge_index[1]

    @cached_property
    def sorted_keys(self) -> tuple[Tensor, Tensor]:
        """``target * S + source`` of every edge in rising order, and the edges in that order."""
        with lasting():
            keys = self.target * max(self.num_sources, 1) + self.source
            if bool((keys[1:] >= keys[:-1]).all()):
                return keys, torch.arange(self.num_edges, device=keys.device)
            return torch.sort(keys, stable=True)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        target, source = torch.broadcast_tensors(target, source)
        keys = self.sorted_keys[0].to(target.device)
        if not keys.numel():
            return torch.zeros(target.shape, dtype=torch.bool, device=target.device)
        keys_of_pairs = target.long() * self.num_sources + source
        position = torch.searchsorted(keys, keys_of_pairs).clamp_(max=keys.numel() - 1)
        return keys[position] == keys_of_pairs

    def facts(self) -> Facts:
        return self._facts

    def reversed(self) -> Graph:
        flipped = self.edge_index.flip(0)
        return EdgeList(flipped, num_targets=self.num_sources, num_sources=self.num_targets)

    @cached_property
    def _facts(self) -> Facts:
        T, S, E = self.num_targets, self.num_sources, self.num_edges
        if not E:
            return Facts.bounded(T, S, max_edges=0)
        keys, _ = self.sorted_keys
        gap = self.target - self.source
        in_degree = torch.bincount(self.target, minlength=T)
        out_degree = torch.bincount(self.source, minlength=S)
        numbers = torch.stack(
            [
                gap.max(),
                -gap.min(),
                in_degree.min(),
                in_degree.max(),
                out_degree.min(),
                out_degree.max(),
                (keys[1:] != keys[:-1]).all().long(),
            ]
        ).tolist()  # one transfer from a GPU instead of seven
        left, right, min_in, max_in, min_out, max_out, simple = numbers
        return Facts.bounded(
            T,
            S,
            min_edges=E,
            max_edges=E,
            left=left,
            right=right,
            in_degree=(min_in, max_in),
            out_degree=(min_out, max_out),
            simple=bool(simple),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.edge_index, self.num_targets, self.num_sources)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, EdgeList):
            return NotImplemented
        sizes = (self.num_targets, self.num_sources, self.num_edges)
        return sizes == (other.num_targets, other.num_sources, other.num_edges) and torch.equal(
            self.edge_index, other.edge_index.to(self.edge_index.device)
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        step = max(1, self.num_edges // 16)
        with lasting():  # an exporter would replace each number by a symbol
            sample = self.edge_index[:, ::step].flatten().tolist()
        return hash((self.num_targets, self.num_sources, self.num_edges, *sample))

    def __repr__(self) -> str:
        square = self.num_targets == self.num_sources
        sizes = (
            f"num_nodes={self.num_targets}"
            if square
            else f"num_targets={self.num_targets}, num_sources={self.num_sources}"
        )
        edges = (
            f"<{self.num_edges:,} edges>"
            if self.num_edges > _PRINTED
            else repr(self.edge_index.tolist())
        )
        return f"EdgeList({edges}, {sizes})"


def _rebuilt(edge_index: Tensor, num_targets: int, num_sources: int) -> EdgeList:
    return EdgeList(edge_index, num_targets=num_targets, num_sources=num_sources)


def _whole_numbers(name: str, numbers: Tensor | Sequence[int]) -> Tensor:
    """A row of numbers as int64, of which an empty one may have any dtype."""
    row = torch.as_tensor(numbers)
    whole = row.dtype in _INTEGER or not row.numel()
    if row.ndim != 1 or row.is_meta or row.layout != torch.strided or not whole:
        raise GraphError(
            f"EdgeList.from_csr: {name} must be one row of whole numbers, got {list(row.shape)} of "
            f"{row.dtype} on {row.device}. Pass the {name} of a matrix in CSR."
        )
    return row.long()


def _checked_edges(edge_index: object) -> Tensor:
    edges = edge_index if isinstance(edge_index, Tensor) else _as_tensor(edge_index)
    if is_shape_only(edges):
        kind = "device meta" if edges.is_meta else "a fake tensor, as in torch.export"
        raise GraphError(
            f"EdgeList: edge_index must be a dense tensor with data, got a tensor without data "
            f"({kind}). Build the graph outside of it, from the indices [2, E] of the edges."
        )
    if edges.layout != torch.strided:
        raise GraphError(
            f"EdgeList: edge_index must be a dense tensor with data, got a tensor of layout "
            f"{edges.layout}. Pass the indices [2, E] of the edges."
        )
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise GraphError(
            f"EdgeList: edge_index must have shape [2, E] (sources, targets), got "
            f"{list(edges.shape)}. Transpose a list of pairs with edge_index.t()."
        )
    if edges.dtype not in _INTEGER:
        if edges.numel():
            raise GraphError(
                f"EdgeList: edge_index must hold whole numbers, got {edges.dtype}. "
                f"Convert it with edge_index.long()."
            )
        edges = edges.long()  # torch.tensor([]) is a float
    return edges.detach().to(torch.int64, copy=True).contiguous()


def _as_tensor(edge_index: Any) -> Tensor:
    """An array, or two rows: lists, arrays or tensors."""
    try:
        if not isinstance(edge_index, list | tuple):
            return torch.tensor(edge_index)
        return torch.stack(
            [row if isinstance(row, Tensor) else torch.tensor(row) for row in edge_index]
        )
    except (TypeError, ValueError, RuntimeError):
        raise GraphError(
            f"EdgeList: edge_index must be a tensor, an array or two lists of the same length, "
            f"got {reprlib.repr(edge_index)}. Pass [sources, targets]."
        ) from None


def _check_range(index: Tensor, name: str, size: int, word: str) -> None:
    if not index.numel():
        return
    low, high = (int(bound) for bound in torch.aminmax(index))
    if low < 0 or high >= size:
        raise GraphError(
            f"EdgeList: every {name} must be at least 0 and below {word}={size}, got "
            f"{low if low < 0 else high}. Number the nodes from 0, or raise {word}."
        )
