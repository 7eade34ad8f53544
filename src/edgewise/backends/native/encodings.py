"""Kernels for encodings of nodes: eigenvectors of small matrices, return probabilities of walks."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.backends.native.library import EIGENVECTORS, WALKS, library, why_missing
from edgewise.layouts import Csr

__all__ = ["eigenvectors", "returns"]


def eigenvectors(matrices: Tensor, first: int, count: int) -> Tensor | None:
    r"""Some eigenvectors of each symmetric matrix, by rising eigenvalue.

    .. math::  A_b u_{bc} = \lambda_{b, \text{first} + c} \, u_{bc}

    A matrix lies in each lane of a vector. Its results do not depend, not even in the last bit, on
    the matrices in the other lanes.

    Args:
        matrices: ``[B, n, n]``, float64, symmetric, on the CPU.
        first: Place of the first eigenvalue, 0 for the smallest.
        count: How many of them.

    Returns:
        ``[B, count, n]``, float64: orthogonal unit vectors as rows. None where there is no compiled
        library, or no memory, or where an iteration does not converge (not observed so far).

    Complexity: O(n^3) a matrix; a quarter of LAPACK's time at 24 rows, as much at about 150.

    References:
        Golub, Van Loan. Matrix Computations. 2013, sections 8.3.1 and 8.3.5.
    """
    if why_missing() is not None:
        return None
    B, n, _ = matrices.shape
    matrices = matrices.contiguous()
    out = matrices.new_empty(B, count, n)
    threads = torch.get_num_threads()
    record = EIGENVECTORS.pack(B, n, first, count, threads, matrices.data_ptr(), out.data_ptr())
    return None if library().eigenvectors(record) else out


def returns(
    rows: Csr, share: Tensor, nodes: Tensor, ends: Tensor, position: Tensor, steps: int
) -> Tensor | None:
    r"""Probabilities that a random walker is back at its node after 1 to ``steps`` steps.

    .. math::  p_{is} = (P^s)_{ii}, \qquad P_{ij} = \#(j \to i) \, \text{share}_j

    Walkers of different components never meet, so each component is walked on its own, in memory
    that fits a cache; every row adds up its edges in one order, whatever the threads.

    Args:
        rows: The graph, by target; sources and targets are the same nodes.
        share: ``[N]``, float64: how likely a walker takes each of the edges that leave a node.
        nodes: ``[N]``: all nodes, component after component.
        ends: ``[components + 1]``: where each component begins in ``nodes``, and the last one ends.
        position: ``[N]``: place of every node within its component.
        steps: Steps, and columns of the result.

    Returns:
        ``[N, steps]``, float64; None where there is no compiled library, or no memory.

    Complexity: O(steps * E * n) for ``n`` nodes in the largest component.
    """
    if why_missing() is not None:
        return None
    out = share.new_empty(len(nodes), steps)
    tables = [t.contiguous() for t in (nodes, ends, position, rows.indptr, rows.indices, share)]
    pointers = (table.data_ptr() for table in (*tables, out))
    record = WALKS.pack(len(ends) - 1, steps, torch.get_num_threads(), *pointers)
    return None if library().walks(record) else out
