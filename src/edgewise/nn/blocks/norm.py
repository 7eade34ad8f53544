"""Norms by name: one spelling for every block."""

from __future__ import annotations

from torch import Tensor, nn

from edgewise.nn.checks import check_choice, check_tensor
from edgewise.nn.layer import Layer

__all__ = ["BatchNorm", "norm_named"]

_KNOWN = ("layer", "rms", "batch", None)
_EPS = 1e-5


class BatchNorm(Layer, nn.BatchNorm1d):
    r"""Batch normalization over all nodes of all graphs: ``[*batch, N, dim]``.

    .. math::  y = \gamma \, \frac{x - \mathrm{mean}_{b, n}\, x}
               {\sqrt{\mathrm{var}_{b, n}\, x + \epsilon}} + \beta

    `torch.nn.BatchNorm1d` takes the second axis for the features; here they are the last.

    Example:
        >>> import torch
        >>> BatchNorm(8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    References:
        Ioffe, Szegedy. Batch Normalization. 2015, arXiv:1502.03167, section 3.
    """

    def forward(self, input: Tensor) -> Tensor:
        check_tensor("BatchNorm", "input", input)
        return super().forward(input.flatten(0, -2)).reshape(input.shape)


def norm_named(owner: str, norm: str | None, dim: int, eps: float | None = None) -> nn.Module:
    """The norm of that name over ``dim`` features; the identity for None.

    Args:
        owner: Who asks, for the message.
        norm: ``"layer"``, ``"rms"``, ``"batch"`` or None.
        dim: Features.
        eps: Added to the variance; 1e-5 when left out.

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> norm_named("Block", "layer", 8)
        LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
    """
    check_choice(owner, "norm", norm, _KNOWN)
    eps = _EPS if eps is None else eps
    match norm:
        case "layer":
            return nn.LayerNorm(dim, eps)
        case "rms":
            return nn.RMSNorm(dim, eps)
        case "batch":
            return BatchNorm(dim, eps)
        case _:
            return nn.Identity()
