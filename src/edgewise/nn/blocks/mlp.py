"""Multi-layer perceptrons: the part of a block that is applied to each node by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.nn.blocks.activation import ACTIVATIONS
from edgewise.nn.checks import check_choice, check_features, check_rate, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["MLP"]

_GATED = "swiglu"


class MLP(Layer):
    r"""Two linear layers with an activation between them, at every node alike.

    .. math::
        y = W_{down} \, \phi(W_{up} x), \qquad
        y = W_{down} \, (\mathrm{silu}(W_{gate} x) \odot W_{up} x) \quad \text{for "swiglu"}

    Args:
        dim: Features of every node before.
        hidden: Features between the two layers.
        out_dim: Features after; ``dim`` when left out.
        activation: ``"relu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` (GPT-2's approximation),
            ``"silu"``, ``"elu"``, or ``"swiglu"``, which has a third projection.
        dropout: Share of hidden features dropped in training.
        bias: Whether the linear layers have a bias.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - result: ``[*batch, N, out_dim]``.

    Raises:
        ArgumentError: an unknown activation, or a size or share out of range.
        ShapeError: ``x`` has another number of features.

    Complexity: O(N dim hidden).

    Example:
        >>> import torch
        >>> MLP(8, 32, activation="gelu")(torch.randn(5, 8)).shape
        torch.Size([5, 8])
        >>> MLP(8, 32, activation="tanhh")
        Traceback (most recent call last):
        ...
        edgewise.errors.ArgumentError: MLP: activation must be one of 'relu', 'gelu', ...

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.3.
        Shazeer. GLU Variants Improve Transformer. 2020, arXiv:2002.05202, section 2.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        out_dim: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("MLP", device, dtype)
        check_choice("MLP", "activation", activation, [*ACTIVATIONS, _GATED])
        self.dim = check_size("MLP", "dim", dim)
        self.hidden = check_size("MLP", "hidden", hidden)
        self.out_dim = check_size("MLP", "out_dim", dim if out_dim is None else out_dim)
        self.activation = activation
        gated = activation == _GATED
        self.gate_proj = nn.Linear(dim, hidden, bias=bias, **made) if gated else None
        self.up_proj = nn.Linear(dim, hidden, bias=bias, **made)
        self.down_proj = nn.Linear(hidden, self.out_dim, bias=bias, **made)
        self.dropout = nn.Dropout(check_rate("MLP", "dropout", dropout))

    def reset_parameters(self) -> None:
        """Draw new weights, as `torch.nn.Linear` does."""
        for projection in (self.gate_proj, self.up_proj, self.down_proj):
            if projection is not None:
                projection.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        check_features("MLP", "x", x, self.dim, "dim")
        if self.gate_proj is None:
            hidden = ACTIVATIONS[self.activation](self.up_proj(x))
        else:
            hidden = ACTIVATIONS["silu"](self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(self.dropout(hidden))

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.hidden}, out_dim={self.out_dim}, activation={self.activation!r}"
