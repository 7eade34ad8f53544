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

from edgewise.errors import PlanError
from edgewise.graphs import Complete, Graph, facts_of
from edgewise.layouts import csr, edges
from edgewise.ops.bias import EdgeBias
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype, finite, merge
from edgewise.ops.tracing import looked_into, many_at_once
from edgewise.planning.plan import Plan, Run, attention_of
from edgewise.planning.split import Part
from edgewise.problem import AttentionProblem

__all__ = ["Merge", "Piece"]

_PER_EDGE = {"bias": -1, "edge_key": -2, "edge_value": -2}  # which axis counts the edges
_NOWHERE = 1e30  # a log-sum-exp that makes every weight of a row zero


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a graph, and how it runs.

    Attributes:
        part: Its edges, and where they lie.
        plan: How they are computed.
    """

    part: Part
    plan: Plan


@dataclass(frozen=True, eq=False)
class Merge(Plan):
    r"""Run edge-disjoint parts and merge their states.

    .. math::  \mathrm{attend}(G + H) = \mathrm{merge}(\mathrm{attend}(G), \mathrm{attend}(H))

    Attributes:
        law: Why the parts hold every edge once.
        pieces: At least one; their graphs hold every edge of the problem's graph once.
    """

    law: str
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        return f"merge({', '.join(piece.plan.name for piece in self.pieces)})"

    @property
    def spreads(self) -> bool:
        return any(piece.plan.spreads or piece.part.left_out is not None for piece in self.pieces)

    @cached_property
    def positions(self) -> tuple[Tensor, ...]:
        """For each part, where its edges stand in the whole graph's edge order.

        Raises:
            PlanError: the parts share an edge, miss one, or add one.
        """
        whole, device = self.problem.graph, self.problem.device
        if not facts_of(whole).simple:
            raise PlanError(
                "merge: the graph holds copies of an edge, which cannot be told "
                "apart when it is split. Merge the copies first."
            )
        rows = csr(whole, device)
        S = max(whole.num_sources, 1)
        keys = rows.target * S + rows.indices
        places = tuple(self._place(piece.part.graph, keys) for piece in self.pieces)
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

    def without_graph(self) -> Merge:
        pieces = tuple(
            Piece(replace(piece.part, graph=Complete(0)), piece.plan.without_graph())
            for piece in self.pieces
        )
        bare = replace(self, problem=replace(self.problem, graph=Complete(0)), pieces=pieces)
        if attention_of(self.problem).edge_tensors:
            object.__setattr__(bare, "positions", self.positions)
        return bare

    def attend(self, inputs: Inputs) -> Tensor:
        return self.forward(inputs).out

    def forward(self, inputs: Inputs) -> AttentionState:
        tensors = inputs.tensors()
        if looked_into(tuple(tensors.values())):
            return self.plain_forward(inputs)
        out, lse = _Merged.apply(self, inputs, tuple(tensors), *tensors.values())
        return AttentionState(out, lse)

    def plain_forward(self, inputs: Inputs) -> AttentionState:
        """The same from the parts' own operations, which autograd records one by one."""
        return merge([self._whole_state(index, inputs) for index in range(len(self.pieces))])

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        total: dict[str, Tensor] = {}
        for index, piece in enumerate(self.pieces):
            part, own = piece.part, self.part_inputs(index, inputs).leaves(like=inputs)
            lse = _rows(state.lse, part, -1)
            if part.left_out is not None:
                lse = lse.index_fill(-1, part.left_out, _NOWHERE)
            found = piece.plan.backward(
                own,
                AttentionState(_rows(state.out, part), lse),
                _rows(grad_out, part),
                _rows(grad_lse, part, -1),
            )
            self._add(total, index, inputs, found)
        return total

    def part_inputs(self, index: int, inputs: Inputs) -> Inputs:
        """The inputs of one part: its nodes, and of per-edge tensors its edges."""
        part = self.pieces[index].part
        chosen: dict[str, Tensor] = {}
        for name, tensor in inputs.tensors().items():
            if _per_edge(name, inputs):
                chosen[name] = tensor.index_select(_PER_EDGE[name], self.positions[index])
            elif name == "query":
                chosen[name] = _rows(tensor, part)
            elif name in ("key", "value"):
                chosen[name] = _taken(tensor, part.sources, -2)
        return inputs.with_tensors(chosen)

    def _whole_state(self, index: int, inputs: Inputs) -> AttentionState:
        """The state of one part for every target of the whole; differentiable by autograd."""
        part = self.pieces[index].part
        state = self.pieces[index].plan.forward(self.part_inputs(index, inputs))
        out, lse = state.out, state.lse
        if part.left_out is not None:
            out = out.index_fill(-2, part.left_out, 0.0)
            lse = lse.index_fill(-1, part.left_out, -torch.inf)
        if part.targets is None:
            return AttentionState(out, lse)
        query = inputs.query
        rows = _numbers(part.targets, query.device)
        nothing = out.new_zeros(*query.shape[:-1], out.shape[-1])
        unread = lse.new_full(query.shape[:-1], -torch.inf)
        return AttentionState(nothing.index_copy(-2, rows, out), unread.index_copy(-1, rows, lse))

    def _add(
        self, total: dict[str, Tensor], index: int, inputs: Inputs, found: Mapping[str, Tensor]
    ) -> None:
        """Add one part's gradients where they belong."""
        part = self.pieces[index].part
        for name, grad in found.items():
            if _per_edge(name, inputs):
                axis, nodes = _PER_EDGE[name], self.positions[index]
            else:
                axis = -2
                nodes = part.targets if name == "query" else part.sources
                nodes = nodes if name in ("query", "key", "value") else None
            if nodes is None and name not in total:
                total[name] = grad.contiguous()
                continue
            if name not in total:
                total[name] = torch.zeros_like(inputs.tensors()[name])
            _at(total[name], nodes, axis, grad)

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": "merge",
            "graph": repr(self.problem.graph),
            "law": self.law,
            "seconds": self.seconds,
            "memory": self.memory,
            "parts": [piece.plan.to_dict() for piece in self.pieces],
        }

    @classmethod
    def of(cls, problem: AttentionProblem, runs: Sequence[Run]) -> Merge:
        """Merge these runs into an answer to ``problem``; checks that they fit together."""
        parts = [
            replace(run, problem=replace(problem, graph=run.problem.graph, wants_lse=True))
            for run in runs
        ]
        plan = cls(
            problem,
            sum(part.seconds for part in parts),
            max(part.memory for part in parts),
            "parts that share no edge, as was checked",
            tuple(Piece(Part(part.problem.graph), part) for part in parts),
        )
        _ = plan.positions
        return plan


