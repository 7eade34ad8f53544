"""Folds: plans that run equal graphs side by side as a batch of one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.planning.plan import Plan
from edgewise.planning.prepared import Prepared
from edgewise.problem import AttentionSignature

__all__ = ["Fold", "PreparedFold"]

_NODES = ("query", "key", "value")


@dataclass(frozen=True)
class Fold(Plan):
    r"""A plan that runs one graph on a batch, instead of its copies side by side.

    .. math::  \mathrm{attend}(G \sqcup \dots \sqcup G, q, k, v) =
               \mathrm{attend}(G, q', k', v'), \qquad q'_{c} = q_{cn : (c + 1) n}

    Attributes:
        copies: How many copies stand side by side.
        inner: The plan of one copy, on a batch of all.
    """

    copies: int
    inner: Plan

    @property
    def name(self) -> str:
        return f"batch({self.inner.name})"

    @property
    def spreads(self) -> bool:
        return self.inner.spreads

    def prepare(self) -> PreparedFold:
        return PreparedFold(self.problem.signature, self.copies, self.inner.prepared)

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": "batch",
            "graph": repr(self.problem.graph),
            "copies": self.copies,
            "seconds": self.seconds,
            "memory": self.memory,
            "inner": self.inner.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class PreparedFold(Prepared):
    """A prepared fold: one graph on a batch.

    Attributes:
        signature: Of the problem that was planned.
        copies: How many copies stand side by side.
        inner: The prepared plan of one copy, which runs on the batch.
    """

    signature: AttentionSignature
    copies: int
    inner: Prepared

    def attend(self, inputs: Inputs) -> Tensor:
        return _unfolded(self.inner.attend(self._folded_inputs(inputs)))

    def forward(self, inputs: Inputs) -> AttentionState:
        state = self.inner.forward(self._folded_inputs(inputs))
        return AttentionState(_unfolded(state.out), _unfolded(state.lse[..., None])[..., 0])

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        def sums(tensor: Tensor) -> Tensor:
            return self._folded(tensor[..., None])[..., 0]

        leaves = self._folded_inputs(inputs).leaves(like=inputs)
        folded = AttentionState(self._folded(state.out), sums(state.lse))
        grads = self.inner.backward(leaves, folded, self._folded(grad_out), sums(grad_lse))
        return {name: _unfolded(grad) if name in _NODES else grad for name, grad in grads.items()}

    def _folded_inputs(self, inputs: Inputs) -> Inputs:
        tensors = inputs.tensors()
        return inputs.with_tensors({name: self._folded(tensors[name]) for name in _NODES})

    def _folded(self, tensor: Tensor) -> Tensor:
        """``[*batch, H, copies * n, D]`` as ``[*batch, copies, H, n, D]``: a view."""
        nodes = tensor.shape[-2] // self.copies
        return tensor.unflatten(-2, (self.copies, nodes)).movedim(-3, -4)


def _unfolded(tensor: Tensor) -> Tensor:
    """``[*batch, copies, H, n, D]`` as ``[*batch, H, copies * n, D]``: the inverse of `_folded`."""
    return tensor.movedim(-4, -3).flatten(-3, -2)
