"""The same numbers, stored in every way a tensor can be stored.

Whatever lies between the numbers is NaN, so that reading it shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAYOUTS = (
    "contiguous",
    "node-major",
    "nodes outermost",
    "channels outermost",
    "every other channel",
    "every other row",
    "every other head",
    "gaps between rows",
    "offset",
    "one row for all",
    "one head for all",
    "one batch for all",
    "one number for all channels",
)

_SPREAD = {"every other channel": -1, "every other row": -2, "every other head": -3}
_SHARED = {
    "one number for all channels": -1,
    "one row for all": -2,
    "one head for all": -3,
    "one batch for all": 0,
}


def lay(values: Tensor, layout: str) -> Tensor:
    """A copy with the given layout; contiguous where the tensor lacks the dimension.

    A layout "one ... for all" has stride 0, so there its numbers are those of the first entry.
    """
    dims = values.ndim
    match layout:
        case "node-major" if dims > 2:
            return (
                values.transpose(-3, -2)
                .clone(memory_format=torch.contiguous_format)
                .transpose(-3, -2)
            )
        case "nodes outermost" if dims > 1:
            return values.movedim(-2, 0).clone(memory_format=torch.contiguous_format).movedim(0, -2)
        case "channels outermost" if dims > 1:
            return values.movedim(-1, 0).clone(memory_format=torch.contiguous_format).movedim(0, -1)
        case "gaps between rows":
            return _within(values, (*values.shape[:-1], values.shape[-1] + 3), -1, 1)
        case "offset":
            flat = values.new_full((values.numel() + 3,), torch.nan)
            flat[3:] = values.flatten()
            return flat[3:].view(values.shape)
        case _ if layout in _SPREAD and dims >= -_SPREAD[layout]:
            dim = _SPREAD[layout]
            wide = list(values.shape)
            wide[dim] *= 2
            return _within(values, tuple(wide), dim, 2)
        case _ if layout in _SHARED and dims > max(0, -_SHARED[layout] - 1):
            dim = _SHARED[layout]
            return values.narrow(dim, 0, min(1, values.shape[dim])).clone().expand(values.shape)
    return values.clone(memory_format=torch.contiguous_format)


def _within(values: Tensor, wide: tuple[int, ...], dim: int, step: int) -> Tensor:
    buffer = values.new_full(wide, torch.nan)
    places = [slice(None)] * values.ndim
    places[dim] = slice(0, values.shape[dim] * step, step)
    view = buffer[tuple(places)]
    view.copy_(values)
    return view
