"""Activations by name: one spelling for every layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from edgewise.nn.checks import check_choice

__all__ = ["ACTIVATIONS", "Activation", "activation_named"]

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),  # GPT-2's, "gelu_new" in its code
    "silu": F.silu,
    "elu": F.elu,
}


def activation_named(owner: str, activation: str | Activation) -> Activation:
    """The function of that name; a function (or module) stands for itself.

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> import torch
        >>> activation_named("MLP", "relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if isinstance(activation, str):
        check_choice(owner, "activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]
    return activation
