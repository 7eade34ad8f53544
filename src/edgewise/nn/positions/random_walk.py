"""Random-walk encodings: the probability of return to each node."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.backends.native.encodings import returns
from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.layouts import csr, edges
from edgewise.nn.checks import check_size
from edgewise.nn.positions.components import Components, components
from edgewise.nn.positions.degree import degrees

__all__ = ["random_walk"]

_CELLS = 1 << 22  # float64 cells of nodes or edges times walkers, at once: 32 MB


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

    Complexity: O(k E n) for ``n`` nodes in the largest connected component: walkers of different
        components never meet, so one from each shares a column. Compiled kernels walk in each
        component on its own, in a cache; without the compiled library all walk at once.

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
    share = 1.0 / degrees(graph, direction="out").cpu().double().clamp(min=1.0)
    ends = torch.cat([parts.starts, torch.tensor([graph.num_targets])])
    chances = returns(csr(graph), share, parts.nodes, ends, parts.position, k)
    chances = _by_aggregation(graph, share, parts, k) if chances is None else chances
    return chances.to(edges(graph).target.device, dtype)


def _by_aggregation(graph: Graph, share: Tensor, parts: Components, k: int) -> Tensor:
    """The same with one walker from each component in every column: ``[N, k]``."""
    N = graph.num_targets
    pairs = edges(graph, "cpu")
    out = torch.zeros(N, k, dtype=torch.float64)
    longest = int(parts.sizes[-1]) if N else 0
    step = max(1, _CELLS // max(N, pairs.num_edges, 1))
    with torch.no_grad():
        for first in range(0, longest, step):
            within = (parts.position >= first) & (parts.position < first + step)
            starting = within.nonzero()[:, 0]
            column = parts.position[starting] - first
            walkers = torch.zeros(N, min(step, longest - first), dtype=torch.float64)
            walkers[starting, column] = 1.0
            for steps in range(k):
                walkers = aggregate(share[:, None] * walkers, graph, "sum")
                out[starting, steps] = walkers[starting, column]
    return out
