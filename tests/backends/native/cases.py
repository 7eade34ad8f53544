"""One call of the operator as a value: run it with any backend, compare it with the exact one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

import edgewise as ew
from edgewise.graphs import Graph
from edgewise.ops import Bias, Score

# Largest difference from the float64 oracle, relative to the largest number (at least 1).
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 1e-2,
    torch.float16: 3e-3,
}
# A float32 sum of thousands of equal terms drifts by this share of its length; from 700 on, more
# than the tolerance.
_DRIFT = 2.0**-26
_REFERENCE_CELLS = 200_000  # the reference pads rows: numbers up to which it is fast enough


@dataclass(frozen=True, eq=False)
class Case:
    """A call of `attention` or `attention_state`.

    Attributes:
        graph: On which graph.
        tensors: query, key, value, and what else takes part; those that require a gradient do.
        score: The score; a GATv2 score without its vector.
        bias: From its numbers to the bias.
        dropout: Share of weights that is dropped.
        sends: Which outputs send a gradient back: of ``out``, ``lse``.
        pushes: The gradients that they send.
        about: What else to print when it fails.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    score: Score = field(default_factory=ew.Dot)
    bias: Callable[[Tensor], Bias] = ew.EdgeBias
    dropout: float = 0.0
    sends: tuple[str, ...] = ("out",)
    pushes: Mapping[str, Tensor] = field(default_factory=dict)
    about: str = ""

    def outputs(self, backend: str, **tensors: Tensor) -> dict[str, Tensor]:
        """``out``, and ``lse`` where it is asked for."""
        t = {**self.tensors, **tensors}
        score = ew.GATv2(t["vector"], self.score.slope) if "vector" in t else self.score
        arguments = {
            "score": score,
            "bias": self.bias(t["bias"]) if "bias" in t else None,
            "edge_key": t.get("edge_key"),
            "edge_value": t.get("edge_value"),
            "dropout": self.dropout,
            "generator": torch.Generator().manual_seed(7),
            "backend": backend,
        }
        if "lse" not in self.sends:
            return {"out": ew.attention(t["query"], t["key"], t["value"], self.graph, **arguments)}
        state = ew.attention_state(t["query"], t["key"], t["value"], self.graph, **arguments)
        return {"out": state.out, "lse": state.lse}

    def results(self, backend: str) -> dict[str, Tensor]:
        """Outputs, and the gradient of every tensor that requires one."""
        outputs = self.outputs(backend)
        return outputs | gradients(outputs, self.tensors, self.pushes, self.sends)

    def exact(self) -> Case:
        """The same case in float64, contiguous: the rounded numbers, so only computing differs."""
        return replace(
            self,
            tensors={k: doubled(t) for k, t in self.tensors.items()},
            pushes={k: t.double().contiguous() for k, t in self.pushes.items()},
        )

    def oracle(self) -> str:
        """The backend that is exact and fast enough in float64."""
        q, v = self.tensors["query"], self.tensors["value"]
        cells = self.graph.num_targets * self.graph.facts().max_in_degree
        numbers = cells * q.shape[:-2].numel() * (q.shape[-1] + v.shape[-1])
        return "reference" if numbers <= _REFERENCE_CELLS else "gather"

    def __str__(self) -> str:
        lines = [self.about, f"graph {self.graph!r}, {ew.edges(self.graph).num_edges} edges"]
        lines += [f"{self.score!r}, dropout {self.dropout}, gradients of {self.sends}"]
        lines += [described(*item) for item in self.tensors.items()]
        lines += [described(f"push of {name}", t) for name, t in self.pushes.items()]
        return "\n    ".join(lines)


def described(name: str, t: Tensor) -> str:
    """Shape, strides, offset and dtype of a tensor."""
    grad = ", requires grad" if t.requires_grad else ""
    place = f"strides {t.stride()}, offset {t.storage_offset()}"
    return f"{name} {list(t.shape)} {str(t.dtype).removeprefix('torch.')}, {place}{grad}"


