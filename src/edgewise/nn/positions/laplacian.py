"""Laplacian eigenvectors: the standing waves of a graph, as coordinates of its nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.backends.native.encodings import eigenvectors
from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.nn.checks import check_choice, check_size
from edgewise.nn.positions.component_matrices import squares
from edgewise.nn.positions.components import components

__all__ = ["laplacian_eigenvectors"]

_LARGEST_LANE = 64  # nodes of a component; beyond, LAPACK is faster than a matrix in each lane
_LARGEST_DENSE = 1500  # the same; beyond, Lanczos iteration is cheaper than LAPACK
_CELLS = 1 << 16  # cells of small matrices worked on at once: what a core's cache holds


def laplacian_eigenvectors(
    graph: Graph,
    k: int,
    *,
    normalization: str | None = "sym",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""The ``k`` smoothest non-constant eigenvectors of each connected part of a graph.

    .. math::
        L u = \lambda u, \quad 0 = \lambda_0 < \lambda_1 \le \dots \le \lambda_k, \qquad
        L = I - D^{-1/2} A D^{-1/2} \quad \text{(or } D - A \text{)}

    ``A`` is the graph read in both directions, each pair of neighbors once and no self-loops.

    **Every connected component is solved on its own**, and of each exactly one vector is skipped:
    its only one with eigenvalue 0, which is constant up to the degrees. So no eigenvector with
    eigenvalue 0 is ever returned. On connected graphs this is what Dwivedi and PyG do. On
    disconnected ones they solve all parts together and skip only the first of several null
    vectors; the rest of them is an arbitrary rotation of "which part is this", and the vectors
    that say something about a small part depend on what else is in the graph. Here a molecule
    has one encoding, alone, in a batch, in a disjoint union, or as a part of an `EdgeList`.

    Each column has norm 1 on every component. Its sign is fixed: the first of its largest entries
    (up to rounding) is positive. A component with fewer than ``k + 1`` nodes has its last columns
    filled with zeros; an isolated node has only zeros. Within a repeated eigenvalue the basis is
    one of many, but on one machine, with one version of its libraries, always the same.

    Args:
        graph: A square graph; thousands of small ones as a `disjoint_union`.
        k: Columns of the result.
        normalization: ``"sym"`` for the symmetric normalized Laplacian, None for ``D - A``.
        dtype: Of the result; the work is done in float64, on the CPU.

    Returns:
        ``[N, k]``, on the device of the graph.

    Raises:
        ArgumentError: ``k`` is below 1, the normalization is unknown, or the iteration on a large
            component does not converge.
        GraphError: the graph is not square.
        ImportError: a component has more than 1500 nodes and SciPy is not installed.

    Gradients: none.

    Complexity: O(n^3) for a component of ``n`` nodes. Up to 64 nodes a compiled kernel works on as
        many components at once as a vector has lanes; larger ones, and all where there is no
        compiled library, go to LAPACK. A batch is bit for bit what its graphs are alone. Beyond
        1500 nodes Lanczos iteration, O(k E) a step: few steps on graphs with short paths, very
        many on long chains.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> pair_and_single = EdgeList([[0], [1]], num_nodes=3)
        >>> laplacian_eigenvectors(pair_and_single, 2)
        tensor([[ 0.7071,  0.0000],
                [-0.7071,  0.0000],
                [ 0.0000,  0.0000]])

    References:
        Dwivedi et al. Benchmarking Graph Neural Networks. 2020, arXiv:2003.00982, section 4.
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.2.
    """
    check_size("laplacian_eigenvectors", "k", k)
    check_choice("laplacian_eigenvectors", "normalization", normalization, ("sym", None))
    parts = components(graph)
    pairs = edges(graph, "cpu")
    out = torch.zeros(graph.num_targets, k, dtype=dtype)
    for held in squares(parts, _LARGEST_DENSE):
        marks = held.marks(pairs, both=True)
        for run in held.runs(_CELLS):
            vectors = _of_small(run.matrices(marks), run.sizes, k, normalization)
            run.spread(_with_fixed_signs(vectors).mT, out)
    for label in (parts.sizes > _LARGEST_DENSE).nonzero()[:, 0].tolist():
        size, start = int(parts.sizes[label]), int(parts.starts[label])
        mine = (parts.label[pairs.target] == label).nonzero()[:, 0]
        row, column = (parts.position[ends[mine]] for ends in (pairs.target, pairs.source))
        vectors = _with_fixed_signs(_by_lanczos(row, column, size, min(k, size - 1), normalization))
        out[parts.nodes[start : start + size], : len(vectors)] = vectors.T.to(dtype)
    return out.to(edges(graph).target.device)


