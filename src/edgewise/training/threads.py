"""How many threads a training step is worth, and how many torch may be given."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from edgewise.errors import ArgumentError
from edgewise.training.batches import Batch
from edgewise.training.recipe import Recipe

__all__ = ["check_threads", "threads_for", "threads_set"]

_ENOUGH = 1 << 32  # operations of one layer that pay for waking up other threads
_THREADS_PER_CORE = 4  # torch's own kernels crash at some thousand threads


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads below one, or far above the number of cores.

    Raises:
        ArgumentError: it is not from 1 to four times the cores of this machine.
    """
    if threads is None:
        return
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, got {threads}. Leave it out.")
    cores = os.cpu_count() or 1
    if threads > _THREADS_PER_CORE * cores:
        raise ArgumentError(
            f"threads must be at most {_THREADS_PER_CORE * cores}, four for each of {cores} "
            f"cores, got {threads}. Use --threads {cores}, or leave it out."
        )


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


@contextmanager
def threads_set(count: int) -> Generator[None]:
    """So many threads inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
