"""Contract of a backend: the numbers of the reference, or a refusal with reasons."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.backends import BACKENDS, Refuses
from edgewise.graphs import Graph
from edgewise.ops import AttentionState
from edgewise.planning.question import AttentionQuestion
from edgewise.planning.rules import simplify
from edgewise.testing.calls import SETTINGS, Call, Setting
from edgewise.testing.graphs import GRAPHS

__all__ = ["GENERAL", "assert_keeps_contract", "expected_refusal"]

# Largest difference from the float64 reference, relative to the largest number: what rounding in
# the accumulation (float32 for the last three) and of the result allows.
TOLERANCE = {
    torch.float64: 1e-11,
    torch.float32: 3e-5,
    torch.bfloat16: 4e-2,
    torch.float16: 6e-3,
}


def expected_refusal(backend: str, setting: Setting, graph: Graph) -> tuple[str, ...]:
    """The reasons of a backend to refuse a setting on a graph; empty if it must run."""
    bias = None if setting.bias is None else setting.bias(torch.zeros(1, 1)).kind
    question = AttentionQuestion(
        setting.score.spec(), 1, setting.heads, setting.kv_heads,
        setting.head_dim, setting.value_dim,
        torch.float64, torch.device("cpu"), True, bias, setting.edge_features,
        setting.edge_features, setting.dropout, False,
    )  # fmt: skip
    judged = graph if backend == "reference" else simplify(graph)  # the form that the planner uses
    verdict = next(b for b in BACKENDS if b.name == backend).judge(question.about(judged))
    return verdict.reasons if isinstance(verdict, Refuses) else ()


# Backends for graphs of any kind, by name.
GENERAL = tuple(
    backend.name
    for backend in BACKENDS
    if not expected_refusal(backend.name, SETTINGS["dot"], GRAPHS["edge list, copies"])
)


def assert_keeps_contract(backend: str, call: Call, oracle: Call) -> None:
    """Compare a backend with the float64 reference: output, log-sum-exp, and every gradient.

    Args:
        backend: The backend's name.
        call: The call in the dtype under test.
        oracle: The same call in float64.
    """
    dtype = call.tensors["query"].dtype
    tolerance = TOLERANCE[dtype]
    out, state = call.out(backend), call.state(backend)
    assert out.dtype == state.out.dtype == dtype
    assert state.lse.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    actual = _numbers(call, out, state)
    expected = _numbers(oracle, oracle.out("reference"), oracle.state("reference"))
    for name, numbers in actual.items():
        allowed = tolerance * (3 if name.startswith("gradient") else 1)
        assert numbers.shape == expected[name].shape, f"{name} has shape {list(numbers.shape)}"
        _assert_close(name, numbers, expected[name], allowed)


def _numbers(call: Call, out: Tensor, state: AttentionState) -> dict[str, Tensor]:
    """The outputs, and the gradients of a random linear combination of them, by name."""
    random = torch.Generator().manual_seed(11)
    outputs = [out, state.out, _finite(state.lse)]
    weights = [torch.randn(o.shape, generator=random).to(o.dtype) for o in outputs]
    used = call.used()
    grads = torch.autograd.grad(outputs, list(used.values()), weights)
    named = {"out": out, "out of the state": state.out, "lse": state.lse}
    for name, grad in zip(used, grads, strict=True):
        assert grad.dtype == used[name].dtype
        named[f"gradient of {name}"] = grad
    return named


def _finite(lse: Tensor) -> Tensor:
    return torch.where(torch.isinf(lse), torch.zeros_like(lse), lse)


def _assert_close(name: str, actual: Tensor, expected: Tensor, tolerance: float) -> None:
    actual, expected = actual.detach().double(), expected.detach().double()
    assert not torch.isnan(actual).any(), f"{name} has NaN"
    assert torch.equal(torch.isinf(actual), torch.isinf(expected)), f"{name}: infinities differ"
    if not actual.numel():
        return
    actual, expected = _finite(actual), _finite(expected)
    scale = expected.abs().max().clamp(min=1.0)
    worst = ((actual - expected).abs().max() / scale).item()
    assert worst <= tolerance, f"{name} differs by {worst:.1e} (allowed {tolerance:.1e})"
