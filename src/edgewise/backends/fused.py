"""What backends on torch's fused attention for CPUs share: what it takes, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edgewise.ops import fused
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState
from edgewise.problem import AttentionProblem, AttentionSignature

__all__ = ["above_zero", "attention", "gradients", "hides", "refusals", "scale_of"]

_VECTOR = 32  # numbers; twice as many as any processor has
_SMALLEST = torch.finfo(torch.float32).tiny


def refusals(problem: AttentionProblem, pieces: str, graph: str | None) -> list[str]:
    """Why torch's kernel cannot compute a problem, as sentences.

    Args:
        problem: What is asked.
        pieces: What the backend cuts graphs into.
        graph: What is wrong with the graph, if anything.
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
    for name in ("edge_key", "edge_value"):
        if getattr(problem, name):
            reasons.append(f"{name} belongs to edges, not to {pieces}; leave it out")
    if problem.dropout:
        reasons.append("torch's dropout cannot be repeated edge by edge; set dropout=0")
    return reasons


def scale_of(signature: AttentionSignature) -> float:
    """The factor of the scores."""
    assert isinstance(signature.score, Dot)
    return signature.score.factor(signature.head_dim)


def hides(problem: AttentionProblem, columns: int) -> bool:
    """Whether torch's kernel may make finite numbers of scores that are not.

    In half precision its exponential makes a number of NaN. The maximum of a row leaves NaN out
    where it has fewer columns than a vector, and a row without a maximum becomes zeros. Where all
    scores of a row are minus infinity, it says that the log of their sum is zero.

    Args:
        problem: What is asked.
        columns: Columns of the narrowest matrix.
    """
    return problem.dtype.itemsize == 2 or columns < _VECTOR or problem.wants_lse


def above_zero(query: Tensor, scale: float) -> tuple[Tensor, float]:
    """The same scores with a factor above zero.

    Torch's kernels mask before they scale: minus infinity times zero is NaN, and times a negative
    factor it is infinity. Nothing changes where the factor is positive.
    """
    if scale >= _SMALLEST:
        return query, scale
    if scale <= -_SMALLEST:
        return -query, -scale
    return query * scale, 1.0


def attention(
    plain: Callable[[fused.Tables, float], tuple[Tensor, Tensor]],
    signature: AttentionSignature,
    pieces: fused.Pieces,
    inputs: Inputs,
) -> AttentionState:
    """Output and log-sum-exp of a graph cut into pieces.

    Args:
        plain: The same from query, key, value and scale in plain torch operations, for second
            derivatives.
        signature: Of the problem that was planned.
        pieces: Of the graph.
        inputs: The tensors of the call.
    """
    query, scale = above_zero(inputs.query, scale_of(signature))
    found = fused.attention(
        lambda tables: plain(tables, scale), pieces, scale, (query, inputs.key, inputs.value)
    )
    return AttentionState(*found)


def gradients(
    signature: AttentionSignature,
    pieces: fused.Pieces,
    inputs: Inputs,
    state: AttentionState,
    grad_out: Tensor,
    grad_lse: Tensor,
) -> Mapping[str, Tensor]:
    """What `AttentionBackend.backward` returns, for a graph cut into pieces."""
    tensors, known = (inputs.query, inputs.key, inputs.value), (state.out, state.lse)
    given = scale_of(signature)
    query, scale = above_zero(inputs.query, given)
    own = (query, inputs.key, inputs.value)
    of_query, of_key, of_value = fused.gradients(pieces, scale, own, known, grad_out, grad_lse)
    if scale != given:
        of_query = of_query * (given / scale)
    found = (of_query, of_key, of_value)
    named = zip(("query", "key", "value"), tensors, found, strict=True)
    return {name: grad for name, tensor, grad in named if tensor.requires_grad}
