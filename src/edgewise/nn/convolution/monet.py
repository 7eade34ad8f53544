"""The layer of mixture model networks, and pseudo-coordinates from degrees."""

from __future__ import annotations

from math import sqrt
from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import aggregate
from edgewise.graphs import Graph, reverse
from edgewise.layouts import edges
from edgewise.nn.argument_names import refuse
from edgewise.nn.attention.heads import reset_linear, split_heads
from edgewise.nn.checks import check_choice, check_edges, check_features, check_nodes, check_size
from edgewise.nn.convolution.incidence import from_sources, from_targets
from edgewise.nn.layer import Layer, factory
from edgewise.ops.gaussian import gaussian_weight
from edgewise.problem import Reduce

__all__ = ["MoNetConvolution", "degree_coordinates"]

_EPS = 1e-15  # the variance never gets so small by itself


class MoNetConvolution(Layer):
    r"""Sums over sources weighted by Gaussian kernels of the edges' pseudo-coordinates.

    .. math::
        h_i' = \operatorname{reduce}_{j \in N(i)} \sum_k w_k(u_{ij}) W_k h_j + R h_i + b, \qquad
        w_k(u) = \exp\Big(-\frac{1}{2} \sum_p \frac{(u_p - \mu_{kp})^2}{\sigma_{kp}^2}\Big)

    A convolution on images is this layer with one narrow kernel for each offset. The weights of a
    target do not add up to one. A target without sources gets ``R h_i + b``.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after.
        kernels: Gaussian kernels ``K``.
        coordinates: Pseudo-coordinates of every edge ``P``: 2 for `degree_coordinates`.
        reduce: ``"mean"`` (over the number of edges) or ``"sum"``.
        root: Whether a node itself counts, through ``R``.
        bias: Whether a bias ``b`` is added.
        separate: Whether each pair of a feature before and a feature after has kernels of its
            own (``separate_gaussians`` in PyG).
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, in_dim]``; the nodes of ``x`` when left out.
        - edge: pseudo-coordinates ``u``, ``[*batch | 1, E, coordinates]``, in edge order; batch
            axes may be left out.
        - result: ``[*batch, T, out_dim]``.

    Raises:
        ArgumentError: ``edge`` is left out, an unknown reduce, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, the coordinates included.

    Complexity: O(N K in_dim out_dim + E K min(in_dim, out_dim)) time. Of edges the native kernels
        hold weights alone, O(E K), and never messages. ``separate``: O(E K in_dim out_dim) time
        and memory.

    Initialization: Glorot uniform for everything but the bias, as PyG has it; so a ``sigma`` may
        start near 0, where its kernel is 0 for nearly all edges.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> path = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> layer = MoNetConvolution(5, 8, kernels=3, coordinates=2)
        >>> layer(torch.randn(3, 5), path, edge=degree_coordinates(path)).shape
        torch.Size([3, 8])

    References:
        Monti et al. Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs.
        2017, arXiv:1611.08402, equations 9 to 11.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        kernels: int,
        coordinates: int,
        *,
        reduce: Reduce = "mean",
        root: bool = True,
        bias: bool = True,
        separate: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("MoNetConvolution", device, dtype)
        check_choice("MoNetConvolution", "reduce", reduce, ("sum", "mean"))
        self.in_dim = check_size("MoNetConvolution", "in_dim", in_dim)
        self.out_dim = check_size("MoNetConvolution", "out_dim", out_dim)
        self.kernels = check_size("MoNetConvolution", "kernels", kernels)
        self.coordinates = check_size("MoNetConvolution", "coordinates", coordinates)
        self.reduce: Reduce = reduce
        self.separate = separate
        per_pair = (in_dim, out_dim) if separate else ()
        self.mu = nn.Parameter(torch.empty(*per_pair, kernels, coordinates, **made))
        self.sigma = nn.Parameter(torch.empty(*per_pair, kernels, coordinates, **made))
        self.kernel_proj = nn.Linear(in_dim, kernels * out_dim, bias=False, **made)
        self.root_proj = nn.Linear(in_dim, out_dim, bias=False, **made) if root else None
        self.bias = nn.Parameter(torch.empty(out_dim, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights and kernels (Glorot uniform) and set the bias to zero."""
        bound = sqrt(6.0 / (self.kernels + self.coordinates))
        nn.init.uniform_(self.mu, -bound, bound)
        nn.init.uniform_(self.sigma, -bound, bound)
        for projection in (self.kernel_proj, self.root_proj):
            if projection is not None:
                reset_linear(projection)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("MoNetConvolution", others, "source", "edge")
        source = x if source is None else source
        check_features("MoNetConvolution", "x", x, self.in_dim, "in_dim")
        check_features("MoNetConvolution", "source", source, self.in_dim, "in_dim")
        check_nodes("MoNetConvolution", x, graph)
        if edge is None:
            raise ArgumentError(
                f"MoNetConvolution: edge is missing, but kernels are functions of it. Pass "
                f"pseudo-coordinates of shape [edges, {self.coordinates}], such as "
                f"degree_coordinates(graph)."
            )
        check_features("MoNetConvolution", "edge", edge, self.coordinates, "coordinates")
        check_edges("MoNetConvolution", edge, source, graph)
        precision = 1.0 / (_EPS + self.sigma.square())
        mu, precision = self.mu.flatten(0, -2), precision.flatten(0, -2)
        weight = gaussian_weight(edge, mu, precision)  # [*batch | 1, K, E]
        reduce = self._separate if self.separate else self._shared
        out = reduce(source, graph, weight)
        out = out if self.root_proj is None else out + self.root_proj(x)
        return out if self.bias is None else out + self.bias

    def _shared(self, source: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """Sums and means commute with ``W``, so the edges can carry the narrower of both sides."""
        if self.out_dim <= self.in_dim:
            value = split_heads(self.kernel_proj(source), self.kernels)
            return aggregate(value, graph, self.reduce, weight=weight).sum(-3)
        value = source[..., None, :, :].expand(*source.shape[:-2], self.kernels, -1, -1)
        read = aggregate(value, graph, self.reduce, weight=weight)  # [*batch, K, T, in_dim]
        matrix = self.kernel_proj.weight.unflatten(0, (self.kernels, self.out_dim))
        return torch.einsum("...kti,koi->...to", read, matrix)

    def _separate(self, source: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """One weight of an edge for each feature before and after: kernels are added up first."""
        matrix = self.kernel_proj.weight.unflatten(0, (self.kernels, self.out_dim))
        weight = weight.unflatten(-2, (self.in_dim, self.out_dim, self.kernels))
        weight = torch.einsum("...iokE,koi->...ioE", weight, matrix)
        value = source.mT[..., None, :, None]  # [*batch, in_dim, 1, S, 1]
        value = value.expand(*value.shape[:-3], self.out_dim, -1, -1)
        read = aggregate(value, graph, self.reduce, weight=weight)  # [*batch, in, out, T, 1]
        return read.sum(-4)[..., 0].mT

    def extra_repr(self) -> str:
        return (
            f"{self.in_dim}, {self.out_dim}, kernels={self.kernels}, "
            f"coordinates={self.coordinates}, reduce={self.reduce!r}, separate={self.separate}"
        )


def degree_coordinates(graph: Graph, *, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Pseudo-coordinates of every edge from the degrees of its ends.

    .. math::  u_{ij} = \Big(\frac{1}{\sqrt{d_i}}, \frac{1}{\sqrt{d_j}}\Big)

    The degree of a target is how many edges enter it, that of a source how many leave it, copies
    counted: the usual degree where edges go both ways. Both are at least 1, since the edge itself
    counts; so this works for directed and for bipartite graphs.

    Args:
        graph: Any graph.
        dtype: Of the result.

    Returns:
        ``[E, 2]``, in edge order, on the device of the graph.

    Gradients: none.

    Complexity: O(E).

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> star = EdgeList([[1, 2, 3, 4], [0, 0, 0, 0]], num_nodes=5)
        >>> degree_coordinates(star)[0]
        tensor([0.5000, 1.0000])

    References:
        Monti et al. Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs.
        2017, arXiv:1611.08402, section 4 and the experiments on citation graphs.
    """
    with torch.no_grad():
        into = torch.ones(graph.num_sources, 1, dtype=torch.float64)
        out_of = torch.ones(graph.num_targets, 1, dtype=torch.float64)
        entering, leaving = aggregate(into, graph), aggregate(out_of, reverse(graph))
        ends = [from_targets(entering, graph), from_sources(leaving, graph)]
        return torch.cat(ends, -1).rsqrt().to(edges(graph).target.device, dtype)