# --- Where a part lies ---------------------------------------------------------------------------


def _taken(tensor: Tensor, nodes: slice | Tensor | None, axis: int) -> Tensor:
    if nodes is None:
        return tensor
    if isinstance(nodes, slice):
        return tensor.narrow(axis, nodes.start, nodes.stop - nodes.start)
    return tensor.index_select(axis, nodes)


def _rows(tensor: Tensor, part: Part, axis: int = -2) -> Tensor:
    return _taken(tensor, part.targets, axis)


def _numbers(nodes: slice | Tensor, device: torch.device) -> Tensor:
    if isinstance(nodes, slice):
        return torch.arange(nodes.start, nodes.stop, device=device)
    return nodes


def _at(whole: Tensor, nodes: slice | Tensor | None, axis: int, part: Tensor) -> None:
    """Add in place; no node is there twice."""
    if nodes is None:
        whole.add_(part)
    elif isinstance(nodes, slice):
        whole.narrow(axis, nodes.start, nodes.stop - nodes.start).add_(part)
    else:
        whole.index_add_(axis, nodes, part)


def _per_edge(name: str, inputs: Inputs) -> bool:
    return name in _PER_EDGE and (name != "bias" or isinstance(inputs.bias, EdgeBias))


# --- Autograd ------------------------------------------------------------------------------------


class _Merged(Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Merge, inputs: Inputs, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        query, value = inputs.query, inputs.value
        sums = _Sums(query, value.shape[-1])
        for index, piece in enumerate(plan.pieces):
            sums.add(piece.part, piece.plan.forward(plan.part_inputs(index, inputs)))
        out, lse = sums.state()
        out = out.to(query.dtype)
        ctx.plan, ctx.inputs, ctx.names = plan, inputs, names
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out, lse, *tensors)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        out, lse, *tensors = ctx.saved_tensors
        plan: Merge = ctx.plan
        inputs: Inputs = ctx.inputs.with_tensors(dict(zip(ctx.names, tensors, strict=True)))
        grad_out, grad_lse = grads
        if torch.is_grad_enabled() or many_at_once(grads):

            def plain(*read: Tensor) -> tuple[Tensor, Tensor]:
                named = dict(zip(ctx.names, read, strict=True))
                state = plan.plain_forward(ctx.inputs.with_tensors(named))
                return state.out, state.lse

            found = differentiable_gradients(plain, tensors, ctx.needs_input_grad[3:], grads)
            return None, None, None, *found
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        grad_lse = torch.zeros_like(lse) if grad_lse is None else grad_lse
        with torch.no_grad():
            total = plan.backward(inputs, AttentionState(out, lse), grad_out, grad_lse)
        return None, None, None, *(total.get(name) for name in ctx.names)


class _Sums:
    """The merged state so far. What a part returns belongs to it: memory is written in place."""

    def __init__(self, query: Tensor, value_dim: int) -> None:
        self._dtype = accumulate_dtype(query.dtype)
        self._shape = (*query.shape[:-1], value_dim)
        self._state: tuple[Tensor, Tensor] | None = None
        self._device = query.device

    def add(self, part: Part, state: AttentionState) -> None:
        """Merge the state of a part into its rows."""
        found, lse = state.out.to(self._dtype), state.lse
        if part.left_out is not None:
            found.index_fill_(-2, part.left_out, 0.0)  # zero times NaN would not be zero
            lse = lse.index_fill_(-1, part.left_out, -torch.inf)
        if self._state is None and part.targets is None:
            self._state = (found.contiguous(), lse.contiguous())
            return
        out, sums = self.state()
        before = _rows(sums, part, -1)
        total = torch.logaddexp(before, lse)
        top = finite(total)
        mine, theirs = (torch.exp(each - top)[..., None] for each in (before, lse))
        own = _rows(out, part).mul_(mine).addcmul_(found, theirs)
        if isinstance(part.targets, Tensor):
            out.index_copy_(-2, part.targets, own)
            sums.index_copy_(-1, part.targets, total)
        else:
            before.copy_(total)

    def state(self) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp; every target starts with nothing."""
        if self._state is None:
            out = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
            self._state = (out, torch.full_like(out[..., 0], -torch.inf))
        return self._state
