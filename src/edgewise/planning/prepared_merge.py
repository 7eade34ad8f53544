"""Prepared merges: edge-disjoint parts of a graph, whose states are joined exactly.

Forward, the states of the parts are merged. Backward, each part is called with the **merged**
output and log-sum-exp, never with its own: that is all a part needs of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.ops.bias import EdgeBias
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype, finite, merge
from edgewise.ops.tracing import is_intercepted, many_at_once
from edgewise.planning.prepared import Prepared
from edgewise.planning.split import Place
from edgewise.problem import AttentionSignature

__all__ = ["PreparedMerge", "PreparedPiece"]

_PER_EDGE = {"bias": -1, "edge_key": -2, "edge_value": -2}  # which axis counts the edges
_NOWHERE = 1e30  # a log-sum-exp that makes every weight of a row zero


@dataclass(frozen=True, eq=False)
class PreparedPiece:
    """A part of a graph, ready to run.

    Attributes:
        place: Where it lies in the whole.
        prepared: The prepared plan of the part.
    """

    place: Place
    prepared: Prepared


@dataclass(frozen=True, eq=False)
class PreparedMerge(Prepared):
    """A prepared merge: edge-disjoint parts, ready to run.

    Attributes:
        signature: Of the problem that was planned.
        pieces: The parts.
        positions: For each part, where its edges stand in the whole graph's edge order; empty where
            no tensor has one entry for each edge.
    """

    signature: AttentionSignature
    pieces: tuple[PreparedPiece, ...]
    positions: tuple[Tensor, ...]

    def attend(self, inputs: Inputs) -> Tensor:
        return self.forward(inputs).out

    def forward(self, inputs: Inputs) -> AttentionState:
        tensors = inputs.tensors()
        if is_intercepted(tuple(tensors.values())):
            return self.plain_forward(inputs)
        out, lse = _Merged.apply(self, inputs, tuple(tensors), *tensors.values())
        return AttentionState(out, lse)

    def plain_forward(self, inputs: Inputs) -> AttentionState:
        """`forward` as operations of the parts, which autograd records one by one."""
        return merge([self._whole_state(index, inputs) for index in range(len(self.pieces))])

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        total: dict[str, Tensor] = {}
        for index, piece in enumerate(self.pieces):
            place, leaves = piece.place, self.part_inputs(index, inputs).leaves(like=inputs)
            lse = _rows(state.lse, place, -1)
            if place.left_out is not None:
                lse = lse.index_fill(-1, place.left_out, _NOWHERE)
            grads = piece.prepared.backward(
                leaves,
                AttentionState(_rows(state.out, place), lse),
                _rows(grad_out, place),
                _rows(grad_lse, place, -1),
            )
            self._add(total, index, inputs, grads)
        return total

    def part_inputs(self, index: int, inputs: Inputs) -> Inputs:
        """The inputs of one part: its nodes, and of per-edge tensors its edges."""
        place = self.pieces[index].place
        chosen: dict[str, Tensor] = {}
        for name, tensor in inputs.tensors().items():
            if _per_edge(name, inputs):
                chosen[name] = tensor.index_select(_PER_EDGE[name], self.positions[index])
            elif name == "query":
                chosen[name] = _rows(tensor, place)
            elif name in ("key", "value"):
                chosen[name] = _taken(tensor, place.sources, -2)
        return inputs.with_tensors(chosen)

    def _whole_state(self, index: int, inputs: Inputs) -> AttentionState:
        """The state of one part for every target of the whole; differentiable by autograd."""
        place = self.pieces[index].place
        state = self.pieces[index].prepared.forward(self.part_inputs(index, inputs))
        out, lse = state.out, state.lse
        if place.left_out is not None:
            out = out.index_fill(-2, place.left_out, 0.0)
            lse = lse.index_fill(-1, place.left_out, -torch.inf)
        if place.targets is None:
            return AttentionState(out, lse)
        query = inputs.query
        rows = _numbers(place.targets, query.device)
        nothing = out.new_zeros(*query.shape[:-1], out.shape[-1])
        unread = lse.new_full(query.shape[:-1], -torch.inf)
        return AttentionState(nothing.index_copy(-2, rows, out), unread.index_copy(-1, rows, lse))

    def _add(
        self, total: dict[str, Tensor], index: int, inputs: Inputs, grads: Mapping[str, Tensor]
    ) -> None:
        """Add the gradients of part ``index`` to those of the whole, in place."""
        place = self.pieces[index].place
        for name, grad in grads.items():
            if _per_edge(name, inputs):
                axis, nodes = _PER_EDGE[name], self.positions[index]
            else:
                axis = -2
                nodes = place.targets if name == "query" else place.sources
                nodes = nodes if name in ("query", "key", "value") else None
            if nodes is None and name not in total:
                total[name] = grad.contiguous()
                continue
            if name not in total:
                total[name] = torch.zeros_like(inputs.tensors()[name])
            _at(total[name], nodes, axis, grad)


# --- Where a part lies ---------------------------------------------------------------------------


def _taken(tensor: Tensor, nodes: slice | Tensor | None, axis: int) -> Tensor:
    """The entries of some nodes along an axis; a view where they are a range or all."""
    if nodes is None:
        return tensor
    if isinstance(nodes, slice):
        return tensor.narrow(axis, nodes.start, nodes.stop - nodes.start)
    return tensor.index_select(axis, nodes)


def _rows(tensor: Tensor, place: Place, axis: int = -2) -> Tensor:
    return _taken(tensor, place.targets, axis)


def _numbers(nodes: slice | Tensor, device: torch.device) -> Tensor:
    if isinstance(nodes, slice):
        return torch.arange(nodes.start, nodes.stop, device=device)
    return nodes


def _at(whole: Tensor, nodes: slice | Tensor | None, axis: int, part: Tensor) -> None:
    """Add a part's rows to those nodes of the whole, in place; no node occurs twice."""
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
        ctx: Any, merged: PreparedMerge, inputs: Inputs, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        query, value = inputs.query, inputs.value
        sums = _MergedSums(query, value.shape[-1])
        for index, piece in enumerate(merged.pieces):
            sums.add(piece.place, piece.prepared.forward(merged.part_inputs(index, inputs)))
        out, lse = sums.state()
        out = out.to(query.dtype)
        ctx.merged, ctx.inputs, ctx.names = merged, inputs, names
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out, lse, *tensors)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        out, lse, *tensors = ctx.saved_tensors
        merged: PreparedMerge = ctx.merged
        inputs: Inputs = ctx.inputs.with_tensors(dict(zip(ctx.names, tensors, strict=True)))
        grad_out, grad_lse = grads
        if torch.is_grad_enabled() or many_at_once(grads):

            def plain(*read: Tensor) -> tuple[Tensor, Tensor]:
                named = dict(zip(ctx.names, read, strict=True))
                state = merged.plain_forward(ctx.inputs.with_tensors(named))
                return state.out, state.lse

            needed = ctx.needs_input_grad[3:]
            return None, None, None, *differentiable_gradients(plain, tensors, needed, grads)
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        grad_lse = torch.zeros_like(lse) if grad_lse is None else grad_lse
        with torch.no_grad():
            total = merged.backward(inputs, AttentionState(out, lse), grad_out, grad_lse)
        return None, None, None, *(total.get(name) for name in ctx.names)


