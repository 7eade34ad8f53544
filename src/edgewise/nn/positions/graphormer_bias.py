"""Graphormer's biases: by the length of the shortest path between two nodes, and by its edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, ShapeError
from edgewise.nn.checks import check_features, check_size, check_tensor
from edgewise.nn.layer import factory

__all__ = ["PathBias", "SpatialBias"]


class SpatialBias(nn.Module):
    r"""Graphormer's spatial encoding: a learned number for every head and hop distance.

    .. math::  b_{hij} = W_{\phi(d_{ij}), h}, \qquad
        \phi(d) = \begin{cases} \min(d, D) & d \ge 0 \\ D + 1 & \text{no path} \end{cases}

    Args:
        heads: Heads ``H``.
        max_distance: ``D``; longer ways share its number.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - distance: ``[E]``, whole numbers, as `shortest_paths` returns them: one for each edge of
            the graph that attention runs on, negative where no path leads.
        - result: ``[H, E]``, for ``score_bias=``.

    Raises:
        ArgumentError: a size out of range, or distances that are no whole numbers.

    Gradients: to ``distance_encoder.weight``, ``[max_distance + 2, H]``.

    Complexity: O(E H).

    Example:
        >>> from edgewise.graphs import Complete, EdgeList
        >>> from edgewise.nn import DotAttention, shortest_paths
        >>> molecule, pairs = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3), Complete(3)
        >>> bias = SpatialBias(4, max_distance=20)(shortest_paths(molecule, pairs))
        >>> DotAttention(16, heads=4)(torch.randn(3, 16), pairs, score_bias=bias).shape
        torch.Size([3, 16])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.2.
    """

    def __init__(
        self,
        heads: int,
        max_distance: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("SpatialBias", device, dtype)
        self.heads = check_size("SpatialBias", "heads", heads)
        self.max_distance = check_size("SpatialBias", "max_distance", max_distance, 0)
        self.distance_encoder = nn.Embedding(max_distance + 2, heads, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new numbers from a normal distribution with deviation 0.02, as Graphormer does."""
        nn.init.normal_(self.distance_encoder.weight, std=0.02)

    def forward(self, distance: Tensor) -> Tensor:
        check_tensor("SpatialBias", "distance", distance)
        if distance.is_floating_point() or distance.dtype == torch.bool:
            raise ArgumentError(
                f"SpatialBias: distance must hold whole numbers, got {distance.dtype}. Pass what "
                f"shortest_paths returns."
            )
        entry = torch.where(
            distance < 0, self.max_distance + 1, distance.clamp(max=self.max_distance)
        )
        return self.distance_encoder.weight.T.index_select(1, entry.long())

    def extra_repr(self) -> str:
        return f"heads={self.heads}, max_distance={self.max_distance}"


class PathBias(nn.Module):
    r"""Graphormer's edge encoding: the features of the edges between two nodes, on average.

    .. math::
        c_{hij} = \frac{1}{L} \sum_{n=1}^{L} x_{e_n} \cdot w_{n, h}, \qquad
        (e_1, \dots, e_L) = \text{the first edges of a shortest path from } i \text{ to } j

    Exact for the paths that are given. Which of several shortest paths these are is a choice, made
    by the order of edges, so unlike `SpatialBias` this one may change when nodes are renumbered.
    Two nodes without a path, and a node and itself, get 0.

    Args:
        heads: Heads ``H``.
        edge_dim: Features of every edge.
        length: Edges of a path that count, ``L`` at most, from the target on.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - edge: ``[E, edge_dim]``, features of the edges that are walked, in their order.
        - path: ``[P, length]``, as `shortest_path_edges` returns it: numbers of edges for each of
            the ``P`` pairs that attention runs on; -1 after the end.
        - result: ``[H, P]``, for ``score_bias=``.

    Raises:
        ArgumentError: a size out of range.
        ShapeError: features or paths that do not fit.

    Gradients: to ``edge`` and ``weight``, ``[length, edge_dim, H]``.

    Complexity: O(E length edge_dim H + P length H).

    Example:
        >>> from edgewise.graphs import Complete, EdgeList
        >>> from edgewise.nn import shortest_path_edges
        >>> molecule, pairs = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3), Complete(3)
        >>> path = shortest_path_edges(molecule, pairs, 5)
        >>> PathBias(4, edge_dim=6, length=5)(torch.randn(4, 6), path).shape
        torch.Size([4, 9])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.3.
    """

    def __init__(
        self,
        heads: int,
        edge_dim: int,
        length: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("PathBias", device, dtype)
        self.heads = check_size("PathBias", "heads", heads)
        self.edge_dim = check_size("PathBias", "edge_dim", edge_dim)
        self.length = check_size("PathBias", "length", length)
        self.weight = nn.Parameter(torch.empty(length, edge_dim, heads, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new numbers from a normal distribution with deviation 0.02, as Graphormer does."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, edge: Tensor, path: Tensor) -> Tensor:
        check_features("PathBias", "edge", edge, self.edge_dim, "edge_dim")
        if edge.ndim != 2 or path.ndim != 2 or path.shape[1] != self.length:
            raise ShapeError(
                f"PathBias: edge must have shape [edges, {self.edge_dim}] and path [pairs, "
                f"{self.length}], got {list(edge.shape)} and {list(path.shape)}. Pass "
                f"shortest_path_edges(graph, pairs, {self.length})."
            )
        E = len(edge)
        scores = torch.einsum("ed,ldh->leh", edge, self.weight).flatten(0, 1)
        place = torch.arange(self.length, device=path.device) * E
        entry = torch.where(path < 0, len(scores), path + place)
        table = torch.cat([scores, scores.new_zeros(1, self.heads)])
        # Place by place: `F.embedding_bag` would do it in one call, but has no second derivative.
        total = table.new_zeros(len(path), self.heads)
        for column in entry.unbind(1):
            total = total + F.embedding(column, table, padding_idx=len(scores))
        steps = (path >= 0).sum(1, keepdim=True).clamp(min=1)
        return (total / steps).T

    def extra_repr(self) -> str:
        return f"heads={self.heads}, edge_dim={self.edge_dim}, length={self.length}"
