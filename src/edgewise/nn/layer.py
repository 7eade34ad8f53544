"""Base class of layers and models, and the keywords of device and dtype that all of them take."""

from __future__ import annotations

from typing import NoReturn, TypedDict

import torch
from torch import nn
from torch.types import Device

from edgewise.errors import ArgumentError

__all__ = ["Factory", "Layer", "factory", "reset"]


class Factory(TypedDict):
    """Keywords of whatever makes a tensor, for ``torch.empty(2, **made)``."""

    device: Device
    dtype: torch.dtype | None


def factory(owner: str, device: Device, dtype: torch.dtype | None) -> Factory:
    """Check the device and dtype of new parameters; None stands for torch's defaults.

    Raises:
        ArgumentError: the dtype is not floating.

    Example:
        >>> factory("MLP", "cpu", torch.int64)
        Traceback (most recent call last):
        ...
        edgewise.errors.ArgumentError: MLP: dtype must be floating, got torch.int64. ...
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"{owner}: dtype must be floating, got {dtype}. Use torch.float32, or leave it out."
        )
    return {"device": device, "dtype": dtype}


class Layer(nn.Module):
    """A `torch.nn.Module` whose parameters can be drawn anew, and which TorchScript cannot compile.

    Every layer and model with parameters takes ``device`` and ``dtype`` by keyword, as torch's
    modules do: its own parameters and buffers are made there. Modules that are passed in, such as
    the mixer of a `Block`, stay where they are.

    TorchScript has no type for a graph, so `torch.jit.script` raises one sentence. Compilers and
    exporters that run the code (`torch.compile`, `torch.export`, `torch.jit.trace`) take it.

    Example:
        >>> from edgewise.nn import MLP
        >>> layer = MLP(4, 8, device="meta")  # without memory
        >>> layer = layer.to_empty(device="cpu")
        >>> layer.reset_parameters()
    """

    def reset_parameters(self) -> None:
        """Draw all weights anew, those of modules that were passed in included."""
        for part in self.children():
            reset(part)

    def __prepare_scriptable__(self) -> NoReturn:
        raise ArgumentError(
            f"torch.jit.script: {type(self).__name__} is Python that TorchScript cannot compile, "
            f"which has no type for a graph. Use torch.export, torch.compile or torch.jit.trace."
        )


def reset(module: nn.Module) -> None:
    """Draw all weights of any module anew: by its ``reset_parameters``, or else part by part.

    `torch.nn.MultiheadAttention` and `torch.nn.Transformer` call it ``_reset_parameters``.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> before = model[0].weight.clone()
        >>> reset(model)
        >>> torch.equal(before, model[0].weight)
        False
    """
    for name in ("reset_parameters", "_reset_parameters"):
        method = getattr(module, name, None)
        if callable(method):
            method()
            return
    for part in module.children():
        reset(part)