class _MergedSums:
    """The merged state of the parts so far, in whose memory it is written in place."""

    def __init__(self, query: Tensor, value_dim: int) -> None:
        self._dtype = accumulate_dtype(query.dtype)
        self._shape = (*query.shape[:-1], value_dim)
        self._state: tuple[Tensor, Tensor] | None = None
        self._device = query.device

    def add(self, place: Place, state: AttentionState) -> None:
        """Merge the state of a part into its rows, in place."""
        part_out, lse = state.out.to(self._dtype), state.lse
        if place.left_out is not None:
            part_out.index_fill_(-2, place.left_out, 0.0)  # zero times NaN would not be zero
            lse = lse.index_fill_(-1, place.left_out, -torch.inf)
        if self._state is None and place.targets is None:
            self._state = (part_out.contiguous(), lse.contiguous())
            return
        out, sums = self.state()
        before = _rows(sums, place, -1)
        total = torch.logaddexp(before, lse)
        top = finite(total)
        share, part_share = (torch.exp(each - top)[..., None] for each in (before, lse))
        rows = _rows(out, place).mul_(share).addcmul_(part_out, part_share)
        if isinstance(place.targets, Tensor):
            out.index_copy_(-2, place.targets, rows)
            sums.index_copy_(-1, place.targets, total)
        else:
            before.copy_(total)

    def state(self) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp; without parts, zero and minus infinity."""
        if self._state is None:
            out = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
            self._state = (out, torch.full_like(out[..., 0], -torch.inf))
        return self._state
