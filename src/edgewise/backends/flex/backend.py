"""The flex backend: which problems FlexAttention takes, and the calls of it.

On CPUs it runs forward and without the log-sum-exp, because torch has no more. On GPUs
both passes are written here, and **no run has checked them yet**.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from inspect import signature
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import (
    Accepts,
    AttentionBackend,
    Refuses,
    Work,
    refusals_of_edge_features,
    scale_of,
)
from edgewise.backends.flex.blocks import BLOCK, rows_are_intervals, span
from edgewise.backends.flex.call import PreparedFlex, call, soft_cap
from edgewise.backends.flex.mask import BITS, mask_of
from edgewise.errors import BackendRefused
from edgewise.graphs import recall
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState, finite
from edgewise.ops.tracing import is_intercepted
from edgewise.problem import AttentionProblem, AttentionSignature, Problem

__all__ = ["Flex"]

_NO_GRADIENTS = "torch's FlexAttention has no backward pass on CPUs; use torch.no_grad()"
_NO_LSE = "torch's FlexAttention gives no log-sum-exp on CPUs; leave it out"
_CURE = "ask for it with backend='flex'"
_COMPILES = f"compiles for seconds on CPUs; {_CURE}"
_UNCHECKED = "not checked on a GPU yet"


class Flex(AttentionBackend):
    """Blocks of pairs on torch's FlexAttention: blocks without an edge are never read."""

    name = "flex"
    twice_differentiable: ClassVar[bool] = False

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts = problem.facts
        blocks, _ = span(facts)
        planes = problem.batch * problem.heads
        channels = (problem.head_dim + problem.value_dim) / 2
        pairs = blocks * BLOCK * BLOCK
        numbers = (facts.num_targets + facts.num_sources) * planes * channels
        work = Work(pairs * planes * channels, pairs * planes, numbers)
        memory = _mask_memory(problem) + int(numbers * 4 * (2 + 6 * problem.needs_grad))
        why = _COMPILES if problem.device.type == "cpu" else f"{_UNCHECKED}; {_CURE}"
        return Accepts(work, memory, way="flex blocks", pairs=pairs, on_request=why, spreads=True)

    def note(self, problem: Problem) -> str | None:
        return None if problem.device.type == "cpu" else _UNCHECKED

    def prepare_attention(self, problem: AttentionProblem) -> PreparedFlex:
        assert isinstance(problem.score, Dot)
        graph, facts, device = problem.graph, problem.facts, problem.device
        softcap, key = problem.score.softcap, ("flex", str(device))
        backward = device.type != "cpu"  # a plan without gradients may be called with them
        mask = recall(graph, key, lambda: mask_of(graph, facts, device, backward=backward))
        if softcap is None:
            return PreparedFlex(mask, None)
        key = ("flex, soft cap", str(device), softcap)
        return PreparedFlex(mask, recall(graph, key, lambda: soft_cap(softcap, device)))

    def attend(
        self, signature: AttentionSignature, prepared: PreparedFlex, inputs: Inputs
    ) -> Tensor:
        _check(signature, inputs)
        return call(prepared, inputs, scale_of(signature), wants_lse=False)[0]

    def forward(
        self, signature: AttentionSignature, prepared: PreparedFlex, inputs: Inputs
    ) -> AttentionState:
        _check(signature, inputs)
        if signature.device.type == "cpu":
            raise BackendRefused(f"flex: {_NO_LSE}. Or use backend='auto'.")
        out, lse = call(prepared, inputs, scale_of(signature), wants_lse=True)
        assert lse is not None
        return AttentionState(out, lse)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: PreparedFlex,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        leaves = inputs.leaves()
        with torch.enable_grad():
            part = self.forward(signature, prepared, leaves)
        trained = {name: leaf for name, leaf in leaves.tensors().items() if leaf.requires_grad}
        of_part = _gradients_of_part(part, state, grad_out, grad_lse)
        grads = torch.autograd.grad((part.out, part.lse), list(trained.values()), of_part)
        return dict(zip(trained, grads, strict=True))


