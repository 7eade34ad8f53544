"""Inputs: the tensors of a call of the operator, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from edgewise.ops.bias import Bias, EdgeBias

__all__ = ["Inputs"]

_TENSORS = ("query", "key", "value", "vector", "edge_key", "edge_value")


@dataclass(frozen=True, eq=False)
class Inputs:
    """The tensors of a call.

    Attributes:
        query: ``[*batch, H, T, D]``.
        key: ``[*batch, G, S, D]``; G divides H.
        value: ``[*batch, G, S, Dv]``.
        vector: ``[H, D]``: the learned vector of a GATv2 score.
        bias: Added to the scores.
        edge_key: ``[*batch|1, H|1, E, D]``: added to the key of each edge.
        edge_value: ``[*batch|1, H|1, E, Dv]``: added to the value of each edge.
        seed: int64, no dimensions: of the dropout mask.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    vector: Tensor | None = None
    bias: Bias | None = None
    edge_key: Tensor | None = None
    edge_value: Tensor | None = None
    seed: Tensor | None = None

    @property
    def has_edge_tensors(self) -> bool:
        """Whether any tensor has one entry for each edge."""
        biased = isinstance(self.bias, EdgeBias)
        return biased or self.edge_key is not None or self.edge_value is not None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that can receive a gradient, by name."""
        named = {name: getattr(self, name) for name in _TENSORS}
        named["bias"] = None if self.bias is None else self.bias.values
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Inputs:
        """The same call with other tensors under the given names."""
        bias = self.bias
        if bias is not None and "bias" in tensors:
            bias = bias.with_values(tensors["bias"])
        return replace(self, bias=bias, **{k: v for k, v in tensors.items() if k != "bias"})

    def leaves(self, like: Inputs | None = None) -> Inputs:
        """The same call on detached tensors; those that need a gradient in ``like`` still do.

        Args:
            like: The call whose tensors these are computed from, if it is another.
        """
        needs = (self if like is None else like).tensors()
        return self.with_tensors(
            {
                name: tensor.detach().requires_grad_(needs[name].requires_grad)
                for name, tensor in self.tensors().items()
            }
        )
