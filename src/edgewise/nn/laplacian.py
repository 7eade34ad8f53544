"""Laplacian eigenvectors: the standing waves of a graph, as coordinates of its nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.nn.connectivity import components
from edgewise.nn.inputs import check_choice, check_size

__all__ = ["laplacian_eigenvectors"]

_LINE = 4  # rows whose squares fill whole lines of memory
_LARGEST_DENSE = 1500  # nodes of a component; beyond, Lanczos iteration is cheaper than eigh
_CELLS = 1 << 22  # float64 cells worked on at once: 32 MB

Cells = tuple[Tensor, Tensor, Tensor]  # component, row and column of every edge


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
    one of many, but on one machine always the same.

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

    Complexity: O(n^3) for a component of ``n`` nodes, all components of one size in one call (so
        a batch is bit for bit what its graphs are alone). Beyond 1500 nodes Lanczos iteration,
        O(k E) a step: few steps on graphs with short paths, very many on long chains.

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
    pairs = edges(graph)
    device = pairs.target.device
    target, source = pairs.target.cpu(), pairs.source.cpu()
    order = torch.argsort(parts.label[target], stable=True)
    target, source = target[order], source[order]
    label = parts.label[target]
    out = torch.zeros(graph.num_targets, k, dtype=torch.float64)
    for size, first, last in parts.buckets(_CELLS):
        if size == 1:
            continue
        low, high = torch.searchsorted(label, torch.tensor([first, last])).tolist()
        cells = (
            label[low:high] - first,
            parts.position[target[low:high]],
            parts.position[source[low:high]],
        )
        wanted = min(k, size - 1)
        if size <= _LARGEST_DENSE:
            vectors = _by_eigh(cells, last - first, size, wanted, normalization)
        else:
            vectors = _by_lanczos(cells, size, wanted, normalization)
        start = int(parts.starts[first])
        nodes = parts.nodes[start : start + (last - first) * size]
        out[nodes, :wanted] = _with_fixed_signs(vectors).flatten(0, 1)
    return out.to(device, dtype)


def _by_eigh(cells: Cells, count: int, size: int, k: int, normalization: str | None) -> Tensor:
    """Eigenvectors 1 to k of ``count`` components of one size, at once: ``[count, size, k]``."""
    component, row, column = cells
    adjacency = torch.zeros(count, size, size, dtype=torch.float64)
    adjacency[component, row, column] = 1.0
    adjacency[component, column, row] = 1.0
    adjacency.diagonal(dim1=-2, dim2=-1).zero_()
    degree = adjacency.sum(-1)
    if normalization == "sym":
        root = degree.rsqrt()
        laplacian = -root[:, :, None] * adjacency * root[:, None, :]
        laplacian.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    else:
        laplacian = torch.diag_embed(degree) - adjacency
    return torch.linalg.eigh(_aligned(laplacian)).eigenvectors[..., :size, 1 : k + 1]


def _aligned(laplacian: Tensor) -> Tensor:
    """The same matrices with eigenvalues above all others added, until each fills whole lines.

    What LAPACK finds may depend, in the last bits, on how a matrix lies in memory; in repeated
    eigenspaces, that is all that decides. So all matrices of a batch lie as the first one does.
    """
    size = laplacian.shape[-1]
    above = 2.0 * laplacian.diagonal(dim1=-2, dim2=-1).amax(-1) + 1.0
    wide = torch.nn.functional.pad(laplacian, (0, -size % _LINE, 0, -size % _LINE))
    wide.diagonal(dim1=-2, dim2=-1)[:, size:] = above[:, None]
    return wide


def _by_lanczos(cells: Cells, size: int, k: int, normalization: str | None) -> Tensor:
    """Eigenvectors 1 to k of one large component: ``[1, size, k]``.

    Lanczos iteration finds the upper end of a spectrum first, so the Laplacian is subtracted from
    a bound on its eigenvalues; and its null vector, which is known, is moved to the lower end.
    """
    sparse, linalg = _scipy_sparse(size)
    _, row, column = cells
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
    return torch.from_numpy(vectors[:, np.argsort(-values)].copy())[None]


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
    """Turn each column so that the first of its largest entries is positive: ``[*, n, k]``.

    Entries that are equal but for rounding count as equal, so that rounding cannot choose.
    """
    size = vectors.abs()
    largest = size >= size.amax(-2, keepdim=True) * (1 - 1e-6)
    first = largest.to(torch.uint8).argmax(-2, keepdim=True)  # the first of equal ones
    return vectors * vectors.gather(-2, first).sign()
