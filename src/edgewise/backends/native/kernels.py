"""Attention by the compiled kernels: tensors are packed into the records that kernels read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgewise.backends.native import storage
from edgewise.backends.native.layout import Rows, pointer
from edgewise.backends.native.library import ATTENTION, BACKWARD, library, run, threads_for
from edgewise.backends.native.operands import Operands, Settings
from edgewise.backends.native.storage import DTYPES, NO_VIEW, View
from edgewise.ops.state import accumulate_dtype

__all__ = [
    "attention_backward",
    "attention_forward",
    "empty_gradient",
    "empty_results",
    "forward_record",
]

_SLOTS = 8  # numbers that a kernel may read beyond the last target's heads
_DENSE = 3  # query, key, value: their gradients are written, those of the others added up


def attention_forward(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    seed: Tensor | None,
    *,
    wide: bool = False,
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp; with ``wide``, the output in the dtype sums are kept in."""
    out, lse = empty_results(operands.query, operands.value, wide=wide)
    if lse.numel():
        ready = storage.ready(settings, rows, operands)  # holds what the kernel reads
        run(library().attention(_packed(settings, rows, operands, ready, seed, out, lse)))
    return out, lse


def forward_record(
    settings: Settings, rows: Rows, operands: Operands, out: Tensor, lse: Tensor
) -> bytes:
    """The packed record of a call, which is not run."""
    ready = storage.ready(settings, rows, operands)
    return _packed(settings, rows, operands, ready, None, out, lse)


