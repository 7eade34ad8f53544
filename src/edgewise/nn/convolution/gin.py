"""The layers of graph isomorphism networks, without and with edge features."""

from __future__ import annotations

from typing import Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, ShapeError
from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import (
    check_edges,
    check_features,
    check_nodes,
    check_size,
    check_tensor,
    checked_edge_weight,
)
from edgewise.nn.convolution.incidence import from_sources, onto_targets
from edgewise.nn.layer import Factory, Layer, factory, reset

__all__ = ["GINConvolution", "GINEConvolution"]


class GINConvolution(Layer):
    r"""A sum over sources, then an MLP: as expressive as message passing can be.

    .. math::  h_i' = \mathrm{mlp}\Big((1 + \epsilon) h_i + \sum_{j \in N(i)} w_{ij} h_j\Big)

    A target without sources gets ``mlp((1 + eps) h_i)``. For edge features see `GINEConvolution`,
    which is another layer, and not this one where they are zero.

    Args:
        mlp: Any module called as ``mlp(x)``, such as an `MLP`. The paper's has batch norm inside.
        eps: How much more than a source a node itself counts.
        train_eps: Whether ``eps`` is learned, from this value on.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating, with as many features as ``mlp`` takes.
        - source: ``[*batch, S, dim]``; the nodes of ``x`` when left out.
        - edge_weight: weights ``w``, ``[*batch | 1, E]``, in edge order; all 1 when left out.
        - result: what ``mlp`` returns for ``[*batch, T, dim]``.

    Raises:
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters.

    Complexity: O(E dim), and the MLP at every node.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> from edgewise.nn import MLP
        >>> layer = GINConvolution(MLP(5, 16, out_dim=8), train_eps=True)
        >>> layer(torch.randn(3, 5), EdgeList([[0, 1], [1, 2]], num_nodes=3)).shape
        torch.Size([3, 8])

    References:
        Xu, Hu, Leskovec, Jegelka. How Powerful are Graph Neural Networks? 2018,
        arXiv:1810.00826, equation 4.1.
    """

    eps: Tensor
    first_eps: float

    def __init__(
        self,
        mlp: nn.Module,
        *,
        eps: float = 0.0,
        train_eps: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GINConvolution", device, dtype)
        self.mlp = mlp
        _register_eps(self, eps, train_eps, made)

    def reset_parameters(self) -> None:
        """Draw the weights of the MLP anew and set ``eps`` to its first value."""
        reset(self.mlp)
        _reset_eps(self)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge_weight: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GINConvolution", others, "source", "edge_weight")
        source = x if source is None else source
        _check_alike("GINConvolution", x, source, graph)
        weight = checked_edge_weight("GINConvolution", edge_weight, source)
        message = aggregate(source, graph, "sum", weight=weight)
        return self.mlp((1.0 + self.eps) * x + message)

    def extra_repr(self) -> str:
        return f"eps={self.first_eps:g}, train_eps={isinstance(self.eps, nn.Parameter)}"


class GINEConvolution(Layer):
    r"""The graph isomorphism layer with edge features, which are added to the sources.

    .. math::
        h_i' = \mathrm{mlp}\Big((1 + \epsilon) h_i +
        \sum_{j \in N(i)} \mathrm{relu}(h_j + W e_{ij} + b)\Big)

    Because of the ReLU, this is not `GINConvolution` where all edge features are zero.

    Args:
        mlp: Any module called as ``mlp(x)`` on ``dim`` features, such as an `MLP`.
        dim: Features of every node before.
        edge_dim: Features of every edge; None for edges that have ``dim`` features already and
            are added as they are, without ``W`` and ``b``.
        eps: How much more than a source a node itself counts.
        train_eps: Whether ``eps`` is learned, from this value on.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating.
        - source: ``[*batch, S, dim]``; the nodes of ``x`` when left out.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - result: what ``mlp`` returns for ``[*batch, T, dim]``.

    Raises:
        ArgumentError: ``edge`` is left out, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters.

    Complexity: O(E dim edge_dim), and the MLP at every node; O(E dim) memory, because every edge
        has a message of its own.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> from edgewise.nn import MLP
        >>> layer = GINEConvolution(MLP(8, 16), dim=8, edge_dim=4)
        >>> bonds = EdgeList([[0, 1], [1, 2]], num_nodes=3)
        >>> layer(torch.randn(3, 8), bonds, edge=torch.randn(2, 4)).shape
        torch.Size([3, 8])

    References:
        Hu et al. Strategies for Pre-training Graph Neural Networks. 2019, arXiv:1905.12265,
        which adds edge features; the usual code (PyG's) puts the ReLU on messages.
    """

    eps: Tensor
    first_eps: float

    def __init__(
        self,
        mlp: nn.Module,
        dim: int,
        *,
        edge_dim: int | None = None,
        eps: float = 0.0,
        train_eps: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GINEConvolution", device, dtype)
        self.dim = check_size("GINEConvolution", "dim", dim)
        self.edge_dim = (
            dim if edge_dim is None else check_size("GINEConvolution", "edge_dim", edge_dim)
        )
        self.edge_proj = None if edge_dim is None else nn.Linear(edge_dim, dim, **made)
        self.mlp = mlp
        _register_eps(self, eps, train_eps, made)

    def reset_parameters(self) -> None:
        """Draw all weights anew, those of the MLP included, and set ``eps`` to its first value."""
        if self.edge_proj is not None:
            self.edge_proj.reset_parameters()
        reset(self.mlp)
        _reset_eps(self)

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
            refuse("GINEConvolution", others, "source", "edge")
        source = x if source is None else source
        check_features("GINEConvolution", "x", x, self.dim, "dim")
        _check_alike("GINEConvolution", x, source, graph)
        if edge is None:
            raise ArgumentError(
                f"GINEConvolution: edge is missing, but messages are made with it. Pass edge of "
                f"shape [edges, {self.edge_dim}], or use GINConvolution."
            )
        check_features("GINEConvolution", "edge", edge, self.edge_dim, "edge_dim")
        check_edges("GINEConvolution", edge, source, graph)
        of_edges = edge if self.edge_proj is None else self.edge_proj(edge)
        message = F.relu(from_sources(source, graph) + of_edges)
        return self.mlp((1.0 + self.eps) * x + onto_targets(message, graph))

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, edge_dim={self.edge_dim}, eps={self.first_eps:g}, "
            f"train_eps={isinstance(self.eps, nn.Parameter)}"
        )


def _register_eps(
    layer: GINConvolution | GINEConvolution, eps: float, train: bool, made: Factory
) -> None:
    layer.first_eps = float(eps)
    value = torch.tensor(layer.first_eps, **made)
    if train:
        layer.register_parameter("eps", nn.Parameter(value))
    else:
        layer.register_buffer("eps", value)


def _reset_eps(layer: GINConvolution | GINEConvolution) -> None:
    with torch.no_grad():
        layer.eps.fill_(layer.first_eps)


def _check_alike(owner: str, x: Tensor, source: Tensor, graph: Graph) -> None:
    check_tensor(owner, "x", x)
    check_tensor(owner, "source", source)
    if x.ndim < 2 or source.ndim < 2 or x.shape[-1] != source.shape[-1]:
        raise ShapeError(  # adding would broadcast in silence
            f"{owner}: x and source must have shape [*batch, nodes, dim] with one dim, got "
            f"{list(x.shape)} and {list(source.shape)}. Project one of them first."
        )
    check_nodes(owner, x, graph)
