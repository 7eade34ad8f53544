"""Number of threads of a training step."""

from __future__ import annotations

import torch

from edgewise.training.batches import Batch
from edgewise.training.recipe import Recipe

__all__ = ["threads_for"]

_ENOUGH = 1 << 32  # operations of a layer from which several threads are faster


def threads_for(batch: Batch, recipe: Recipe) -> int:
    r"""One thread for small steps, otherwise all threads of torch.

    .. math::  8 N d^2 + 4 E d \ge 2^{32}

    operations a layer (``N`` nodes, ``E`` edges, width ``d``) are faster on several threads. Below,
    synchronization takes longer than computation; twenty times as long on a busy machine.
    """
    copies = batch.x.shape[:-2].numel()
    nodes, edges = batch.x.shape[-2], batch.graph.facts().max_edges
    work = copies * (8 * nodes * recipe.hidden**2 + 4 * edges * recipe.hidden)
    return torch.get_num_threads() if work >= _ENOUGH else 1
