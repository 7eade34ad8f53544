"""The backend: which graphs are windows, and how their tiles are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.banded import flash, written
from edgewise.backends.banded.flash import Tables
from edgewise.backends.banded.tiles import Tiles
from edgewise.backends.base import Accepts, Backend, Refuses, Work
from edgewise.graphs import recall
from edgewise.layouts import Band, band
from edgewise.ops.inputs import Inputs
from edgewise.ops.once import once_differentiable
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.ops.tracing import looked_into
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Banded"]


@dataclass(frozen=True, eq=False)
class _Strand:
    """A band without gaps, cut into tiles.

    Attributes:
        band: The band.
        nodes: Its nodes among those of the graph.
        block: Targets of a tile, forward; sources, backward.
    """

    band: Band
    nodes: slice
    block: int

    @cached_property
    def tiles(self) -> tuple[Tiles, ...]:
        """Blocks of targets with the sources they read."""
        return Tiles.of(self.band, self.block)

    @cached_property
    def reversed(self) -> tuple[Tiles, ...]:
        """Blocks of sources with the targets that read them."""
        return Tiles.of(self.band.reversed, self.block)


Strands = tuple[_Strand, ...]


class Banded(Backend):
    """Windows as dense tiles: torch's fused attention on overlapping views of keys and values."""

    name: ClassVar[str] = "banded"
    twice_differentiable: ClassVar[bool] = False

    def judge(self, problem: Problem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        assert isinstance(problem, AttentionProblem)
        found = _band(problem)
        assert found is not None
        dim = max(problem.head_dim, problem.value_dim)
        planes = problem.batch * problem.heads
        steps = (found.last - found.first) // found.step
        block = _block(steps)
        # The stairs of the tiles leave out at most a block on both sides of a row together.
        columns = -(-found.num_sources // found.step)
        pairs = min(
            problem.facts.max_edges + found.num_targets * block, found.num_targets * columns
        )
        ends = found.step * (2 + steps // block)  # tiles that are computed one by one
        tables = (4 + 6 * problem.needs_grad) * max(found.num_targets, found.num_sources)
        memory = planes * dim * tables * problem.accumulate.itemsize
        memory += block * (block + steps) * (1 + problem.dtype.itemsize)  # the mask of a tile
        numbers = (found.num_targets + found.num_sources) * planes * dim
        work = Work(pairs * planes * dim, pairs * planes, numbers, calls=found.step + ends)
        return Accepts(work, memory, way="tiles", pairs=pairs)

    def prepare(self, problem: Problem) -> Strands:
        found = _band(problem)
        assert found is not None

        def cut() -> Strands:
            return tuple(
                _Strand(strand, slice(start, None, found.step), _block(strand.last - strand.first))
                for start, strand in enumerate(found.strands)
            )

        return recall(problem.graph, "banded", cut)

    def forward(
        self, problem: AttentionProblem, prepared: Strands, inputs: Inputs
    ) -> AttentionState:
        scale = _scale(problem)
        tensors = (inputs.query, inputs.key, inputs.value)
        if looked_into(tensors):
            return AttentionState(*_written(prepared, scale, tensors))
        out, lse = _Attention.apply(prepared, scale, *tensors)  # type: ignore[misc]
        return AttentionState(out, lse)

    def backward(
        self,
        problem: AttentionProblem,
        prepared: Strands,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        tensors = (inputs.query, inputs.key, inputs.value)
        found = _gradients(
            prepared, _scale(problem), tensors, state.out, state.lse, grad_out, grad_lse
        )
        named = zip(("query", "key", "value"), tensors, found, strict=True)
        return {name: grad for name, tensor, grad in named if tensor.requires_grad}

    def aggregate(
        self, problem: AggregateProblem, prepared: Strands, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        raise AssertionError("judge accepts no aggregation")


# --- What it accepts -----------------------------------------------------------------------------


def _band(problem: Problem) -> Band | None:
    return recall(problem.graph, "band", lambda: band(problem.graph))


def _refusals(problem: Problem) -> list[str]:
    if not isinstance(problem, AttentionProblem):
        return ["sums without scores gain nothing from tiles; use native or gather"]
    reasons: list[str] = []
    if problem.device.type != "cpu":
        reasons.append(f"tiles run on the CPU, not on {problem.device.type}; move the tensors")
    if _band(problem) is None:
        reasons.append("the graph is not known to be a window; use Window, Dilated or Causal")
    elif problem.facts.min_in_degree == 0:
        reasons.append("some targets have nothing to read; leave them out")
    if not isinstance(problem.score, Dot) or problem.score.softcap is not None:
        reasons.append("torch's fused attention knows no score but Dot without a soft cap")
    if problem.bias is not None:
        reasons.append(f"tiles take no {problem.bias} bias; leave it out")
    for name in ("edge_key", "edge_value"):
        if getattr(problem, name):
            reasons.append(f"{name} belongs to edges, not to tiles; leave it out")
    if problem.dropout:
        reasons.append("torch's dropout cannot be repeated edge by edge; set dropout=0")
    return reasons


def _block(steps: int) -> int:
    """Rows of a tile: as many as half of what each row reads, within what caches like."""
    block = 64
    while block < 256 and 2 * block <= steps // 2:
        block *= 2
    return block


def _scale(problem: AttentionProblem) -> float:
    assert isinstance(problem.score, Dot)
    return problem.score.factor(problem.head_dim)


# --- Computing -----------------------------------------------------------------------------------


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, prepared: Strands, scale: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        query, key, value = tensors
        ctx.prepared, ctx.scale = prepared, scale
        ctx.set_materialize_grads(False)
        shape = (*query.shape[:-1], value.shape[-1])
        out, lse = _output(prepared, scale, _tables((query, key, value)))
        out, lse = out[..., : shape[-1]].view(shape), lse.view(shape[:-1])
        ctx.save_for_backward(query, key, value, out, lse)
        if not any(ctx.needs_input_grad[2:4]):
            ctx.mark_non_differentiable(lse)  # the scores do not depend on the values
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        query, key, value, out, lse = ctx.saved_tensors
        grad_out, grad_lse = grads
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        found: Any = _gradients(
            ctx.prepared, ctx.scale, (query, key, value), out, lse, grad_out, grad_lse
        )
        if torch.is_grad_enabled():
            found = once_differentiable("banded", found, [grad_out, query, key, value])
        return None, None, *found


def _output(prepared: Strands, scale: float, tables: Tables) -> tuple[Tensor, Tensor]:
    if len(prepared) == 1:
        return flash.forward(tables, prepared[0].tiles, scale)
    query = tables[0]
    out = torch.empty_like(query)
    lse = query.new_empty(query.shape[:2], dtype=accumulate_dtype(query.dtype))
    for strand in prepared:
        at = strand.nodes
        out[:, at], lse[:, at] = flash.forward(_strand_of(tables, at), strand.tiles, scale)
    return out, lse


def _gradients(
    prepared: Strands,
    scale: float,
    tensors: Tables,
    out: Tensor,
    lse: Tensor,
    grad_out: Tensor,
    grad_lse: Tensor | None,
) -> Tables:
    tables = _tables(tensors)
    query, key, value = tables
    planes, channels = query.shape[0], query.shape[2]
    result, push = (_table(_wide(t, channels), planes) for t in (out, grad_out))
    sums = lse.reshape(planes, -1)
    found = _through_tiles(prepared, scale, tables, (result, sums, push))
    if grad_lse is not None and bool(grad_lse.any()):
        # The log-sum-exp has the gradient of an output whose values are all one, without delta.
        ones, nothing, push = (torch.zeros_like(t) for t in (value, query, query))
        ones[..., 0] = 1
        push[..., 0] = grad_lse.reshape(planes, -1)
        more = _through_tiles(prepared, scale, (query, key, ones), (nothing, sums, push))
        found = (found[0] + more[0], found[1] + more[1], found[2])
    of_query, of_key, of_value = (
        _as_given(grad, tensor) for grad, tensor in zip(found, tensors, strict=True)
    )
    return of_query, of_key, of_value


def _through_tiles(prepared: Strands, scale: float, tables: Tables, results: Tables) -> Tables:
    if len(prepared) == 1:
        return flash.backward(tables, results, prepared[0].reversed, scale)
    query, key, value = tables
    found = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    for strand in prepared:
        at = strand.nodes
        read = (_strand_of(tables, at), _strand_of(results, at))
        for grad, part in zip(found, flash.backward(*read, strand.reversed, scale), strict=True):
            grad[:, at] = part
    return found


def _strand_of(tables: Tables, nodes: slice) -> Tables:
    first, second, third = tables
    return first[:, nodes], second[:, nodes], third[:, nodes]


def _written(prepared: Strands, scale: float, tensors: Tables) -> tuple[Tensor, Tensor]:
    query, key, value = _every_head(tensors)
    outs: list[Tensor] = []
    sums: list[Tensor] = []
    for strand in prepared:
        at = strand.nodes
        read = (query[..., at, :], key[..., at, :], value[..., at, :])
        out, lse = written.forward(read, strand.band, strand.block, scale)
        outs.append(out)
        sums.append(lse)
    if len(prepared) == 1:
        return outs[0], sums[0]
    nodes = torch.arange(query.shape[-2], device="cpu")
    order = torch.argsort(torch.cat([nodes[strand.nodes] for strand in prepared]))
    return torch.cat(outs, -2)[..., order, :], torch.cat(sums, -1)[..., order]


# --- Tensors as tiles take them: [planes, nodes, channels], one plane for each query head ---------


def _tables(tensors: Tables) -> Tables:
    query, key, value = _every_head(tensors)
    planes, channels = query.shape[:-2].numel(), max(query.shape[-1], value.shape[-1])
    first, second, third = (_table(_wide(t, channels), planes) for t in (query, key, value))
    return first, second, third


def _every_head(tensors: Tables) -> Tables:
    """Keys and values once for each query head."""
    query, key, value = tensors
    share = query.shape[-3] // key.shape[-3]
    if share == 1:
        return tensors
    return query, key.repeat_interleave(share, -3), value.repeat_interleave(share, -3)


def _wide(tensor: Tensor, channels: int) -> Tensor:
    """Torch's kernel wants keys and values of one size: zeros add nothing."""
    missing = channels - tensor.shape[-1]
    return torch.nn.functional.pad(tensor, (0, missing)) if missing else tensor


def _table(tensor: Tensor, planes: int) -> Tensor:
    table = tensor.reshape(planes, *tensor.shape[-2:])
    return table if table.stride(-1) == 1 else table.contiguous()


def _as_given(grad: Tensor, tensor: Tensor) -> Tensor:
    """A gradient in the shape of its tensor: without padding, added up over heads that share it."""
    heads = tensor.shape[-3]
    grad = grad[..., : tensor.shape[-1]]
    lead = tensor.shape[:-3].numel()
    grad = grad.view(lead, heads, -1, *grad.shape[1:])
    whole = grad[:, :, 0] if grad.shape[2] == 1 else grad.sum(2)
    return whole.reshape(tensor.shape)
