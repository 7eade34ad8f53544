"""Prepared plans: plans ready to run. They hold the lowered graph, and never the graph itself.

A graph stores its prepared plans; a plan that held the graph would keep it alive for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgewise.backends import AggregateBackend, AttentionBackend
from edgewise.graphs.cache import lasting
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.problem import AggregateSignature, AttentionSignature

__all__ = ["FastPath", "Prepared", "PreparedAggregate", "PreparedRun"]

FastPath = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of query, key and value of the shapes, strides and dtypes it was made for."""


class Prepared(ABC):
    """A prepared plan: attention over one graph, ready to run on the tensors of a call."""

    signature: AttentionSignature

    @abstractmethod
    def attend(self, inputs: Inputs) -> Tensor:
        """The output ``[*batch, H, T, Dv]``."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> AttentionState:
        """The output with its log-sum-exp ``[*batch, H, T]``."""

    @abstractmethod
    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        """Gradients of this graph's edges, from the global state; see `AttentionBackend`."""

    def fast_path(self, inputs: Inputs) -> FastPath | None:
        """`attend` without checks, for tensors of the same layout; None if there is none."""
        return None


@dataclass(frozen=True, eq=False)
class PreparedRun(Prepared):
    """A prepared plan of attention by one backend over the whole graph.

    Attributes:
        signature: Of the problem that was planned.
        backend: The backend.
        lowered: What `prepare_attention` of the backend returned.
    """

    signature: AttentionSignature
    backend: AttentionBackend
    lowered: Any

    def attend(self, inputs: Inputs) -> Tensor:
        with _full_precision(self.signature.device):
            return self.backend.attend(self.signature, self.lowered, inputs)

    def forward(self, inputs: Inputs) -> AttentionState:
        with _full_precision(self.signature.device):
            return self.backend.forward(self.signature, self.lowered, inputs)

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        return self.backend.backward(
            self.signature, self.lowered, inputs, state, grad_out, grad_lse
        )

    def fast_path(self, inputs: Inputs) -> FastPath | None:
        with torch.no_grad(), lasting():
            return self.backend.shortcut(self.signature, self.lowered, inputs)


@dataclass(frozen=True, eq=False)
class PreparedAggregate:
    """A prepared plan of sums by one backend; attributes as of `PreparedRun`."""

    signature: AggregateSignature
    backend: AggregateBackend
    lowered: Any

    def aggregate(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """Sum, mean or maximum over the sources of each target: ``[*batch, T, C]``."""
        with _full_precision(self.signature.device):
            return self.backend.aggregate(self.signature, self.lowered, value, weight)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the dtype of the inputs: autocast must not lower it in one backend only."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
