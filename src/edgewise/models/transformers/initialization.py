"""How the weights of published models start."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["normal_weights"]

_LAST = ("out_proj", "down_proj")  # what attention and MLP add to the residual


def normal_weights(model: nn.Module, std: float, *, last_std: float | None = None) -> None:
    r"""Draw all weights anew from a normal distribution, and set the biases to zero.

    .. math::  W \sim N(0, \text{std}^2), \qquad b = 0

    Norms are left as they are: they start at one and zero.

    Args:
        model: Whose linear maps, convolutions and embeddings are drawn.
        std: Standard deviation.
        last_std: Of the last projection of attention and MLP, which GPT-2 draws smaller by the
            square root of the number of residual branches; ``std`` when left out.

    Example:
        >>> layer = nn.Linear(200, 100)
        >>> normal_weights(layer, 0.02)
        >>> round(layer.weight.std().item(), 3), layer.bias.abs().max().item()
        (0.02, 0.0)

    References:
        Radford et al. Language Models are Unsupervised Multitask Learners. 2019, section 2.3.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            continue
        last = last_std is not None and name.rpartition(".")[2] in _LAST
        nn.init.normal_(module.weight, std=last_std if last and last_std is not None else std)
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.Tensor):
            nn.init.zeros_(bias)
