"""How many threads a training step is worth."""

from __future__ import annotations

import torch

from edgewise.training.batches import Batch
from edgewise.training.recipe import Recipe

__all__ = ["threads_for"]

_ENOUGH = 1 << 32  # operations of one layer that pay for waking up other threads


def threads_for(batch: Batch, recipe: Recipe) -> int:
    r"""One for small steps, otherwise all that torch may use.

    .. math::  8 N d^2 + 4 E d \ge 2^{32}

    operations a layer (``N`` nodes, ``E`` edges, width ``d``) are a step worth sharing. Below,
    threads wait for each other longer than they compute, and on a busy machine twenty times so.
    """
    copies = batch.x.shape[:-2].numel()
    nodes, edges = batch.x.shape[-2], batch.graph.facts().max_edges
    work = copies * (8 * nodes * recipe.hidden**2 + 4 * edges * recipe.hidden)
    return torch.get_num_threads() if work >= _ENOUGH else 1
