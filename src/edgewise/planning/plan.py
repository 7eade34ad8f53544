"""Plans: how one problem will be computed. Immutable values that can be called and printed.

A plan is a tree: a `Run` is one backend on one graph; a `Merge` runs edge-disjoint parts, each
its own way, and merges their states exactly.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from edgewise.backends import BACKENDS, AggregateBackend, AttentionBackend, Backend
from edgewise.errors import PlanError
from edgewise.graphs import Complete, Graph, recall
from edgewise.graphs.base import lasting
from edgewise.layouts import num_edges
from edgewise.ops.bias import Bias
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Score
from edgewise.ops.state import AttentionState
from edgewise.ops.without_numbers import blank, has_numbers
from edgewise.planning.question import ask_attention, inputs_of
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Plan", "Run", "attention_of", "backend_named"]


def backend_named(name: str) -> Backend:
    """The backend of this name.

    Raises:
        PlanError: there is none; the message lists the known ones.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    known = ", ".join(repr(backend.name) for backend in BACKENDS)
    raise PlanError(f"backend must be 'auto' or one of {known}, got {name!r}. Use 'auto'.")


@dataclass(frozen=True)
class Plan(ABC):
    """How one problem will be computed.

    Attributes:
        problem: What was asked.
        seconds: Estimated time of one call.
        memory: Estimated largest extra memory in bytes.
        chosen: Whether ``"auto"`` chose it, rather than a name: it is then called so that a NaN
            reaches only the rows that read it; see `edgewise.planning.checked`.
    """

    problem: Problem
    seconds: float
    memory: int
    chosen: bool = field(default=False, kw_only=True, compare=False, repr=False)

    @property
    @abstractmethod
    def spreads(self) -> bool:
        """Whether a NaN or an infinity may reach rows that do not read it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A few characters for tables: ``dense``, ``merge(dense, gather)``."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        score: Score | None = None,
        bias: Tensor | Bias | None = None,
        edge_key: Tensor | None = None,
        edge_value: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compute attention this way; arguments as in `edgewise.attention`.

        The plan fixes everything but the batch size and whether gradients are needed: there it
        stays exact, though perhaps no longer the fastest.

        Raises:
            PlanError: the call is not the one that was planned.
        """
        problem = attention_of(self.problem)
        score = problem.score if score is None else score
        if score.spec() != problem.score.spec():
            raise PlanError(f"this plan is for {problem.score!r}, got {score!r}. Plan again.")
        graph, dropout = problem.graph, problem.dropout
        inputs = inputs_of(
            query, key, value, graph, score, bias, edge_key, edge_value, dropout, generator
        )
        count = num_edges(graph) if inputs.has_edge_tensors else None
        asked = ask_attention(inputs, graph, score, count, dropout, wants_lse=problem.wants_lse)
        asked = asked.about(graph)
        fixed = (
            "heads",
            "kv_heads",
            "head_dim",
            "value_dim",
            "dtype",
            "device",
            "bias",
            "edge_key",
            "edge_value",
        )
        changed = [
            f"{name} {getattr(asked, name)} instead of {getattr(problem, name)}"
            for name in fixed
            if getattr(asked, name) != getattr(problem, name)
        ]
        if changed:
            raise PlanError(f"this plan is for another call: {', '.join(changed)}. Plan again.")
        from edgewise.planning.checked import checked  # which is made of plans

        if not has_numbers(query):
            return blank(
                [((*query.shape[:-1], value.shape[-1]), query.dtype)],
                tuple(inputs.tensors().values()),
            )[0]
        return checked(self, graph).attend(inputs)

    @abstractmethod
    def attend(self, inputs: Inputs) -> Tensor:
        """Attention's output."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> AttentionState:
        """Attention's output with its log-sum-exp."""

    @abstractmethod
    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        """Gradients of this plan's edges, from the global state."""

    @abstractmethod
    def without_graph(self) -> Plan:
        """The same plan, prepared and without its graph: what a graph may remember of itself.

        A graph that remembered its plan with the graph in it would never be freed by counting.
        """

    def shortcut(self, inputs: Inputs) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The same for calls like this one, where there is a shorter way."""
        return None

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Run(Plan):
    """One backend computes the whole graph.

    Attributes:
        backend: The backend's name.
        way: What the backend will do, in a word or two.
        fill: At most this share of the pairs that are worked on are edges.
        spreads: Whether a NaN or an infinity may reach rows that do not read it.
        hides: Whether the result may be finite where a query or a key is not.
    """

    backend: str
    way: str
    fill: float
    spreads: bool = False  # pyright: ignore[reportIncompatibleMethodOverride]  # a field is enough
    hides: bool = False

    @property
    def name(self) -> str:
        return self.backend

    @cached_property
    def executor(self) -> Backend:
        """The backend itself."""
        return backend_named(self.backend)

    @cached_property
    def prepared(self) -> Any:
        """What the backend worked out about the graph: once for each plan."""
        if isinstance(self.problem, AttentionProblem):
            return cast("AttentionBackend", self.executor).prepare_attention(self.problem)
        return cast("AggregateBackend", self.executor).prepare_aggregate(
            cast("AggregateProblem", self.problem)
        )

    @cached_property
    def note(self) -> str | None:
        """What preparing found that is worth telling; may lower the graph."""
        return self.executor.note(self.problem)

    def without_graph(self) -> Run:
        bare = replace(self, problem=replace(self.problem, graph=Complete(0)))
        object.__setattr__(bare, "executor", self.executor)
        object.__setattr__(bare, "prepared", self.prepared)
        return bare

    def attend(self, inputs: Inputs) -> Tensor:
        with _full_precision(self.problem.device):
            return cast("AttentionBackend", self.executor).attend(
                attention_of(self.problem), self.prepared, inputs
            )

    def forward(self, inputs: Inputs) -> AttentionState:
        with _full_precision(self.problem.device):
            return cast("AttentionBackend", self.executor).forward(
                attention_of(self.problem), self.prepared, inputs
            )

    def shortcut(self, inputs: Inputs) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        with torch.no_grad(), lasting():
            return cast("AttentionBackend", self.executor).shortcut(
                attention_of(self.problem), self.prepared, inputs
            )

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        return cast("AttentionBackend", self.executor).backward(
            attention_of(self.problem), self.prepared, inputs, state, grad_out, grad_lse
        )

    def aggregate(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """Sum, mean or maximum over the sources of each target."""
        assert isinstance(self.problem, AggregateProblem)
        with _full_precision(self.problem.device):
            return cast("AggregateBackend", self.executor).aggregate(
                self.problem, self.prepared, value, weight
            )

    def to_dict(self) -> dict[str, Any]:
        found = {
            "plan": "run",
            "backend": self.backend,
            "way": self.way,
            "fill": self.fill,
            "graph": repr(self.problem.graph),
            "edges": edge_bounds(self.problem.graph),
            "seconds": self.seconds,
            "memory": self.memory,
        }
        looked = self.__dict__.keys() & {"note", "prepared"}  # a plan is printed unprepared
        return found | {"note": self.note} if looked and self.note else found


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the dtype of the inputs: autocast must not lower it in one backend only."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def edge_bounds(graph: Graph) -> list[int]:
    """At least and at most so many edges."""
    facts = recall(graph, "facts", graph.facts)
    return [facts.min_edges, facts.max_edges]


def attention_of(problem: Problem) -> AttentionProblem:
    """The problem, where it is one of attention."""
    assert isinstance(problem, AttentionProblem)
    return problem
