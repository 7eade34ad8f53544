"""The class that layers and models are made from: a torch module that runs as Python."""

from __future__ import annotations

from typing import NoReturn

from torch import nn

from edgewise.errors import ArgumentError

__all__ = ["Layer"]


class Layer(nn.Module):
    """A `torch.nn.Module` that `torch.jit.script` cannot compile: the error has one sentence.

    TorchScript compiles a part of Python that has no type for a graph. Compilers and exporters that
    run the code (`torch.compile`, `torch.export`, `torch.jit.trace`) take it.
    """

    def __prepare_scriptable__(self) -> NoReturn:
        raise ArgumentError(
            f"torch.jit.script: {type(self).__name__} is Python that TorchScript cannot compile, "
            f"which has no type for a graph. Use torch.export, torch.compile or torch.jit.trace."
        )
