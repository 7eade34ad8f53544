"""Saved plans: the JSON text of a plan, read back for a graph.

The text names choices: which backend, which split. What they are choices of, such as the parts of a
split, is worked out from the graph again, and every backend judges its problem again. So a text
that was changed may be refused, but never computes anything but attention over the graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NoReturn

import torch

from edgewise.backends import BACKENDS
from edgewise.errors import EdgewiseError, PlanError
from edgewise.graphs import Graph, facts_of, read_graph
from edgewise.graphs.base import check_graph
from edgewise.measure.memory import as_text
from edgewise.ops.scores import Score, score_from
from edgewise.planning.budget import memory_budget
from edgewise.planning.fold import Fold
from edgewise.planning.merge import CHECKED, Merge
from edgewise.planning.plan import FORMAT, BackendPlan, Plan, backend_named, edge_bounds
from edgewise.planning.planner import (
    Refusal,
    judged,
    legal_fold,
    legal_splits,
    merged,
    part_of,
    simplified,
)
from edgewise.planning.split import Split
from edgewise.problem import AttentionProblem, AttentionSignature
from edgewise.shapes import FLOATING

__all__ = ["plan_from_json", "problem_as_dict"]

_AGAIN = "Plan again with edgewise.plan(...)."
_DEEPEST = 8  # a plan of plans; the planner splits parts once more at most
_DTYPES = {str(dtype): dtype for dtype in FLOATING}
_SCORES = {"Dot": 2, "Additive": 1, "GATv2": 1}  # numbers of each


def problem_as_dict(problem: AttentionProblem) -> dict[str, Any]:
    """A problem as JSON types; of its graph only the sizes and the bounds on its edges."""
    signature = problem.signature
    plain = {field.name: getattr(signature, field.name) for field in fields(signature)}
    graph = problem.graph
    return {
        **plain,
        "score": list(signature.score.spec()),
        "dtype": str(signature.dtype),
        "device": str(signature.device),
        "num_targets": graph.num_targets,
        "num_sources": graph.num_sources,
        "edges": edge_bounds(graph),
    }


def plan_from_json(text: str, graph: Graph, budget: int | None) -> Plan:
    """The plan of a text that `Plan.to_json` wrote; arguments and errors as of `Plan.from_json`."""
    check_graph("graph", graph)
    saved = _parsed(text)
    if saved.get("format") != FORMAT:
        _refuse(f"its format is {_short(saved.get('format'))} and not {FORMAT!r}")
    problem = _signature(_fields_of(saved, "problem")).about(graph)
    _check_same_graph(_fields_of(saved, "problem"), graph)
    chosen = _typed(saved, "chosen", bool)
    return replace(
        _plan(saved, problem, memory_budget(problem.device, budget), _DEEPEST), chosen=chosen
    )


# --- The text -------------------------------------------------------------------------------------


def _parsed(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        _refuse(f"it is a {type(text).__name__} and not text")
    try:
        saved: object = json.loads(text)
    except (ValueError, RecursionError):
        _refuse("it is not JSON")
    if not isinstance(saved, dict):
        _refuse("it is no JSON object")
    return saved  # pyright: ignore[reportUnknownVariableType]


def _refuse(why: str) -> NoReturn:
    raise PlanError(f"Plan.from_json: the text is no plan: {why}. {_AGAIN}")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _typed(saved: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """The field of this name; `PlanError` unless its type is exactly one of ``kinds``."""
    value = saved.get(name)
    if type(value) not in kinds:
        named = " or ".join(kind.__name__ for kind in kinds)
        _refuse(f"{name} is {_short(value)} and no {named}")
    return value


def _fields_of(saved: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _typed(saved, name, dict)


def _count(saved: Mapping[str, Any], name: str, least: int = 1) -> int:
    """The size of this name; `PlanError` unless it is an integer from ``least`` to ``2**62``."""
    value = _typed(saved, name, int)
    if not least <= value < 2**62:
        _refuse(f"{name} is {_short(value)}, which is no size")
    return value


# --- The problem ----------------------------------------------------------------------------------


def _signature(saved: Mapping[str, Any]) -> AttentionSignature:
    heads, kv_heads = _count(saved, "heads"), _count(saved, "kv_heads")
    if heads % kv_heads:
        _refuse(f"{heads} heads are not a multiple of {kv_heads}")
    dtype = _DTYPES.get(_typed(saved, "dtype", str))
    if dtype is None:
        _refuse(f"dtype is {_short(saved['dtype'])}")
    dropout = float(_typed(saved, "dropout", float, int))
    if not 0.0 <= dropout < 1.0:
        _refuse(f"dropout is {dropout}")
    bias = _typed(saved, "bias", str, type(None))
    if bias not in ("edge", "relative", "dense", None):
        _refuse(f"bias is {_short(bias)}")
    try:
        device = torch.device(_typed(saved, "device", str))
    except RuntimeError:
        _refuse(f"device is {_short(saved['device'])}")
    return AttentionSignature(
        batch=_count(saved, "batch", 0),
        dtype=dtype,
        device=device,
        needs_grad=_typed(saved, "needs_grad", bool),
        score=_score(_typed(saved, "score", list)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=_count(saved, "head_dim"),
        value_dim=_count(saved, "value_dim", 0),
        bias=bias,
        edge_key=_typed(saved, "edge_key", bool),
        edge_value=_typed(saved, "edge_value", bool),
        dropout=dropout,
        wants_lse=_typed(saved, "wants_lse", bool),
    )


def _score(spec: list[Any]) -> Score:
    """The score of a `Score.spec`; `PlanError` where it is none."""
    name: Any = spec[0] if spec else None
    numbers = spec[1:]
    named = isinstance(name, str) and _SCORES.get(name) == len(numbers)
    plain = all(type(number) in (int, float, type(None)) for number in numbers)
    if not named or not plain or (name != "Dot" and None in numbers):
        _refuse(f"score is {_short(spec)}")
    try:
        return score_from((name, *numbers))
    except EdgewiseError:
        _refuse(f"score is {_short(spec)}")


def _check_same_graph(saved: Mapping[str, Any], graph: Graph) -> None:
    """Refuse a plan of another graph: of other sizes, or of another number of edges."""
    sizes = [_count(saved, "num_targets", 0), _count(saved, "num_sources", 0)]
    bounds = _typed(saved, "edges", list)
    if len(bounds) != 2 or any(type(bound) is not int for bound in bounds):
        _refuse(f"edges is {_short(bounds)}")
    facts = facts_of(graph)
    disjoint = bounds[1] < facts.min_edges or bounds[0] > facts.max_edges
    if sizes != [graph.num_targets, graph.num_sources] or disjoint:
        raise PlanError(
            f"Plan.from_json: this plan is of a graph of {sizes[0]:,} targets, {sizes[1]:,} "
            f"sources and {bounds[0]:,} to {bounds[1]:,} edges, got one of "
            f"{graph.num_targets:,}, {graph.num_sources:,} and {facts.min_edges:,} to "
            f"{facts.max_edges:,}. Pass the graph that was planned, or plan again."
        )


# --- The plan -------------------------------------------------------------------------------------


def _plan(saved: Mapping[str, Any], problem: AttentionProblem, budget: int, depth: int) -> Plan:
    """A plan of a whole graph or of a part, for a problem whose graph may be simplified.

    ``budget`` is in bytes; ``depth`` is how many levels of plans may follow.

    Raises:
        PlanError: the text is no plan, or the plan cannot run here.
    """
    if not depth:
        _refuse("it holds plans of plans of plans")
    kind, written = _typed(saved, "plan", str), _typed(saved, "graph", str)
    if repr(problem.graph) != written:
        problem = simplified(problem)
    match kind:
        case "run":
            return _run(saved, problem, budget)
        case "batch":
            return _fold(saved, problem, budget, depth)
        case "merge":
            return _merge(saved, problem, budget, depth)
        case _:
            _refuse(f"plan is {_short(kind)}")


def _run(saved: Mapping[str, Any], problem: AttentionProblem, budget: int) -> BackendPlan:
    """The saved plan of one backend; errors as of `_plan`, and if the backend refuses."""
    name = _typed(saved, "backend", str)
    if all(name != backend.name for backend in BACKENDS):
        _refuse(f"backend is {_short(name)}")
    outcome = judged(backend_named(name), problem, budget, BackendPlan)
    if isinstance(outcome, Refusal):
        reasons = "; ".join(outcome.reasons)
        raise PlanError(
            f"Plan.from_json: {outcome.backend} cannot run this plan here: {reasons}. {_AGAIN}"
        )
    return outcome


def _fold(saved: Mapping[str, Any], problem: AttentionProblem, budget: int, depth: int) -> Fold:
    """The saved fold of a problem; arguments and errors as of `_plan`."""
    copies = legal_fold(problem)
    if copies is None or copies[1] != _count(saved, "copies"):
        raise PlanError(
            f"Plan.from_json: this graph is not {_count(saved, 'copies'):,} equal graphs side by "
            f"side, as the plan says. {_AGAIN}"
        )
    inner = _plan(_fields_of(saved, "inner"), copies[0], budget, depth - 1)
    return Fold(problem, inner.seconds, inner.memory, copies[1], inner)


def _merge(saved: Mapping[str, Any], problem: AttentionProblem, budget: int, depth: int) -> Merge:
    """The saved merge of a problem; arguments and errors as of `_plan`."""
    law, parts = _typed(saved, "law", str), _typed(saved, "parts", list)
    if not parts or any(type(part) is not dict for part in parts):
        _refuse(f"parts is {_short(parts)}")
    if law == CHECKED:
        return _merge_of_runs(parts, problem, budget)
    split = _split(problem, law, len(parts))
    plans = [
        _plan(saved_part, part_of(problem, part), budget, depth - 1)
        for saved_part, part in zip(parts, split.parts, strict=True)
    ]
    plan = merged(problem, split, plans)
    if plan.memory > budget:
        raise PlanError(
            f"Plan.from_json: this plan needs about {as_text(plan.memory)} but the memory budget "
            f"is {as_text(budget)}. Raise memory_budget, or plan again."
        )
    return plan


def _split(problem: AttentionProblem, law: str, num_parts: int) -> Split:
    """The split of a graph that has this law."""
    for split in legal_splits(problem):
        if split.law == law and len(split.parts) == num_parts:
            return split
    raise PlanError(
        f"Plan.from_json: this graph has no split into {num_parts} parts of the law "
        f"{_short(law)}. {_AGAIN}"
    )


def _merge_of_runs(parts: list[Mapping[str, Any]], problem: AttentionProblem, budget: int) -> Merge:
    """A merge that `Merge.of` made; it checks again that the parts fit together."""
    runs: list[BackendPlan] = []
    for part in parts:
        try:
            graph = read_graph(_typed(part, "graph", str))
        except EdgewiseError as error:
            raise PlanError(
                f"Plan.from_json: a part of this merge cannot be read as a graph: {error} {_AGAIN}"
            ) from None
        runs.append(_run(part, replace(problem, graph=graph, wants_lse=True), budget))
    return Merge.of(problem, runs)