def _of_small(marks: Tensor, sizes: Tensor, k: int, normalization: str | None) -> Tensor:
    """Eigenvectors 1 to ``k`` of small components, as rows: ``[B, min(k, n - 1), n]``.

    Rows that belong to no node have eigenvalues above all others. What LAPACK finds may depend, in
    the last bits, on how a matrix lies in memory; in repeated eigenspaces, that is all that
    decides. As all sizes fill whole lines, every matrix of a batch lies as it would alone.
    """
    n = marks.shape[-1]
    laplacian = marks.double()
    diagonal = laplacian.diagonal(dim1=-2, dim2=-1)
    diagonal.zero_()
    degree = laplacian.sum(-1)
    if normalization == "sym":
        root = degree.clamp(min=1.0).rsqrt()
        laplacian.mul_(root[:, :, None]).mul_(-root[:, None, :])
        degree, above = torch.ones(()).double(), torch.full((), 3.0).double()
    else:
        laplacian.neg_()
        above = 2.0 * degree.amax(-1, keepdim=True) + 1.0
    place = torch.arange(n)
    diagonal.copy_(torch.where(place < sizes[:, None], degree, above))
    vectors = eigenvectors(laplacian, 1, min(k, n - 1)) if n <= _LARGEST_LANE else None
    if vectors is None:
        vectors = torch.linalg.eigh(laplacian).eigenvectors.mT[..., 1 : k + 1, :]
    if int(sizes[0]) > k:  # the smallest
        return vectors
    return vectors * (place[1 : k + 1] < sizes[:, None])[..., None]


def _by_lanczos(
    row: Tensor, column: Tensor, size: int, k: int, normalization: str | None
) -> Tensor:
    """Eigenvectors 1 to ``k`` of one large component, as rows: ``[k, size]``.

    Lanczos iteration finds the upper end of a spectrum first, so the Laplacian is subtracted from
    a bound on its eigenvalues; and its null vector, which is known, is moved to the lower end.
    """
    sparse, linalg = _scipy_sparse(size)
    adjacency = sparse.csr_array((np.ones(len(row)), (row.numpy(), column.numpy())), (size, size))
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    adjacency.setdiag(0.0)
    degree = adjacency.sum(1)
    if normalization == "sym":
        null, bound = np.sqrt(degree), 2.0
        scale, diagonal = 1.0 / null, np.ones(size)
    else:
        null, bound = np.ones(size), 2.0 * degree.max()
        scale, diagonal = np.ones(size), degree
    null = null / np.linalg.norm(null)

    def mirrored(x: Any) -> Any:
        x = x.ravel()
        laplacian = diagonal * x - scale * (adjacency @ (scale * x))
        return bound * (x - null * (null @ x)) - laplacian

    operator = linalg.LinearOperator((size, size), matvec=mirrored, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)  # SciPy's own start is another each time
    try:
        values, vectors = linalg.eigsh(operator, k, which="LA", v0=start)
    except linalg.ArpackNoConvergence as error:
        raise ArgumentError(
            f"laplacian_eigenvectors: k={k} eigenvectors of a component with {size} nodes did not "
            f"converge, because its smallest eigenvalues lie too close together. Ask for a smaller "
            f"k, or use random_walk."
        ) from error
    return torch.from_numpy(vectors[:, np.argsort(-values)].T.copy())


def _scipy_sparse(size: int) -> tuple[Any, Any]:
    """SciPy's sparse matrices and their eigen-solvers, imported when a component needs them."""
    try:
        from scipy import sparse
        from scipy.sparse import linalg
    except ImportError as error:
        raise ImportError(
            f"laplacian_eigenvectors: a component of {size} nodes needs SciPy (more than "
            f"{_LARGEST_DENSE}), which is not installed. Run: pip install 'edgewise[compare]'."
        ) from error
    return sparse, linalg


def _with_fixed_signs(vectors: Tensor) -> Tensor:
    """Turn each row so that the first of its largest entries is positive: ``[*, k, n]``.

    Entries that are equal but for rounding count as equal, so that rounding cannot choose.
    """
    size = vectors.abs()
    largest = size >= size.amax(-1, keepdim=True) * (1 - 1e-6)
    first = largest.to(torch.uint8).argmax(-1, keepdim=True)  # the first of equal ones
    return vectors * vectors.gather(-1, first).sign()
