"""Merge: edge-disjoint parts of a graph, each computed its own way, joined exactly.

Forward, the states of the parts are merged. Backward, each part is called with the **merged**
output and log-sum-exp, never with its own: that is all a part needs to know of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.errors import DerivativeError, PlanError
from edgewise.graphs import Graph, recall
from edgewise.layouts import csr, edges
from edgewise.ops.bias import EdgeBias
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, merge
from edgewise.planning.plan import Plan, Run
from edgewise.problem import AttentionProblem

__all__ = ["Merge"]

_PER_EDGE = {"bias": -1, "edge_key": -2, "edge_value": -2}  # which axis counts the edges


@dataclass(frozen=True)
class Merge(Plan):
    r"""Run edge-disjoint parts and merge their states.

    .. math::  \mathrm{attend}(G + H) = \mathrm{merge}(\mathrm{attend}(G), \mathrm{attend}(H))

    Attributes:
        parts: At least one run; their graphs hold every edge of the problem's graph once.
    """

    parts: tuple[Run, ...]

    @property
    def name(self) -> str:
        return f"merge({', '.join(part.name for part in self.parts)})"

    @cached_property
    def positions(self) -> tuple[Tensor, ...]:
        """For each part, where its edges stand in the whole graph's edge order.

        Raises:
            PlanError: the parts share an edge, miss one, or add one.
        """
        whole, device = self.problem.graph, self.problem.device
        if not recall(whole, "facts", whole.facts).simple:
            raise PlanError(
                "merge: the graph holds copies of an edge, which cannot be told "
                "apart when it is split. Merge the copies first."
            )
        rows = csr(whole, device)
        S = max(whole.num_sources, 1)
        keys = rows.target * S + rows.indices
        places = tuple(self._place(part.problem.graph, keys) for part in self.parts)
        taken = torch.zeros(rows.num_edges, dtype=torch.int64, device=device)
        for place in places:
            taken += torch.bincount(place, minlength=rows.num_edges)
        if bool((taken != 1).any()):
            shared, missed = int((taken > 1).sum()), int((taken == 0).sum())
            raise PlanError(
                f"merge: parts must hold every edge once, but they share {shared} and "
                f"miss {missed}. Write an overlapping union as G + (H - G)."
            )
        return places if rows.edge is None else tuple(rows.edge[place] for place in places)

    def _place(self, part: Graph, keys: Tensor) -> Tensor:
        found = edges(part, self.problem.device)
        wanted = found.target * max(part.num_sources, 1) + found.source
        place = torch.searchsorted(keys, wanted).clamp_(max=max(keys.shape[0] - 1, 0))
        if wanted.numel() and (not keys.numel() or not bool((keys[place] == wanted).all())):
            raise PlanError(f"merge: part {part!r} has edges that the whole graph has not.")
        return place

    def attend(self, inputs: Inputs) -> Tensor:
        return self.forward(inputs).out

    def forward(self, inputs: Inputs) -> AttentionState:
        names = tuple(inputs.tensors())
        out, lse = _Merged.apply(self, inputs, names, *inputs.tensors().values())
        return AttentionState(out, lse)

    def part_inputs(self, index: int, inputs: Inputs) -> Inputs:
        """The inputs of one part: per-edge tensors hold only its edges."""
        place = self.positions[index]
        chosen = {
            name: tensor.detach()
            .index_select(_PER_EDGE[name], place)
            .requires_grad_(tensor.requires_grad)
            for name, tensor in inputs.tensors().items()
            if _per_edge(name, inputs)
        }
        return inputs.with_tensors(chosen)

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": "merge",
            "graph": repr(self.problem.graph),
            "parts": [part.to_dict() for part in self.parts],
        }

    @classmethod
    def of(cls, problem: AttentionProblem, parts: Sequence[Run]) -> Merge:
        """Merge these runs into an answer to ``problem``; checks that they fit together."""
        plan = cls(
            problem,
            tuple(
                replace(part, problem=replace(problem, graph=part.problem.graph, wants_lse=True))
                for part in parts
            ),
        )
        _ = plan.positions
        return plan


def _per_edge(name: str, inputs: Inputs) -> bool:
    return name in _PER_EDGE and (name != "bias" or isinstance(inputs.bias, EdgeBias))


class _Merged(Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Merge, inputs: Inputs, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        states = [
            part.forward(plan.part_inputs(index, inputs)) for index, part in enumerate(plan.parts)
        ]
        state = merge(states)
        ctx.plan, ctx.inputs, ctx.names = plan, inputs, names
        ctx.save_for_backward(state.out, state.lse, *tensors)
        return state.out, state.lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        out, lse, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            raise DerivativeError(
                "a merged plan has no second derivative. Use "
                "backend='gather' or backend='reference'."
            )
        plan: Merge = ctx.plan
        inputs: Inputs = ctx.inputs.with_tensors(dict(zip(ctx.names, tensors, strict=True)))
        total: dict[str, Tensor] = {}
        for index, part in enumerate(plan.parts):
            found = part.backward(plan.part_inputs(index, inputs), AttentionState(out, lse), *grads)
            _add(total, plan, index, inputs, found)
        return None, None, None, *(total.get(name) for name in ctx.names)


def _add(
    total: dict[str, Tensor], plan: Merge, index: int, inputs: Inputs, found: Mapping[str, Tensor]
) -> None:
    """Add one part's gradients; those of per-edge tensors go to the part's own edges."""
    for name, grad in found.items():
        if _per_edge(name, inputs):
            whole = total.get(name)
            whole = torch.zeros_like(inputs.tensors()[name]) if whole is None else whole
            total[name] = whole.index_copy(_PER_EDGE[name], plan.positions[index], grad)
        else:
            total[name] = total[name] + grad if name in total else grad
