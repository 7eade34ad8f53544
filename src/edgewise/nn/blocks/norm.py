"""Norms by name: one spelling for every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.nn.checks import check_choice, check_size, check_tensor
from edgewise.nn.layer import Layer, factory

__all__ = ["BatchNorm", "norm_named"]

_KNOWN = ("layer", "rms", "batch", None)
_EPS = 1e-5


class BatchNorm(Layer, nn.BatchNorm1d):
    r"""Batch normalization over all nodes of all graphs: ``[*batch, N, dim]``.

    .. math::  y = \gamma \, \frac{x - \mathrm{mean}_{b, n}\, x}
               {\sqrt{\mathrm{var}_{b, n}\, x + \epsilon}} + \beta

    `torch.nn.BatchNorm1d` takes the second axis for the features; here they are the last. All
    else is as there.

    Args:
        dim: Features of every node.
        eps: Added to the variance.
        momentum: Share of the newest batch in the running mean and variance; None for the mean
            over all batches.
        affine: Whether there are ``gamma`` and ``beta``.
        track_running_stats: Whether evaluation uses the running mean and variance.
        device: Of the new parameters and buffers; torch's default when left out.
        dtype: Of the new parameters and buffers, floating; torch's default when left out.

    Shape:
        - input: ``[*batch, N, dim]``, floating.
        - result: as ``input``.

    Example:
        >>> import torch
        >>> BatchNorm(8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    References:
        Ioffe, Szegedy. Batch Normalization. 2015, arXiv:1502.03167, section 3.
    """

    def __init__(
        self,
        dim: int,
        *,
        eps: float = _EPS,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = factory("BatchNorm", device, dtype)
        super().__init__(
            check_size("BatchNorm", "dim", dim),
            eps,
            momentum,
            affine,
            track_running_stats,
            **made,
        )

    def reset_parameters(self) -> None:
        """Set scale, shift, running mean and variance to one, zero, zero and one."""
        nn.BatchNorm1d.reset_parameters(self)

    def forward(self, input: Tensor) -> Tensor:
        check_tensor("BatchNorm", "input", input)
        return super().forward(input.flatten(0, -2)).reshape(input.shape)


def norm_named(
    owner: str,
    norm: str | None,
    dim: int,
    eps: float | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """The norm of that name over ``dim`` features; the identity for None.

    Args:
        owner: Name of the layer, for messages.
        norm: ``"layer"``, ``"rms"``, ``"batch"`` or None.
        dim: Features.
        eps: Added to the variance; 1e-5 when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> norm_named("Block", "layer", 8)
        LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
    """
    check_choice(owner, "norm", norm, _KNOWN)
    eps = _EPS if eps is None else eps
    made = factory(owner, device, dtype)
    match norm:
        case "layer":
            return nn.LayerNorm(dim, eps, **made)
        case "rms":
            return nn.RMSNorm(dim, eps, **made)
        case "batch":
            return BatchNorm(dim, eps=eps, **made)
        case _:
            return nn.Identity()
