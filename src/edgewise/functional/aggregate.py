"""Aggregation over any graph: message passing without scores."""

from __future__ import annotations

from torch import Tensor

from edgewise.functional.tracers import not_scriptable, traced_aggregate
from edgewise.graphs import Graph
from edgewise.planning.call import read_aggregate
from edgewise.planning.plan_cache import prepared_aggregate
from edgewise.problem import Reduce

__all__ = ["aggregate"]


@not_scriptable
def aggregate(
    value: Tensor,
    graph: Graph,
    reduce: Reduce = "sum",
    *,
    weight: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    r"""Combine the sources of each target.

    .. math::
        \text{out}_i = \operatorname{reduce}_{j \in N(i)} w_{ij} v_j

    The mean divides by the number of edges, not by the sum of the weights. Of equal maxima, the
    first source in a row receives the gradient. A target without sources gets zeros.

    Args:
        value: ``[*batch, S, C]``, float64, float32, bfloat16 or float16; any strides.
        graph: Which target reads which source.
        reduce: ``"sum"``, ``"mean"`` or ``"max"``.
        weight: ``[*batch|1, E]``: a factor for each edge, in edge order.
        backend: ``"auto"``, or a backend by name, which never falls back to another.

    Returns:
        ``[*batch, T, C]``, in the dtype of ``value``; sums are kept in float32 or better.

    Raises:
        ShapeError: shapes that do not fit.
        ArgumentError: an unknown reduction, or dtypes and devices that differ.
        BackendRefused: the named backend cannot run this problem.

    Gradients:
        With respect to ``value`` and ``weight``; second derivatives with every backend.

    Complexity: O(E * C) for sparse graphs, O(T * S * C) on matrix units for dense ones.

    Example:
        >>> import torch, edgewise as ew
        >>> sizes = [2, 3]  # the mean over each graph of a batch: a bipartite graph
        >>> value = torch.tensor([[1.0], [3.0], [1.0], [2.0], [6.0]])
        >>> ew.aggregate(value, ew.Blocks([1, 1], sizes), "mean")
        tensor([[2.],
                [3.]])

    References:
        Gilmer et al. Neural Message Passing for Quantum Chemistry. 2017, arXiv:1704.01212;
        Hamilton, Ying, Leskovec. GraphSAGE. 2017, arXiv:1706.02216, section 3.3.
    """
    traced = traced_aggregate(aggregate, value, graph, reduce, weight, backend)
    if traced is not None:
        return traced
    call = read_aggregate(value, graph, reduce, weight)
    return prepared_aggregate(call, backend).aggregate(call.value, call.weight)
