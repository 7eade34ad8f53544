"""From tensors to the records that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgewise.backends.native.layout import Rows, pointer
from edgewise.backends.native.library import AGGREGATE, ATTENTION, BACKWARD, PRODUCTS, library
from edgewise.ops.scores import Additive, Dot, GATv2, Score
from edgewise.ops.state import accumulate_dtype

__all__ = [
    "READ_OFTEN",
    "STEP",
    "Operands",
    "Settings",
    "attention_backward",
    "attention_forward",
    "edge_products",
    "empty_gradient",
    "empty_results",
    "forward_record",
    "reduce_rows",
    "run",
    "settings_of",
]

_DTYPES = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2, torch.float16: 3}
_REDUCTIONS = {"sum": 0, "max": 1, "won": 2, "mean": 3}
_DOT, _ADDITIVE, _GATV2 = range(3)
_SLOTS = 8  # numbers that a kernel may read beyond the last target's heads
_ONE_THREAD = 2_000_000  # edge-channels that one thread works through in about a millisecond
_DENSE = 3  # query, key, value: their gradients are written, those of the others added up
_NO_VIEW = (0, 0, 0, 0)
READ_OFTEN = 16  # edges for each node from which a copy in another order pays
STEP = 512  # bytes of a row that the kernels work on at a time
_LARGE = 8 << 20  # bytes; large pages have 2 << 20

_View = tuple[int, int, int, int]


class Settings(NamedTuple):
    """The numbers of a call that do not depend on its tensors."""

    score: int
    scale: float
    softcap: float
    slope: float
    dropout: float


class Operands(NamedTuple):
    """The tensors of a call: ``[*batch, heads, nodes|edges, dim]``; a bias ends with the edges.

    All have one dtype but the bias, which has the one that sums are kept in.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    vector: Tensor | None = None
    bias: Tensor | None = None
    edge_key: Tensor | None = None
    edge_value: Tensor | None = None


def settings_of(score: Score, head_dim: int, dropout: float) -> Settings:
    """The settings of a score."""
    match score:
        case Dot():
            return Settings(_DOT, score.factor(head_dim), score.softcap or 0.0, 0.0, dropout)
        case Additive():
            return Settings(_ADDITIVE, 1.0, 0.0, score.slope, dropout)
        case GATv2():
            return Settings(_GATV2, 1.0, 0.0, score.slope, dropout)
        case _:
            raise AssertionError(f"judge accepts no {score}")


# --- Attention -----------------------------------------------------------------------------------


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
        ready = _ready(settings, rows, operands)  # holds what the kernel reads
        run(library().attention(_packed(settings, rows, operands, ready, seed, out, lse)))
    return out, lse


def forward_record(
    settings: Settings, rows: Rows, operands: Operands, out: Tensor, lse: Tensor
) -> bytes:
    """What the kernel would read of a call, which is not made."""
    ready = _ready(settings, rows, operands)
    return _packed(settings, rows, operands, ready, None, out, lse)


