"""What a step of training costs, apart from time: parameters and memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgewise.errors import ArgumentError
from edgewise.planning.budget import as_text
from edgewise.training.data import GraphDataset
from edgewise.training.data.memory import available_memory
from edgewise.training.recipe import Recipe

__all__ = ["check_network_fits", "count_parameters", "peak_memory", "training_too_large"]

_BYTES = 16  # of a weight: itself, its gradient, and the two averages of Adam
_MATRICES = 8  # matrices of hidden x hidden in a block, at least


def check_network_fits(recipe: Recipe, data: GraphDataset) -> None:
    """Refuse settings whose network alone is larger than the memory that is free.

    Raises:
        ArgumentError: it is, by an estimate from below.
    """
    weights = recipe.hidden * (data.num_features + data.num_classes + recipe.encodings)
    if recipe.network == "blocks":
        weights += recipe.layers * _MATRICES * recipe.hidden**2
    needed = _BYTES * weights + 8 * recipe.encodings * data.topology.num_nodes
    available = available_memory()
    if needed > available:
        raise ArgumentError(
            f"hidden={recipe.hidden}, layers={recipe.layers} and encodings={recipe.encodings} take "
            f"about {as_text(needed)}, and {as_text(available)} of memory are free. Choose smaller "
            f"ones."
        )


def training_too_large(what: str) -> ArgumentError:
    """The error where memory ends in training."""
    return ArgumentError(
        f"{what}: training does not fit into the memory that is free. Use a smaller --hidden, "
        f"--layers or --batch, or leave it out of --rungs."
    )


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """Bytes that one call allocates at its worst moment, beyond what was there before.

    On a GPU this is what the allocator counts. On a CPU the profiler replays every allocation, so
    that the answer does not depend on what the process held before; memory that an operation
    takes and gives back inside itself is not seen.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to standard error
    profile: Any = torch.autograd.profiler.profile(profile_memory=True)
    collects = gc.isenabled()
    gc.disable()  # or something old might be freed inside the profile, which warns about that
    try:
        with profile:
            step()
    finally:
        if collects:
            gc.enable()
    now = peak = 0
    events: list[Any] = list(profile.function_events or [])
    for event in sorted(events, key=_end):
        now += event.self_cpu_memory_usage
        peak = max(peak, now)
    return int(peak)


def _end(event: Any) -> float:
    return event.time_range.end
