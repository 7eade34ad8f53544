"""The contracts of backends: each is one way to compute; it judges, prepares and computes.

No backend imports another backend. It accepts a problem with a cost, or refuses it with every
reason as a sentence; it never falls back to something else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState
from edgewise.problem import (
    AggregateProblem,
    AggregateSignature,
    AttentionProblem,
    AttentionSignature,
    Problem,
)

__all__ = [
    "LONG_WAY",
    "Accepts",
    "AggregateBackend",
    "AttentionBackend",
    "Backend",
    "Refuses",
    "Work",
    "backward_by_recomputation",
    "refusals_of_edge_features",
    "scale_of",
]

LONG_WAY = 4.0  # calls, where a backend has a shortcut and a problem cannot take it


class Work(NamedTuple):
    """The work of a problem, counted in five operations; a machine has a price for each.

    Attributes:
        products: Target-source pairs, times heads, times channels: multiply-adds.
        entries: Target-source pairs, times heads: masks and exponentials.
        numbers: Numbers read or written once, whatever the edges: nodes, times channels.
        misses: Bytes of rows that edges read from beyond the caches.
        calls: Kernels that are started.
    """

    products: float
    entries: float
    numbers: float
    misses: float = 0.0
    calls: float = 1.0


@dataclass(frozen=True)
class Accepts:
    """The backend can run the problem, at this price.

    Attributes:
        work: The operations; the planner has their prices on this machine.
        memory: Largest extra memory while running, in bytes; an estimate that errs upwards.
        way: The name of how it is computed, in a word or two; each way has prices of its own.
        pairs: Target-source pairs that are worked on, edges or not; None where only edges are.
        on_request: Why ``"auto"`` does not choose it all the same, as a sentence with a cure.
        spreads: Whether a NaN or an infinity may reach rows that do not read it, because pairs
            that are no edges are multiplied by zero.
        hides: Whether it may make a finite result of a query or a key that is not finite.
    """

    work: Work
    memory: int
    way: str
    pairs: float | None = None
    on_request: str | None = None
    spreads: bool = False
    hides: bool = False


@dataclass(frozen=True)
class Refuses:
    """The backend cannot run the problem.

    Attributes:
        reasons: Every reason, each a sentence with its cure.
    """

    reasons: tuple[str, ...]


class Backend(ABC):
    """The base of all backends: each is an `AttentionBackend`, an `AggregateBackend`, or both.

    Attributes:
        name: What users write in ``backend="..."``.
        twice_differentiable: Whether gradients of gradients work.
        forward_mode: Whether tangents are carried forward, as by ``torch.func.jvp``.
        plain_operations: Whether exporters that support torch's operations alone can record it.
    """

    name: str
    twice_differentiable: ClassVar[bool]
    forward_mode: ClassVar[bool] = False
    plain_operations: ClassVar[bool] = False

    def judge(self, problem: Problem) -> Accepts | Refuses:
        """Accept with a cost, or refuse with every reason; pure, cheap, never raises."""
        if isinstance(problem, AttentionProblem) and isinstance(self, AttentionBackend):
            return self.judge_attention(problem)
        if isinstance(problem, AggregateProblem) and isinstance(self, AggregateBackend):
            return self.judge_aggregate(problem)
        operation = "attention" if isinstance(self, AttentionBackend) else "sums"
        return Refuses((f"computes {operation} alone; use native or gather",))

    def note(self, problem: Problem) -> str | None:
        """A sentence about the lowered graph, if any; may lower the graph."""
        return None


class AttentionBackend(Backend):
    """A backend that computes attention."""

    @abstractmethod
    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        """Accept with a cost, or refuse with every reason; pure, cheap, never raises."""

    @abstractmethod
    def prepare_attention(self, problem: AttentionProblem) -> Any:
        """Lower the graph once; the result is passed to every call below as ``prepared``."""

    @abstractmethod
    def forward(
        self, signature: AttentionSignature, prepared: Any, inputs: Inputs
    ) -> AttentionState:
        """Output and log-sum-exp, differentiable by autograd."""

    def attend(self, signature: AttentionSignature, prepared: Any, inputs: Inputs) -> Tensor:
        """Output alone; overridden by backends that are faster without the log-sum-exp."""
        return self.forward(signature, prepared, inputs).out

    def shortcut(
        self, signature: AttentionSignature, prepared: Any, inputs: Inputs
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The fast path: `attend` for query, key and value of the same shapes, strides and dtypes.

        Made only where nothing else is computed on, and called only by eager code on tensors in
        memory. None where the backend has none.
        """
        return None

    @abstractmethod
    def backward(
        self,
        signature: AttentionSignature,
        prepared: Any,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        r"""Gradients of this graph's part in a possibly larger whole.

        .. math::  dS_{ij} = w_{ij} (dout_i \cdot v_j - dout_i \cdot out_i + dlse_i)

        Args:
            signature: Of the problem that was planned.
            prepared: What `prepare_attention` returned.
            inputs: The tensors of the forward pass.
            state: The **global** output and log-sum-exp: of the whole graph, not of this part.
            grad_out: Gradient of the output.
            grad_lse: Gradient of the log-sum-exp.

        Returns:
            A gradient for each of `Inputs.tensors` that requires one.
        """


class AggregateBackend(Backend):
    """A backend that computes sums, means or maxima over the sources of targets."""

    @abstractmethod
    def judge_aggregate(self, problem: AggregateProblem) -> Accepts | Refuses:
        """Accept with a cost, or refuse with every reason; pure, cheap, never raises."""

    @abstractmethod
    def prepare_aggregate(self, problem: AggregateProblem) -> Any:
        """Lower the graph once; the result is passed to `aggregate` as ``prepared``."""

    @abstractmethod
    def aggregate(
        self, signature: AggregateSignature, prepared: Any, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        """Sum, mean or maximum over the sources of each target.

        Args:
            signature: Of the problem that was planned.
            prepared: What `prepare_aggregate` returned.
            value: ``[*batch, S, C]``.
            weight: ``[*batch|1, E]``, in edge order.

        Returns:
            ``[*batch, T, C]``.
        """


TensorPair = tuple[Tensor, Tensor]


def backward_by_recomputation(
    inputs: Inputs,
    scores_and_values: Callable[[Inputs], TensorPair],
    gradients: Callable[[Tensor, Tensor], TensorPair],
) -> Mapping[str, Tensor]:
    """Gradients of the inputs, from recomputed scores and values and their gradients.

    Args:
        inputs: The tensors of the forward pass.
        scores_and_values: Function from `Inputs` to (scores, values) in the backend's own layout.
        gradients: Function from (scores, values) to their gradients, from the global state.
    """
    leaves = inputs.leaves()
    trained = {name: leaf for name, leaf in leaves.tensors().items() if leaf.requires_grad}
    with torch.enable_grad():
        scores, values = scores_and_values(leaves)
    with torch.no_grad():
        grad_scores, grad_values = gradients(scores.detach(), values.detach())
    pairs = [
        (out, grad)
        for out, grad in ((scores, grad_scores), (values, grad_values))
        if out.requires_grad
    ]
    if not pairs or not trained:
        return {}
    grads: Any = torch.autograd.grad(
        [out for out, _ in pairs],
        list(trained.values()),
        [grad for _, grad in pairs],
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(trained.items(), grads, strict=True)
    }


def refusals_of_edge_features(problem: AttentionProblem, pieces: str) -> list[str]:
    """The refusals of edge tensors, by a backend that does not compute edge by edge: sentences.

    Args:
        problem: The planned call.
        pieces: What the backend computes on, in the plural.
    """
    return [
        f"{name} belongs to edges, not to {pieces}; leave it out"
        for name in ("edge_key", "edge_value")
        if getattr(problem, name)
    ]


def scale_of(signature: AttentionSignature) -> float:
    """The factor of the scores, which are `Dot`."""
    assert isinstance(signature.score, Dot)
    return signature.score.factor(signature.head_dim)