def empty_results(query: Tensor, value: Tensor, *, wide: bool) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp without numbers, in the memory layout of the query."""
    accumulate = accumulate_dtype(query.dtype)
    shape = (*query.shape[:-1], value.shape[-1])
    out = storage.empty(shape, query, accumulate if wide else query.dtype)
    return out, query.new_empty(query.shape[:-1], dtype=accumulate)


def empty_gradient(operands: Operands, place: int) -> Tensor:
    """The gradient of an operand without numbers, in the memory layout of the operand."""
    tensor = operands[place]
    assert tensor is not None
    if place < _DENSE:
        return storage.empty(tuple(tensor.shape), tensor, tensor.dtype)
    return tensor.new_empty(tensor.shape)


def attention_backward(
    settings: Settings,
    rows: Rows,
    columns: Rows,
    operands: Operands,
    seed: Tensor | None,
    state: list[Tensor],
    grad_out: Tensor,
    grad_lse: Tensor | None,
    wanted: tuple[bool, ...],
    *,
    records: list[bytes] | None = None,
) -> list[Tensor | None]:
    """Gradients of the operands of which ``wanted`` is true, None of the others.

    Args:
        settings: The numbers of the call.
        rows: By target.
        columns: By source.
        operands: The tensors of the call.
        seed: Of dropout.
        state: The global output and log-sum-exp, which are taken out of the list: a large output
            without other references is freed before gradients fill new memory. The output may be
            wide: rounding it would show in the gradients of the scores, which are differences of
            such products.
        grad_out: Gradient of the output.
        grad_lse: Gradient of the log-sum-exp; None for zeros.
        wanted: For each operand, whether its gradient is needed.
        records: A list to which the packed record is appended.
    """
    accumulate = accumulate_dtype(operands.query.dtype)
    out, lse = state
    state.clear()
    if not lse.numel():
        return [
            empty_gradient(operands, place).zero_()
            if wanted[place] and operands[place] is not None
            else None
            for place in range(len(operands))
        ]
    ready = storage.ready(settings, rows, operands)
    out = out if out.dtype == accumulate else out.to(operands.query.dtype)
    out = storage.whole_rows(out)
    grad_out = storage.storage_of(rows, operands)(grad_out.to(operands.query.dtype))
    lse = lse.contiguous()
    grad_lse = None if grad_lse is None else grad_lse.to(accumulate).resolve_neg().contiguous()
    dense = [empty_gradient(operands, place) if wanted[place] else None for place in range(_DENSE)]
    vector = operands.vector
    grad_vector = None
    if vector is not None and wanted[3]:
        grad_vector = torch.zeros(vector.shape, dtype=accumulate)
    lead = operands.query.shape[:-2]
    of_edges = [
        _EdgeGradient.of(tensor, lead, tail, accumulate) if needed and tensor is not None else None
        for tensor, needed, tail in zip(operands[4:], wanted[4:], (1, 2, 2), strict=True)
    ]
    stats = None
    if out.nbytes >= storage.LARGE and rows.tiles is None:  # tiles read the output as they go
        stats = storage.new((2 * lse.numel() + _SLOTS,), lse, accumulate)
    packed = BACKWARD.pack(
        *_record(settings, rows, operands, ready, seed, storage.view(out), lse, out.dtype),
        *columns.record,
        *storage.view(grad_out),
        pointer(grad_lse),
        pointer(stats),
        *(field for grad in dense for field in _view_of(grad)),
        pointer(grad_vector),
        *(field for grad in of_edges for field in (NO_VIEW if grad is None else grad.view)),
    )
    if stats is not None:
        run(library().statistics(packed))
        del out
    run(library().backward(packed))
    if records is not None:
        records.append(packed)
    dtype = operands.query.dtype
    return [
        *dense,
        None if grad_vector is None else grad_vector.to(dtype),
        *(
            None if grad is None else grad.result(accumulate if index == 0 else dtype)
            for index, grad in enumerate(of_edges)
        ),
    ]


class _EdgeGradient(NamedTuple):
    """Memory in which the gradient of an edge tensor is added up."""

    total: Tensor
    shape: torch.Size
    view: View

    @classmethod
    def of(
        cls, tensor: Tensor, lead: torch.Size, tail: int, accumulate: torch.dtype
    ) -> _EdgeGradient:
        """Zeros for an edge tensor with ``tail`` dimensions after those of ``lead``."""
        total = torch.zeros(tensor.shape, dtype=accumulate)
        spread = storage.spread(total, lead, tail)
        if spread.data_ptr() != total.data_ptr() and total.numel():
            # Some batch dimensions share the tensor and others do not: add them up afterwards.
            total = torch.zeros(*lead, *tensor.shape[-tail:], dtype=accumulate)
            spread = storage.spread(total, lead, tail)
        return cls(total, tensor.shape, storage.view(spread))

    def result(self, dtype: torch.dtype) -> Tensor:
        return self.total.sum_to_size(self.shape).to(dtype).contiguous()


def _view_of(grad: Tensor | None) -> View:
    """The view to which a gradient of query, key or value is written; `NO_VIEW` for None."""
    return NO_VIEW if grad is None else storage.view(storage.four(grad))


def _packed(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    ready: Operands,
    seed: Tensor | None,
    out: Tensor,
    lse: Tensor,
) -> bytes:
    """A packed ``edgewise_attention``; arguments as of `_record`."""
    view = storage.view(storage.four(out))
    record = _record(settings, rows, operands, ready, seed, view, lse, out.dtype)
    return ATTENTION.pack(*record)


def _record(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    ready: Operands,
    seed: Tensor | None,
    out: View,
    lse: Tensor,
    out_dtype: torch.dtype,
) -> tuple[int | float, ...]:
    """The fields of ``edgewise_attention``.

    ``ready`` are the operands as `storage.ready` returns them; ``out`` may be the wide output.
    """
    query, key, value, vector, bias, edge_key, edge_value = ready
    batch, heads, _, key_dim = query.shape
    value_dim = value.shape[-1]
    keep = 1.0 - settings.dropout
    work = batch * heads * rows.num_edges * (key_dim + value_dim) // 2
    return (
        DTYPES[query.dtype],
        settings.score,
        batch,
        heads,
        key.shape[1],
        key_dim,
        value_dim,
        operands.query.shape[-1],
        operands.value.shape[-1],
        threads_for(work),
        out_dtype != query.dtype,
        settings.scale,
        settings.softcap,
        settings.slope,
        seed is not None,
        0 if seed is None else int(seed),
        int(settings.dropout * 2**32),
        1.0 if seed is None else float(np.float32(1) / np.float32(keep)),
        *storage.view(query),
        *storage.view(key),
        *storage.view(value),
        *(NO_VIEW if vector is None else (vector.data_ptr(), 0, key_dim, 0)),
        *(NO_VIEW if bias is None else storage.view(bias)),
        *(NO_VIEW if edge_key is None else storage.view(edge_key)),
        *(NO_VIEW if edge_value is None else storage.view(edge_value)),
        *out,
        lse.data_ptr(),
        *rows.record,
    )