def _gradients_of_part(
    part: AttentionState, whole: AttentionState, grad_out: Tensor, grad_lse: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Gradients of a part's output and log-sum-exp with which its inputs get those in the whole.

    With ``share_i = exp(part lse_i - lse_i)``, weights in the whole are ``share_i`` times the
    part's own, and the backward pass of the part gives what `AttentionBackend.backward` returns
    from

    .. math::  g_i = \text{share}_i \, dout_i, \qquad
               \gamma_i = \text{share}_i \, (dout_i \cdot (part_i - out_i) + dlse_i)
    """
    lse = part.lse.detach()
    share = torch.exp(lse - finite(whole.lse))  # zero for a target that the part leaves empty
    sent = grad_out.to(lse.dtype)
    change = (part.out.detach().to(lse.dtype) - whole.out.to(lse.dtype)) * sent
    gamma = share * (change.sum(-1) + grad_lse)
    return (share[..., None] * sent).to(part.out.dtype), gamma


def _check(signature: AttentionSignature, inputs: Inputs) -> None:
    """Raise a `BackendRefused` for what torch refuses in words of its own, or not at all."""
    tensors = tuple(inputs.tensors().values())
    if not torch.compiler.is_compiling() and is_intercepted(tensors):
        raise BackendRefused(
            "flex: FlexAttention is compiled as a whole, so torch.func, tracers and forward-mode "
            "derivatives cannot look into it. Use backend='auto'."
        )
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if trains and signature.device.type == "cpu":
        raise BackendRefused(f"flex: {_NO_GRADIENTS}. Or use backend='auto'.")


# --- What it accepts -----------------------------------------------------------------------------


def _refusals(problem: AttentionProblem) -> list[str]:
    reasons = _refusals_of_device(problem)
    if not isinstance(problem.score, Dot):
        reasons.append(f"{type(problem.score).__name__} scores are not a matrix product; use Dot")
    if problem.bias is not None:
        reasons.append(f"blocks take no {problem.bias} bias; leave it out")
    reasons += refusals_of_edge_features(problem, "blocks")
    if problem.dropout:
        reasons.append("FlexAttention has no dropout; set dropout=0")
    if not problem.facts.simple:
        reasons.append(
            "the graph may hold copies of an edge, and a pair of a block is an edge or none; "
            "merge the copies"
        )
    if problem.dtype == torch.float64:
        reasons.append("FlexAttention computes in float32; convert the tensors")
    return reasons


def _refusals_of_device(problem: AttentionProblem) -> list[str]:
    device = problem.device.type
    missing = _missing(device)
    reasons = [missing] if missing else []
    if device == "cpu":
        reasons += [_NO_GRADIENTS] if problem.needs_grad else []
        reasons += [_NO_LSE] if problem.wants_lse else []
    elif min(problem.head_dim, problem.value_dim) < 16:
        reasons.append(
            f"FlexAttention wants at least 16 channels on GPUs, got head_dim {problem.head_dim} "
            f"and value_dim {problem.value_dim}; use another backend"
        )
    return reasons


@cache
def _missing(device: str) -> str | None:
    """The missing requirement of this machine, as a sentence; None where nothing is missing."""
    if "recompile_limit" not in signature(torch.compile).parameters:
        return "this torch has an older compiler; install torch 2.13 or newer"
    if device not in ("cpu", "cuda"):
        return f"it is written for CPUs and CUDA, not for {device}; move the tensors"
    if device == "cpu":
        if sys.platform == "darwin" or "AVX" not in torch.backends.cpu.get_cpu_capability():
            return "torch compiles FlexAttention for processors with AVX2 only; use native"
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            return "torch compiles FlexAttention with a C++ compiler, and finds none; install g++"
    return None


def _mask_memory(problem: Problem) -> int:
    """Bytes of the block mask, and of the temporary tensors of making it."""
    facts, graph = problem.facts, problem.graph
    T, S = facts.num_targets, facts.num_sources
    blocks, longest = span(facts)
    R, C = -(-T // BLOCK), -(-S // BLOCK)
    tables = 2 * 4 * (R * (longest + 1) + C)
    if problem.device.type != "cpu":  # by column too, where a row of blocks may be as long as any
        tables += 2 * 4 * (C * (min(blocks, R) + 1) + R)
    listed = 8 * 12 * (blocks + T)
    if rows_are_intervals(graph, facts):
        return tables + listed
    bits = BLOCK * BLOCK // BITS * 4 * max(blocks, 1)
    return tables + listed + bits + 4 * R * C + 8 * 12 * facts.max_edges
