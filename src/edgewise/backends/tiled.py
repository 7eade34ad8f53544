"""Tiled backends: matrices cut from a graph, computed by torch's fused attention for CPUs.

`Tiled` is the backend, written once. Its `Cutter` decides which graphs can be cut, what computing
them takes, and where the cuts lie.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor

from edgewise.backends.base import (
    Accepts,
    AttentionBackend,
    Refuses,
    refusals_of_edge_features,
    scale_of,
)
from edgewise.graphs import recall
from edgewise.ops import cpu_flash
from edgewise.ops.cpu_flash import Pieces, Tables, above_zero
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import is_intercepted
from edgewise.problem import AttentionProblem, AttentionSignature

__all__ = ["Cut", "Cutter", "Tiled", "TracedPieces", "hides"]

_VECTOR = 32  # numbers; twice as many as any processor has


class TracedPieces(Protocol):
    """The pieces of a graph in plain torch operations, which torch can trace and differentiate."""

    def forward(self, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output ``[*batch, H, T, Dv]`` and log-sum-exp ``[*batch, H, T]``.

        Args:
            tensors: Query ``[*batch, H, T, D]``, key ``[*batch, G, S, D]``, value
                ``[*batch, G, S, Dv]``.
            scale: Factor of the scores.
        """
        ...


@dataclass(frozen=True, eq=False)
class Cut:
    """A graph that is cut into pieces, for both ways to run them.

    Attributes:
        eager: The pieces for torch's kernel.
        traced: The pieces in plain torch operations: for compilers, tracers, ``torch.func`` and
            second derivatives.
    """

    eager: Pieces
    traced: TracedPieces

    def attention(self, signature: AttentionSignature, inputs: Inputs) -> AttentionState:
        """Output and log-sum-exp by torch's kernel, differentiable any number of times."""
        if _is_empty(inputs):
            tensors = (inputs.query, inputs.key, inputs.value)
            return AttentionState(*self.traced.forward(tensors, scale_of(signature)))
        query, scale = above_zero(inputs.query, scale_of(signature))
        out, lse = cpu_flash.attention(
            lambda tables: self.traced.forward(tables, scale),
            self.eager,
            scale,
            (query, inputs.key, inputs.value),
        )
        return AttentionState(out, lse)

    def gradients(
        self,
        signature: AttentionSignature,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        """The gradients of `AttentionBackend.backward`, by torch's kernel."""
        tensors = {name: t for name, t in inputs.tensors().items() if t.requires_grad}
        if _is_empty(inputs):
            return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        factor = scale_of(signature)
        query, scale = above_zero(inputs.query, factor)
        of_query, of_key, of_value = cpu_flash.gradients(
            self.eager,
            scale,
            (query, inputs.key, inputs.value),
            (state.out, state.lse),
            grad_out,
            grad_lse,
        )
        if scale != factor:
            of_query = of_query * (factor / scale)
        grads = {"query": of_query, "key": of_key, "value": of_value}
        return {name: grads[name] for name in tensors}


def _is_empty(inputs: Inputs) -> bool:
    """Whether a batch has no entries: torch's kernel divides by their number."""
    return not inputs.query.shape[:-2].numel()


class Cutter(Protocol):
    """A cutter: a way to cut graphs into matrices for torch's kernel."""

    @property
    def pieces(self) -> str:
        """The plural of what it cuts graphs into, for messages: ``tiles``."""
        ...

    def graph_refusal(self, problem: AttentionProblem) -> str | None:
        """The reason why the graph of a problem cannot be cut, with a cure; None where it can."""
        ...

    def accept(self, problem: AttentionProblem) -> Accepts:
        """The cost of computing the pieces; pure and cheap."""
        ...

    def key(self, problem: AttentionProblem) -> Hashable:
        """The values on which the cut depends besides the graph."""
        ...

    def cut(self, problem: AttentionProblem) -> Cut:
        """The pieces; called once for each graph and `key`, and kept with the graph."""
        ...


@final
class Tiled(AttentionBackend):
    """Attention on the pieces of a graph: torch's fused kernel where nothing traces the call.

    Args:
        name: What users write in ``backend="..."``.
        cutter: How graphs are cut.
    """

    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True

    def __init__(self, name: str, cutter: Cutter) -> None:
        self.name = name
        self.cutter = cutter

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem, self.cutter.pieces, self.cutter.graph_refusal(problem))
        return Refuses(tuple(reasons)) if reasons else self.cutter.accept(problem)

    def prepare_attention(self, problem: AttentionProblem) -> Cut:
        key = (self.name, self.cutter.key(problem))
        return recall(problem.graph, key, lambda: self.cutter.cut(problem))

    def forward(
        self, signature: AttentionSignature, prepared: Cut, inputs: Inputs
    ) -> AttentionState:
        tensors = (inputs.query, inputs.key, inputs.value)
        if is_intercepted(tensors):
            return AttentionState(*prepared.traced.forward(tensors, scale_of(signature)))
        return prepared.attention(signature, inputs)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: Cut,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        return prepared.gradients(signature, inputs, state, grad_out, grad_lse)


def _refusals(problem: AttentionProblem, pieces: str, graph: str | None) -> list[str]:
    """The reasons why torch's kernel cannot compute a problem, as sentences.

    Args:
        problem: The planned call.
        pieces: What the cutter cuts graphs into.
        graph: The reason why the graph cannot be cut, if any.
    """
    reasons: list[str] = []
    if problem.device.type != "cpu":
        reasons.append(f"{pieces} run on the CPU, not on {problem.device.type}; move the tensors")
    if graph is not None:
        reasons.append(graph)
    if not isinstance(problem.score, Dot) or problem.score.softcap is not None:
        reasons.append("torch's fused attention knows no score but Dot without a soft cap")
    if problem.bias is not None:
        reasons.append(f"{pieces} take no {problem.bias} bias; leave it out")
    reasons += refusals_of_edge_features(problem, pieces)
    if problem.dropout:
        reasons.append("torch's dropout cannot be repeated edge by edge; set dropout=0")
    return reasons


def hides(problem: AttentionProblem, columns: int) -> bool:
    """Whether torch's kernel may make finite numbers of scores that are not.

    In half precision its exponential makes a number of NaN. The maximum of a row leaves NaN out
    where it has fewer columns than a vector, and a row without a maximum becomes zeros. Where all
    scores of a row are minus infinity, its log-sum-exp is zero.

    Args:
        problem: The planned call.
        columns: Columns of the narrowest matrix.
    """
    return problem.dtype.itemsize == 2 or columns < _VECTOR or problem.wants_lse
