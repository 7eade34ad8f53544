"""Laplacian encodings of a data set, computed once before training."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.graphs import EdgeList
from edgewise.nn import laplacian_eigenvectors
from edgewise.training.data import GraphDataset, Shared

__all__ = ["laplacian_encoding"]


def laplacian_encoding(data: GraphDataset, k: int) -> Tensor:
    r"""The ``k`` smoothest Laplacian eigenvectors of every graph, scaled to entries of order one.

    An eigenvector has norm 1, so its entries shrink as graphs grow; times :math:`\sqrt{N}` they
    stay comparable to features.

    Returns:
        ``[N, k]``, for the nodes of all graphs; for those of one where all share one topology.
    """
    topology = data.topology
    if isinstance(topology, Shared):
        return laplacian_eigenvectors(topology.graph, k) * topology.graph.num_targets**0.5
    whole = topology.whole()
    graph = EdgeList(whole.edge_index, num_nodes=whole.nodes.numel())
    sizes = topology.sizes.to(torch.float32)
    return (
        laplacian_eigenvectors(graph, k) * sizes.sqrt().repeat_interleave(topology.sizes)[:, None]
    )
