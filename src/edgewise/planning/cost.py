"""What a unit of work takes: a few named constants a machine, and nothing else.

A backend says how much work a problem is (pairs or edges, times channels); this table says what
that costs. The defaults were measured on AVX-512 cores with `benchmarks/attention.py` and
`benchmarks/sparse_attention.py`; they only have to rank the backends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgewise.backends import Accepts
from edgewise.problem import Problem

__all__ = ["Rate", "rate_of", "seconds"]


@dataclass(frozen=True)
class Rate:
    """Price of one way to compute.

    Attributes:
        forward: Nanoseconds for a unit of work, forward only.
        training: Nanoseconds for a unit of work, forward and backward.
        call: Microseconds for a call, however small.
    """

    forward: float
    training: float
    call: float


_CPU: dict[str, Rate] = {
    "sdpa": Rate(0.025, 0.085, 20),
    "sdpa + mask": Rate(0.031, 0.09, 30),
    "softmax of all pairs": Rate(0.25, 0.45, 80),
    "softmax of all pairs, dropout": Rate(0.9, 1.2, 200),
    "tiles": Rate(0.032, 0.165, 60),
    "rows of edges": Rate(10.0, 25.0, 150),
    "messages": Rate(1.0, 3.5, 40),
    "matrix product": Rate(0.014, 0.04, 25),
    "rows": Rate(12.0, 30.0, 150),
    "fused tiles": Rate(0.13, 0.46, 25),
    "fused rows": Rate(0.33, 1.3, 25),
    "fused rows from memory": Rate(0.75, 2.8, 25),
    "fused messages": Rate(0.15, 0.5, 20),
    "fused messages from memory": Rate(0.33, 0.68, 20),
}
# On a GPU the matrix units are further ahead still. From data sheets, not yet measured.
_CUDA: dict[str, Rate] = {
    "sdpa": Rate(0.0002, 0.0006, 20),
    "sdpa + mask": Rate(0.0004, 0.0012, 25),
    "softmax of all pairs": Rate(0.002, 0.006, 80),
    "softmax of all pairs, dropout": Rate(0.006, 0.012, 200),
    "rows of edges": Rate(0.03, 0.08, 300),
    "messages": Rate(0.01, 0.03, 60),
    "matrix product": Rate(0.0002, 0.0005, 20),
    "rows": Rate(0.05, 0.15, 200),
}
# Matrix units run half-precision products faster; rows of edges are read in float32 either way.
_LOW_PRECISION = {"sdpa": 0.45, "sdpa + mask": 0.5, "tiles": 0.75}


def rate_of(way: str, problem: Problem) -> Rate:
    """The rate of a way to compute, for this problem's device and dtype."""
    table = _CUDA if problem.device.type == "cuda" else _CPU
    rate = table[way]
    factor = 1.0
    if problem.dtype in (torch.bfloat16, torch.float16):
        factor = _LOW_PRECISION.get(way, 1.0)
    elif problem.dtype == torch.float64:
        factor = 2.0
    return Rate(rate.forward * factor, rate.training * factor, rate.call)


def seconds(verdict: Accepts, problem: Problem) -> float:
    r"""Estimated time of one call.

    .. math::  \text{call} + \text{work} \times \text{rate}
    """
    rate = rate_of(verdict.way, problem)
    unit = rate.training if problem.needs_grad else rate.forward
    calls = rate.call * (3 if problem.needs_grad else 1)
    return calls * 1e-6 + verdict.work * unit * 1e-9
