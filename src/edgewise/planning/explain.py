"""Explanations: a decision of the planner as a tree of text, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgewise.measure.memory import as_text
from edgewise.planning.fold import Fold
from edgewise.planning.merge import Merge
from edgewise.planning.plan import BackendPlan, Plan
from edgewise.planning.planner import Decision
from edgewise.planning.price_table import constants, priced_as
from edgewise.problem import edges_as_text

__all__ = ["Explanation"]

_WIDTH = 60
_NEAR = 1.05  # a plan that takes so much longer than the best is as good


@dataclass(frozen=True, repr=False)
class Explanation:
    """The reasons of a decision; print it, or take it as JSON.

    Attributes:
        decision: The choice and everything that was considered.
        measured: Seconds that the choice and every dearer plan took, None for one that was not
            run; None where none was run.
        not_run: Why each of them was not run; empty for those that were.
    """

    decision: Decision[Plan]
    measured: tuple[float | None, ...] | None = None
    not_run: tuple[str, ...] = ()

    def __str__(self) -> str:
        decision = self.decision
        lines = [str(decision.problem), *_tree(decision.plan, took=self._took(0))]
        device = decision.problem.device.type
        if decision.plan.chosen and decision.plan.spreads and device != "meta":
            lines.append(f"   {_law(device)}")
        chosen = decision.selection
        if chosen.origin != "argument" and chosen[:2] != ("auto", False):
            lines += ["", f"chosen   by {chosen}"]
        if decision.dearer or decision.refused:
            lines.append("")
        for index, plan in enumerate(decision.dearer, start=1):
            way = f" · {plan.way}{_fill(plan)}" if isinstance(plan, BackendPlan) else ""
            lines.append(f"dearer   {plan.name:<9} {_estimate(plan)}{self._took(index)}{way}")
        for refusal in decision.refused:
            for index, reason in enumerate(refusal.reasons):
                name = refusal.backend if not index else ""
                lines.append(f"{'refused' if not index else '':<8} {name:<9} {reason}")
        lines += [f"measured {self._regret()}"] if self.measured else []
        lines.append(f"budget   {as_text(decision.budget)}")
        lines.append(f"prices   {_prices(device)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON types."""
        decision = self.decision
        _ = list(_tree(decision.plan))  # computes the notes, of the choice alone
        plans = [plan.to_dict() for plan in (decision.plan, *decision.dearer)]
        for plan, seconds, why in zip(plans, self.measured or (), self.not_run, strict=False):
            plan["measured"] = seconds
            if why:
                plan["not_run"] = why
        return {
            "problem": str(decision.problem),
            "plan": plans[0],
            "dearer": plans[1:],
            "refused": [
                {"backend": r.backend, "reasons": list(r.reasons)} for r in decision.refused
            ],
            "budget": decision.budget,
            "selection": decision.selection._asdict(),
            **_prices_as_dict(),
        }

    def to_json(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def _took(self, index: int) -> str:
        if self.measured is None:
            return ""
        seconds = self.measured[index]
        return f", {self.not_run[index]}" if seconds is None else f", took {_time(seconds)}"

    def _regret(self) -> str:
        assert self.measured is not None
        choice, *_ = self.measured
        if choice is None:
            return f"the choice was {self.not_run[0]}"
        least = min(seconds for seconds in self.measured if seconds is not None)
        regret = choice / least
        if regret <= _NEAR:
            left_out = " of those that were run" if None in self.measured else ""
            return f"the choice is the fastest, or as good{left_out}"
        best = (self.decision.plan, *self.decision.dearer)[self.measured.index(least)]
        return f"{best.name} was {regret:.2f}x as fast as the choice"


def _tree(plan: Plan, indent: str = "", took: str = "", about: str = "") -> Iterator[str]:
    """The lines of a plan; ``took`` ends its first line, ``about`` describes its part."""
    match plan:
        case Merge():
            yield f"{indent}└─ merge · {plan.law} · {_estimate(plan)}{took}"
            for piece in plan.pieces:
                yield from _tree(piece.plan, indent + "   ", about=f" · {_edges(piece.plan)}")
        case Fold():
            yield f"{indent}└─ batch of {plan.copies:,} · equal graphs side by side{about}{took}"
            yield from _tree(plan.inner, indent + "   ")
        case BackendPlan():
            graph = repr(plan.problem.graph)
            graph = graph if len(graph) <= _WIDTH else graph[: _WIDTH - 3] + "..."
            way = f"{plan.way}{_fill(plan)}{about}"
            yield f"{indent}└─ {plan.backend} · {graph} · {way} · {_estimate(plan)}{took}"
            if plan.note is not None:
                yield f"{indent}   {plan.note}"
        case _:
            yield f"{indent}└─ {plan.name} · {_estimate(plan)}{took}"


def _law(device: str) -> str:
    """A sentence on a NaN that this plan would spread, for a device."""
    if device == "cpu":
        return "a result that is not finite is computed again, exactly"
    return f"a NaN may reach rows that do not read it: numbers on {device} are not looked at"


def _edges(plan: Plan) -> str:
    return f"{edges_as_text(plan.problem.facts)} edges"


def _fill(run: BackendPlan) -> str:
    return f", {100 * run.fill:.2g}% filled" if run.fill < 0.99 else ""


def _estimate(plan: Plan) -> str:
    return f"about {_time(plan.seconds)}, {as_text(plan.memory)}"


def _prices(device: str) -> str:
    priced, table = priced_as(device), constants()
    of = "" if priced == device else f"those of {priced}, as {device} has none; "
    lottery = "'edgewise lottery' measures those of this machine"
    return f"{of}{table.source}" if table.measured else f"{of}{table.source}; {lottery}"


def _prices_as_dict() -> dict[str, Any]:
    table = constants()
    if table.measured:
        return {"prices": "measured"}
    name, basis = (table.machine.get(key) for key in ("set", "basis"))
    return {"prices": "shipped", "price_set": name, "price_basis": basis}


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