def doubled(t: Tensor) -> Tensor:
    """The same numbers as a contiguous float64 leaf."""
    copy = t.detach().to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    return copy.requires_grad_(t.requires_grad)


def gradients(
    outputs: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    pushes: Mapping[str, Tensor],
    sends: tuple[str, ...] = ("out",),
) -> dict[str, Tensor]:
    """Gradients by name; zeros where a tensor takes no part."""
    wanted = {name: t for name, t in tensors.items() if t.requires_grad}
    if not wanted:
        assert not any(output.requires_grad for output in outputs.values())
        return {}
    sent = [name for name in sends if name in pushes and outputs[name].requires_grad]
    if not sent:
        return {}
    found = torch.autograd.grad(
        [outputs[name] for name in sent],
        list(wanted.values()),
        [pushes[name] for name in sent],
        allow_unused=True,
    )
    named = {}
    for (name, leaf), sent_back in zip(wanted.items(), found, strict=True):
        grad = torch.zeros_like(leaf) if sent_back is None else sent_back
        assert grad.dtype == leaf.dtype, f"gradient of {name} is {grad.dtype}"
        assert grad.shape == leaf.shape, f"gradient of {name} has shape {list(grad.shape)}"
        named[f"gradient of {name}"] = grad
    return named


def assert_exact(case: Case, backend: str) -> None:
    """Outputs and gradients are those of the float64 oracle."""
    query, value = case.tensors["query"], case.tensors["value"]
    found = case.results(backend)
    assert found["out"].dtype == query.dtype
    assert found["out"].shape == (*query.shape[:-1], value.shape[-1])
    if "lse" in found:
        float64 = query.dtype == torch.float64
        assert found["lse"].dtype == (torch.float64 if float64 else torch.float32)
        assert found["lse"].shape == query.shape[:-1]
    exact = case.exact()
    expected = exact.results(exact.oracle())
    assert_close(found, expected, query.dtype, case.graph, _cancelled(exact))


def _cancelled(exact: Case) -> float:
    """How large the products are whose difference is the gradient of a score."""
    if "out" not in exact.pushes or not exact.pushes["out"].numel():
        return 1.0
    push, value = exact.pushes["out"], exact.tensors["value"].detach()
    if not value.numel():
        return 1.0
    longest = push.norm(dim=-1).max() * value.norm(dim=-1).max()
    return (longest * value.shape[-1] ** -0.5).item()


def assert_close(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    dtype: torch.dtype,
    graph: Graph,
    cancelled: float = 1.0,
) -> None:
    """Every result is within the tolerance of its dtype.

    Args:
        found: Results by name.
        expected: The oracle's, in float64.
        dtype: Of the inputs.
        graph: Its longest row or column is the longest sum.
        cancelled: The least scale of gradients in float32; see `_cancelled`.
    """
    assert found.keys() == expected.keys()
    facts = graph.facts()
    allowed = TOLERANCE[dtype]
    if dtype == torch.float32:
        allowed = max(allowed, _DRIFT * max(facts.max_in_degree, facts.max_out_degree))
    for name, numbers in found.items():
        through_scores = name.startswith("gradient") and not name.endswith("value")
        exact = dtype in (torch.float32, torch.float64)
        least = max(1.0, cancelled) if through_scores and exact else 1.0
        worst = distance(name, numbers, expected[name], least)
        assert worst <= allowed, f"{name} differs by {worst:.1e} (allowed {allowed:.1e})"


def distance(name: str, found: Tensor, expected: Tensor, least: float = 1.0) -> float:
    """Largest difference, relative to the largest expected number (or to ``least``)."""
    found, expected = found.detach().double(), expected.detach().double()
    assert found.shape == expected.shape, f"{name} has shape {list(found.shape)}"
    assert not torch.isnan(found).any(), f"{name} has NaN"
    assert torch.equal(torch.isinf(found), torch.isinf(expected)), f"{name}: infinities differ"
    if not found.numel():
        return 0.0
    found, expected = (t.masked_fill(t.isinf(), 0.0) for t in (found, expected))
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=least)).item()
