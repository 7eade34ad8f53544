"""Random walks: how likely a walker is back where it started."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgewise.functional import aggregate
from edgewise.graphs import EdgeList, Graph, reverse
from edgewise.layouts import edges
from edgewise.nn.connectivity import components
from edgewise.nn.inputs import check_size
from edgewise.nn.squares import squares

__all__ = ["random_walk"]

_LARGEST_DENSE = 256  # nodes of a component; beyond, following edges is cheaper than products
_CELLS = 1 << 15  # cells of small matrices worked on at once: some of them fit into a cache
_WALKERS = 1 << 22  # nodes or edges of large components times walkers, at once: 32 MB


def random_walk(graph: Graph, k: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""How likely a random walker is back at its node after 1 to ``k`` steps.

    .. math::
        p_i = \big[ P_{ii}, (P^2)_{ii}, \dots, (P^k)_{ii} \big], \qquad
        P_{ij} = \frac{\#(j \to i)}{d_{out}(j)}

    Walkers follow the edges, copies counted, from source to target. One that stands on a node
    without outgoing edges is lost, so an isolated node has only zeros. No signs, no choice of
    basis: unlike Laplacian eigenvectors these numbers are the same on every machine (up to
    rounding) and under every numbering of the nodes.

    Args:
        graph: A square graph; thousands of small ones as a `disjoint_union`.
        k: Steps, and columns of the result.
        dtype: Of the result; the work is done in float64, on the CPU.

    Returns:
        ``[N, k]``, on the device of the graph.

    Raises:
        ArgumentError: ``k`` is below 1.
        GraphError: the graph is not square.

    Gradients: none.

    Complexity: O(sqrt(k) n^3 + k n^2) on small dense matrices for components of up to 256 nodes,
        many in one product: every power up to ``k`` is a product of two out of ``2 sqrt(k)``, and
        of a product only the diagonal is needed. O(k E n) for larger ones, with ``n`` nodes in the
        largest: walkers of different components never meet, so one from each shares a column.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> random_walk(EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3), 2)
        tensor([[0.0000, 0.5000],
                [0.0000, 1.0000],
                [0.0000, 0.5000]])

    References:
        Dwivedi et al. Graph Neural Networks with Learnable Structural and Positional
        Representations. 2021, arXiv:2110.07875, section 3.2.
    """
    check_size("random_walk", "k", k)
    parts = components(graph)
    found = edges(graph, "cpu")
    out = torch.zeros(graph.num_targets, k, dtype=dtype)
    with torch.no_grad():
        for held in squares(parts, _LARGEST_DENSE):
            counts = held.counts(found)
            rows = torch.empty(held.num_rows, k, dtype=dtype)
            for run in held.runs(_CELLS):
                run.rows(rows).copy_(_by_powers(run.matrices(counts), k))
            held.spread(rows, out)
        large = parts.sizes[parts.label] > _LARGEST_DENSE
        if bool(large.any()):
            nodes = large.nonzero()[:, 0]
            number = large.cumsum(0) - 1
            own = large[found.target]
            index = number[torch.stack([found.source[own], found.target[own]])]
            rest = EdgeList(index, num_nodes=len(nodes))
            out[nodes] = _by_walking(rest, parts.position[nodes], k).to(dtype)
    return out.to(edges(graph).target.device)


def _by_powers(counts: Tensor, k: int) -> Tensor:
    """Diagonals of the first ``k`` powers of small matrices: ``[B, n, k]``.

    With ``Q = P'``, the diagonal of ``P^(a + b)`` is that of ``P^a P^b``: the sums over the columns
    of ``Q^a * P^b``, entry by entry. So ``a`` up to ``m``, about the square root of ``k``, and
    multiples of ``m`` for ``b``, are all the powers that are needed.
    """
    step = counts.mT.double()  # Q: from source (row) to target (column)
    step /= step.sum(-1, keepdim=True).clamp_(min=1.0)
    m = math.isqrt(k - 1) + 1
    near = step.new_empty(m, *step.shape)
    near[0] = step
    for a in range(1, m):
        torch.bmm(near[a - 1], step, out=near[a])
    back = step.new_empty(-(-k // m) * m, *step.shape[:2])
    back[:m] = near.diagonal(dim1=-2, dim2=-1)
    far = jump = near[-1].mT.contiguous()
    product = torch.empty_like(near)
    for b in range(m, k, m):
        torch.sum(torch.mul(near, far, out=product), -2, out=back[b : b + m])
        far = far if b + m >= k else torch.bmm(far, jump)
    return back[:k].permute(1, 2, 0)


def _by_walking(graph: EdgeList, position: Tensor, k: int) -> Tensor:
    """The same, by moving one walker from each component along all edges, column by column."""
    N = graph.num_targets
    leaving = aggregate(torch.ones(N, 1, dtype=torch.float64), reverse(graph), "sum")
    share = torch.where(leaving > 0, 1.0 / leaving.clamp(min=1.0), 0.0)
    out = torch.zeros(N, k, dtype=torch.float64)
    longest = int(position.max()) + 1
    step = max(1, _WALKERS // max(N, graph.num_edges))
    for first in range(0, longest, step):
        starting = ((position >= first) & (position < first + step)).nonzero()[:, 0]
        column = position[starting] - first
        walkers = torch.zeros(N, min(step, longest - first), dtype=torch.float64)
        walkers[starting, column] = 1.0
        for steps in range(k):
            walkers = aggregate(share * walkers, graph, "sum")
            out[starting, steps] = walkers[starting, column]
    return out