def empty_results(query: Tensor, value: Tensor, *, wide: bool) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp as they lie in memory, without their numbers."""
    accumulate = accumulate_dtype(query.dtype)
    shape = (*query.shape[:-1], value.shape[-1])
    out = _empty(shape, query, accumulate if wide else query.dtype)
    return out, query.new_empty(query.shape[:-1], dtype=accumulate)


def empty_gradient(operands: Operands, place: int) -> Tensor:
    """The gradient of an operand as it lies in memory, without its numbers."""
    tensor = operands[place]
    assert tensor is not None
    if place < _DENSE:
        return _empty(tuple(tensor.shape), tensor, tensor.dtype)
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
    """Gradients of the operands that are wanted.

    Args:
        settings: The numbers of the call.
        rows: By target.
        columns: By source.
        operands: The tensors of the call.
        seed: Of dropout.
        state: The global output and log-sum-exp, which are taken out of the list: a large output
            that nobody else holds is freed before gradients fill new memory. The output may be
            wide: rounding it would show in the gradients of the scores, which are differences of
            such products.
        grad_out: Gradient of the output.
        grad_lse: Gradient of the log-sum-exp; None for zeros.
        wanted: For which of the operands.
        records: What the kernel reads is added to them.
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
    ready = _ready(settings, rows, operands)
    out = out if out.dtype == accumulate else out.to(operands.query.dtype)
    out = _whole_rows(out)
    grad_out = _storage(rows, operands)(grad_out.to(operands.query.dtype))
    lse = lse.contiguous()
    grad_lse = None if grad_lse is None else grad_lse.to(accumulate).resolve_neg().contiguous()
    dense = [empty_gradient(operands, place) if wanted[place] else None for place in range(_DENSE)]
    vector = operands.vector
    grad_vector = None
    if vector is not None and wanted[3]:
        grad_vector = torch.zeros(vector.shape, dtype=accumulate)
    lead = operands.query.shape[:-2]
    of_edges = [
        _EdgeGradient.of(tensor, lead, tail, accumulate) if want and tensor is not None else None
        for tensor, want, tail in zip(operands[4:], wanted[4:], (1, 2, 2), strict=True)
    ]
    stats = None
    if out.nbytes >= _LARGE and rows.tiles is None:  # tiles read the output as they go
        stats = _new((2 * lse.numel() + _SLOTS,), lse, accumulate)
    packed = BACKWARD.pack(
        *_record(settings, rows, operands, ready, seed, _view(out), lse, out.dtype),
        *columns.record,
        *_view(grad_out),
        pointer(grad_lse),
        pointer(stats),
        *(field for grad in dense for field in (_NO_VIEW if grad is None else _view(_four(grad)))),
        pointer(grad_vector),
        *(field for grad in of_edges for field in (_NO_VIEW if grad is None else grad.view)),
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
    """Where an edge tensor's gradient is added up, in the shape of the tensor."""

    total: Tensor
    shape: torch.Size
    view: _View

    @classmethod
    def of(
        cls, tensor: Tensor, lead: torch.Size, tail: int, accumulate: torch.dtype
    ) -> _EdgeGradient:
        total = torch.zeros(tensor.shape, dtype=accumulate)
        spread = _spread(total, lead, tail)
        if spread.data_ptr() != total.data_ptr() and total.numel():
            # Some batch dimensions share the tensor and others do not: add them up afterwards.
            total = torch.zeros(*lead, *tensor.shape[-tail:], dtype=accumulate)
            spread = _spread(total, lead, tail)
        return cls(total, tensor.shape, _view(spread))

    def result(self, dtype: torch.dtype) -> Tensor:
        return self.total.sum_to_size(self.shape).to(dtype).contiguous()


def _packed(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    ready: Operands,
    seed: Tensor | None,
    out: Tensor,
    lse: Tensor,
) -> bytes:
    """An ``edgewise_attention``."""
    view = _view(_four(out))
    record = _record(settings, rows, operands, ready, seed, view, lse, out.dtype)
    return ATTENTION.pack(*record)


def _record(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    ready: Operands,
    seed: Tensor | None,
    out: _View,
    lse: Tensor,
    out_dtype: torch.dtype,
) -> tuple[int | float, ...]:
    """The fields of ``edgewise_attention``."""
    query, key, value, vector, bias, edge_key, edge_value = ready
    batch, heads, _, key_dim = query.shape
    value_dim = value.shape[-1]
    keep = 1.0 - settings.dropout
    work = batch * heads * rows.num_edges * (key_dim + value_dim) // 2
    return (
        _DTYPES[query.dtype],
        settings.score,
        batch,
        heads,
        key.shape[1],
        key_dim,
        value_dim,
        operands.query.shape[-1],
        operands.value.shape[-1],
        _threads(work),
        out_dtype != query.dtype,
        settings.scale,
        settings.softcap,
        settings.slope,
        seed is not None,
        0 if seed is None else int(seed),
        int(settings.dropout * 2**32),
        1.0 if seed is None else float(np.float32(1) / np.float32(keep)),
        *_view(query),
        *_view(key),
        *_view(value),
        *(_NO_VIEW if vector is None else (vector.data_ptr(), 0, key_dim, 0)),
        *(_NO_VIEW if bias is None else _view(bias)),
        *(_NO_VIEW if edge_key is None else _view(edge_key)),
        *(_NO_VIEW if edge_value is None else _view(edge_value)),
        *out,
        lse.data_ptr(),
        *rows.record,
    )


# Memory of a tensor that torch negates when it reads it, such as the imaginary part of a conjugate,
# holds other numbers than the tensor: `resolve_neg` writes them out, and costs nothing elsewhere.


def _ready(settings: Settings, rows: Rows, operands: Operands) -> Operands:
    """The operands as the kernels read them: four dimensions, rows in one piece."""
    query, key, value, vector, bias, edge_key, edge_value = operands
    lead = query.shape[:-2]
    stored = _storage(rows, operands)
    additive = settings.score == _ADDITIVE
    return Operands(
        _heads_together(query) if additive else stored(query),
        _heads_together(key) if additive else stored(key),
        stored(value),
        None if vector is None else vector.resolve_neg().contiguous(),
        None if bias is None else _spread(bias, lead, 1),
        None if edge_key is None else _spread(_in_one_piece(edge_key), lead, 2),
        None if edge_value is None else _spread(_in_one_piece(edge_value), lead, 2),
    )


def _storage(rows: Rows, operands: Operands) -> Callable[[Tensor], Tensor]:
    """How rows are best stored, which pays for a copy where each is read often.

    Heads that fit together into one step of the kernels want to be adjacent. Wider rows are read as
    they are: several copies cost more than what another order saves.
    """
    query, value = operands.query, operands.value
    heads = query.shape[-3]
    if heads == 1 or rows.num_edges < READ_OFTEN * max(rows.num_rows, rows.num_columns):
        return _whole_rows
    widest = heads * max(query.shape[-1], value.shape[-1]) * query.itemsize
    return _by_node if widest <= STEP else _whole_rows


def _by_node(tensor: Tensor) -> Tensor:
    if tensor.stride(-3) > tensor.stride(-2):
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return _whole_rows(tensor)


def _four(tensor: Tensor) -> Tensor:
    """``[*batch, heads, rows, dim]`` with one batch dimension; copies where it must."""
    if tensor.ndim == 4:
        return tensor
    return tensor[None] if tensor.ndim == 3 else tensor.flatten(0, -4)


def _whole_rows(tensor: Tensor) -> Tensor:
    """Four dimensions, rows in one piece."""
    tensor = tensor.resolve_neg()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return _four(tensor)


def _heads_together(tensor: Tensor) -> Tensor:
    """Four dimensions, the heads of a node side by side: for rows of one number."""
    tensor = tensor.resolve_neg()
    if tensor.shape[-3] > 1 and tensor.stride(-3) != 1:
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return _four(tensor)


def _in_one_piece(tensor: Tensor) -> Tensor:
    """The last dimension in one piece."""
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _spread(tensor: Tensor, lead: torch.Size, tail: int) -> Tensor:
    """``[*batch|1, heads|1, *tail]`` to ``[batch, heads, *tail]``, without a copy if it can."""
    wide = tensor.resolve_neg().expand(*lead, *tensor.shape[-tail:])
    if len(lead) == 1:
        return wide[None]
    return wide.flatten(0, len(lead) - 2)


def _empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor whose heads and rows are ordered in memory as those of another."""
    swap = like.ndim >= 3 and like.stride(-3) < like.stride(-2)
    if swap:
        shape = (*shape[:-3], shape[-2], shape[-3], shape[-1])
    new = _new(shape, like, dtype)
    return new.transpose(-3, -2) if swap else new


def _new(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    new = like.new_empty(shape, dtype=dtype)
    # The first touch of every small page would take half a microsecond. A fake tensor has no pages.
    if type(new) is Tensor and new.nbytes >= _LARGE:
        library().advise(new.data_ptr(), new.nbytes)
    return new


def _view(tensor: Tensor) -> _View:
    batch, head, row = tensor.stride()[:3]
    shape = tensor.shape
    return (tensor.data_ptr(), batch if shape[0] > 1 else 0, head if shape[1] > 1 else 0, row)


def _threads(work: int) -> int:
    """One thread for what is done before a second one has started."""
    return 1 if work < _ONE_THREAD else torch.get_num_threads()


def run(failed: int) -> None:
    """Raise what a kernel returned."""
    if failed:
        raise MemoryError(
            "native: no memory for the partial results of rows that are cut. Use a smaller batch."
        )


# --- Aggregation ---------------------------------------------------------------------------------


def reduce_rows(
    reduce: str,
    rows: Rows,
    value: Tensor,
    weight: Tensor | None,
    winner: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Sums, means or maxima of each row, with the winning edges of a maximum.

    Args:
        reduce: ``"sum"``, ``"mean"`` or ``"max"``; ``"won"`` sums what the edges have won.
        rows: By target, or by source for a gradient.
        value: ``[*batch, columns, C]``.
        weight: ``[*batch|1, E]`` in edge order, in the dtype sums are kept in.
        winner: ``[batch, columns, C]``, int32, for ``"won"``.
    """
    batch, channels = value.shape[:-2], value.shape[-1]
    number = batch.numel()
    out = _new((*batch, rows.num_rows, channels), value, value.dtype)
    if reduce == "max":
        winner = torch.empty(number, rows.num_rows, channels, dtype=torch.int32)
    if out.numel():
        table = _table(value)
        factors = None if weight is None else _factors(weight, batch)
        packed = AGGREGATE.pack(
            _DTYPES[value.dtype],
            _REDUCTIONS[reduce],
            number,
            channels,
            _threads(number * rows.num_edges * channels),
            *_table_view(table),
            *_table_view(_table(out)),
            *(_NO_VIEW if factors is None else _factors_view(factors)),
            pointer(winner),
            *rows.record,
        )
        run(library().aggregate(packed))
    return out, winner


def edge_products(
    rows: Rows,
    target: Tensor,
    source: Tensor,
    shape: torch.Size,
    winner: Tensor | None = None,
) -> Tensor:
    """Products of the rows at both ends of each edge, added up over what shares an edge's weight.

    Args:
        rows: By target.
        target: ``[*batch, T, C]``.
        source: ``[*batch, S, C]``.
        shape: Of the result, ``[*batch|1, E]``, in edge order; its dtype is that of sums.
        winner: ``[batch, T, C]``, int32: only channels that the edge has won count.
    """
    batch = target.shape[:-2]
    total = torch.zeros(shape, dtype=accumulate_dtype(target.dtype))
    spread = _factors(total, batch)
    if spread.data_ptr() != total.data_ptr() and total.numel():
        total = torch.zeros(*batch, shape[-1], dtype=total.dtype)
        spread = _factors(total, batch)
    if target.numel() and total.numel():
        table, other = _table(target), _table(source)
        number, channels = batch.numel(), target.shape[-1]
        packed = PRODUCTS.pack(
            _DTYPES[target.dtype],
            number,
            channels,
            _threads(number * rows.num_edges * channels),
            *_table_view(table),
            *_table_view(other),
            pointer(winner),
            *_factors_view(spread),
            *rows.record,
        )
        run(library().products(packed))
    return total.sum_to_size(shape).contiguous()


def _table(value: Tensor) -> Tensor:
    """``[batch, rows, channels]``, or rows and channels alone; channels in one piece."""
    value = value.resolve_neg()
    if value.stride(-1) != 1 and value.shape[-1] > 1:
        value = value.contiguous()
    return value if value.ndim <= 3 else value.flatten(0, -3)


def _table_view(table: Tensor) -> _View:
    if table.ndim == 2:
        return (table.data_ptr(), 0, 0, table.stride(0))
    batch, row, _ = table.stride()
    return (table.data_ptr(), batch if table.shape[0] > 1 else 0, 0, row)


def _factors(weight: Tensor, batch: torch.Size) -> Tensor:
    """``[*batch|1, E]`` to ``[batch, E]``, without a copy if it can."""
    wide = weight.resolve_neg().expand(*batch, weight.shape[-1])
    return wide.flatten(0, -2) if batch else wide[None]


def _factors_view(factors: Tensor) -> _View:
    batch, edge = factors.stride()
    return (factors.data_ptr(), batch if factors.shape[0] > 1 else 0, 0, edge)
