"""Plans: immutable values that describe how a problem is computed; printed, compared, called.

A plan is a tree: a `BackendPlan` is one backend on one graph; a `Merge` joins the states of
edge-disjoint parts, each planned by itself; a `Fold` runs equal graphs as a batch. A plan
describes; what runs is `Plan.prepared`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgewise.backends import BACKENDS, AggregateBackend, AttentionBackend, Backend
from edgewise.errors import PlanError
from edgewise.graphs import Graph, facts_of
from edgewise.graphs.cache import lasting
from edgewise.ops.bias import Bias
from edgewise.ops.scores import Score
from edgewise.ops.without_numbers import has_numbers
from edgewise.planning.call import read_call
from edgewise.planning.prepared import Prepared, PreparedAggregate, PreparedRun
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["AggregatePlan", "BackendPlan", "OneBackend", "Plan", "PlannedCall", "backend_named"]

B = TypeVar("B", bound=Backend)
FORMAT = "edgewise plan, version 1"


def backend_named(name: str) -> Backend:
    """The backend of this name.

    Raises:
        PlanError: there is none; the message lists the names.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    names = [backend.name for backend in BACKENDS]
    near = get_close_matches(name.lower(), ("auto", *names), n=1)
    cure = f"Did you mean {near[0]!r}?" if near else "Use 'auto'."
    raise PlanError(
        f"backend must be 'auto' or one of {', '.join(map(repr, names))}, got {name!r}. {cure}"
    )


@dataclass(frozen=True)
class PlannedCall(ABC):
    """A plan of attention or of sums.

    Attributes:
        problem: What was planned.
        seconds: Estimated time of one call; plans are compared without it.
        memory: Estimated largest extra memory in bytes; plans are compared without it.
        chosen: Whether ``"auto"`` chose it, rather than a name: it is then called so that a NaN
            reaches only the rows that read it; see `edgewise.planning.checked`.
    """

    problem: Problem
    seconds: float = field(compare=False)
    memory: int = field(compare=False)
    chosen: bool = field(default=False, kw_only=True, compare=False, repr=False)

    @property
    @abstractmethod
    def name(self) -> str:
        """A few characters for tables: ``dense``, ``merge(dense, gather)``."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types, without its problem."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Plan(PlannedCall):
    """A plan of attention: how one call is computed."""

    problem: AttentionProblem

    @property
    @abstractmethod
    def spreads(self) -> bool:
        """Whether a NaN or an infinity may reach rows that do not read it."""

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared plan; made once for each plan, whatever mode the caller is in."""
        with lasting():
            return self.prepare()

    @abstractmethod
    def prepare(self) -> Prepared:
        """Lower the graph, and return the prepared plan."""

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
        problem = self.problem
        score = problem.score if score is None else score
        if score.spec() != problem.score.spec():
            raise PlanError(f"this plan is for {problem.score!r}, got {score!r}. Plan again.")
        call = read_call(
            query,
            key,
            value,
            problem.graph,
            wants_lse=problem.wants_lse,
            score=score,
            bias=bias,
            edge_key=edge_key,
            edge_value=edge_value,
            dropout=problem.dropout,
            generator=generator,
        )
        changed = [
            f"{name} {getattr(call.question, name)} instead of {getattr(problem, name)}"
            for name in _FIXED
            if getattr(call.question, name) != getattr(problem, name)
        ]
        if changed:
            raise PlanError(f"this plan is for another call: {', '.join(changed)}. Plan again.")
        from edgewise.planning.blank import BlankAttention  # which is made of plans

        if not has_numbers(query):
            return BlankAttention(problem.signature).attend(call.inputs)
        return self._checked.attend(call.inputs)

    @cached_property
    def _checked(self) -> Prepared:
        """The prepared plan with its checks; made once, as it stores the exact plan."""
        from edgewise.planning.checked import checked  # which is made of plans

        with lasting():
            return checked(self, self.problem.graph)

    def to_json(self) -> str:
        """The plan as JSON text, which `from_json` reads."""
        from edgewise.planning.saved import problem_as_dict  # which is made of plans

        saved = {"format": FORMAT, "chosen": self.chosen, "problem": problem_as_dict(self.problem)}
        return json.dumps(saved | self.to_dict(), indent=2)

    @staticmethod
    def from_json(text: str, graph: Graph, *, memory_budget: int | None = None) -> Plan:
        """The plan that `to_json` wrote, for a graph like the one it was made for.

        The text names choices; what they are choices of is worked out from the graph again. So a
        plan that is read computes exactly what `edgewise.attention` does, or is refused.

        Args:
            text: What `to_json` returned.
            graph: The graph of the calls; it has the sizes of the one that was planned.
            memory_budget: Memory the plan may take, in bytes; half of what is free when None.

        Raises:
            PlanError: the text is no plan, the plan is of another graph, or it cannot run here.

        Example:
            >>> import torch, edgewise as ew
            >>> q = torch.randn(4, 512, 64)
            >>> plan = ew.plan(q, q, q, ew.Complete(512))
            >>> type(plan).from_json(plan.to_json(), ew.Complete(512)) == plan
            True
        """
        from edgewise.planning.saved import plan_from_json  # which is made of plans

        return plan_from_json(text, graph, memory_budget)


