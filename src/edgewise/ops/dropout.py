r"""Dropout of attention weights as a pure function of (seed, head, target, source).

The mask does not depend on the order of edges, the number of threads or the backend, so the same
seed gives the same mask in every plan, and a plan that splits a graph drops the same edges as one
that does not. Copies of an edge are distinguished by their number.

Each counter passes through a 32-bit avalanche hash (multiply and xor-shift; constants of
Ettinger and Wellons' hash prospector), in int64 arithmetic that never overflows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import ArgumentError

__all__ = ["draw_seed", "dropout_multiplier"]

_LOW = 0xFFFFFFFF
_FIRST = 0x21F0AAAD
_SECOND = 0xD35A2D97 - 2**32  # the same multiplier modulo 2**32, small enough not to overflow


def draw_seed(generator: torch.Generator | None) -> Tensor:
    """A fresh seed from a generator (torch's default one when None): int64, no dimensions."""
    if not isinstance(generator, torch.Generator | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"generator must be a torch.Generator, got {type(generator).__name__}. Make one with "
            f"torch.Generator().manual_seed(seed)."
        )
    if generator is not None and torch.compiler.is_compiling():
        raise ArgumentError(
            "generator cannot be traced by torch.compile. Leave it out and seed "
            "torch's default generator with torch.manual_seed()."
        )
    device = "cpu" if generator is None else generator.device
    return torch.randint(0, 2**62, (), generator=generator, device=device)


def dropout_multiplier(
    seed: Tensor,
    probability: float,
    head: Tensor,
    target: Tensor,
    source: Tensor,
    copy: Tensor | None = None,
) -> Tensor:
    """0 where an edge is dropped, ``1 / (1 - probability)`` where it is kept; float32.

    Args:
        seed: int64, no dimensions.
        probability: Share of edges to drop, in ``[0, 1)``.
        head: Number of each head, batch included; int64, broadcasts with the rest.
        target: Targets, int64.
        source: Sources, int64.
        copy: Number of equal edges before each edge; None if no edge occurs twice.
    """
    seed = seed.to(target.device)
    state = _mix(_mix((seed & _LOW) ^ (seed >> 32)) ^ head)
    state = _mix(_mix(state ^ target) ^ source)
    if copy is not None:
        state = torch.where(copy > 0, _mix(state ^ copy), state)
    keep = state >= int(probability * 2**32)
    return keep.to(torch.float32) / (1.0 - probability)


def _mix(x: Tensor) -> Tensor:
    x = x & _LOW
    x = x ^ (x >> 16)
    x = (x * _FIRST) & _LOW
    x = x ^ (x >> 15)
    x = (x * _SECOND) & _LOW
    return x ^ (x >> 15)
