"""Explain: a decision as a tree of text, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgewise.planning.budget import as_text
from edgewise.planning.merge import Merge
from edgewise.planning.plan import Plan, Run
from edgewise.planning.planner import Decision

__all__ = ["Explanation"]

_WIDTH = 60


@dataclass(frozen=True)
class Explanation:
    """Why a problem runs the way it runs; print it, or take it as JSON.

    Attributes:
        decision: The choice and everything that was considered.
    """

    decision: Decision

    def __str__(self) -> str:
        decision = self.decision
        lines = [str(decision.problem), *_tree(decision.plan)]
        if decision.dearer or decision.refused:
            lines.append("")
        for plan in decision.dearer:
            way = f" · {plan.way}" if isinstance(plan, Run) else ""
            lines.append(f"dearer   {plan.name:<9} {_estimate(plan)}{way}")
        for refusal in decision.refused:
            for index, reason in enumerate(refusal.reasons):
                name = refusal.backend if not index else ""
                lines.append(f"{'refused' if not index else '':<8} {name:<9} {reason}")
        lines.append(f"budget   {as_text(decision.budget)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON types."""
        decision = self.decision
        _tree(decision.plan)  # looks for notes, of the choice alone
        return {
            "problem": str(decision.problem),
            "plan": decision.plan.to_dict(),
            "dearer": [plan.to_dict() for plan in decision.dearer],
            "refused": [
                {"backend": r.backend, "reasons": list(r.reasons)} for r in decision.refused
            ],
            "budget": decision.budget,
        }

    def to_json(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def _tree(plan: Plan, indent: str = "") -> list[str]:
    if isinstance(plan, Merge):
        lines = [f"{indent}└─ merge · {plan.law} · {_estimate(plan)}"]
        for piece in plan.pieces:
            lines += _tree(piece.plan, indent + "   ")
        return lines
    assert isinstance(plan, Run)
    graph = repr(plan.problem.graph)
    graph = graph if len(graph) <= _WIDTH else graph[: _WIDTH - 3] + "..."
    lines = [f"{indent}└─ {plan.backend} · {graph} · {plan.way} · {_estimate(plan)}"]
    return lines if plan.note is None else [*lines, f"{indent}   {plan.note}"]


def _estimate(plan: Plan) -> str:
    return f"about {_time(plan.seconds)}, {as_text(plan.memory)}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