# What a plan fixes of a call.
_FIXED = (
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


@dataclass(frozen=True)
class OneBackend(PlannedCall):
    """A plan in which one backend computes the whole graph.

    Attributes:
        backend: The backend's name.
        way: The name of how the backend computes, in a word or two.
        fill: At most this share of the pairs that are worked on are edges.
        spreads: Whether a NaN or an infinity may reach rows that do not read it.
        hides: Whether the result may be finite where a query or a key is not.
    """

    backend: str
    way: str
    fill: float = field(compare=False)
    spreads: bool = False
    hides: bool = False

    @property
    def name(self) -> str:
        return self.backend

    @cached_property
    def note(self) -> str | None:
        """A sentence of the backend about the lowered graph, if any; may lower the graph."""
        return backend_named(self.backend).note(self.problem)

    def to_dict(self) -> dict[str, Any]:
        plan = {
            "plan": "run",
            "backend": self.backend,
            "way": self.way,
            "fill": self.fill,
            "graph": repr(self.problem.graph),
            "edges": edge_bounds(self.problem.graph),
            "seconds": self.seconds,
            "memory": self.memory,
        }
        lowered = self.__dict__.keys() & {"note", "prepared"}  # a plan is printed unprepared
        return plan | {"note": self.note} if lowered and self.note else plan


@dataclass(frozen=True)
class BackendPlan(OneBackend, Plan):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A plan of attention by one backend over the whole graph; attributes as of `OneBackend`."""

    def prepare(self) -> PreparedRun:
        backend = _of_type(AttentionBackend, self.backend)
        lowered = backend.prepare_attention(self.problem)
        return PreparedRun(self.problem.signature, backend, lowered)


@dataclass(frozen=True)
class AggregatePlan(OneBackend):
    """A plan of sums by one backend over the whole graph; attributes as of `OneBackend`."""

    problem: AggregateProblem

    @cached_property
    def prepared(self) -> PreparedAggregate:
        """The prepared plan; made once for each plan, whatever mode the caller is in."""
        backend = _of_type(AggregateBackend, self.backend)
        with lasting():
            lowered = backend.prepare_aggregate(self.problem)
        return PreparedAggregate(self.problem.signature, backend, lowered)


def _of_type(kind: type[B], name: str) -> B:
    """The backend of this name; `PlanError` where it does not keep the contract ``kind``."""
    backend = backend_named(name)
    if not isinstance(backend, kind):
        raise PlanError(f"backend {name!r} is no {kind.__name__}. Plan again.")
    return backend


def edge_bounds(graph: Graph) -> list[int]:
    """The least and the largest number of edges that the facts of a graph allow."""
    facts = facts_of(graph)
    return [facts.min_edges, facts.max_edges]
