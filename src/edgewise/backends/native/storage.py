"""Memory layouts of the tensors that kernels read and write; strides count elements."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgewise.backends.native.layout import Rows
from edgewise.backends.native.library import library
from edgewise.backends.native.operands import ADDITIVE, Operands, Settings

__all__ = [
    "DTYPES",
    "LARGE",
    "NO_VIEW",
    "READ_OFTEN",
    "STEP",
    "View",
    "empty",
    "four",
    "new",
    "ready",
    "spread",
    "storage_of",
    "view",
    "whole_rows",
]

DTYPES = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2, torch.float16: 3}
READ_OFTEN = 16  # edges for each node from which a copy in another order pays
STEP = 512  # bytes of a row that the kernels work on at a time
LARGE = 8 << 20  # bytes; large pages have 2 << 20

View = tuple[int, int, int, int]  # an ``edgewise_view``: address, strides of batch, head and row
NO_VIEW = (0, 0, 0, 0)


# Memory of a tensor that torch negates when it reads it, such as the imaginary part of a conjugate,
# holds other numbers than the tensor: `resolve_neg` writes them out, and costs nothing elsewhere.


def ready(settings: Settings, rows: Rows, operands: Operands) -> Operands:
    """The operands as the kernels read them: four dimensions, rows in one piece."""
    query, key, value, vector, bias, edge_key, edge_value = operands
    lead = query.shape[:-2]
    stored = storage_of(rows, operands)
    additive = settings.score == ADDITIVE
    return Operands(
        _heads_together(query) if additive else stored(query),
        _heads_together(key) if additive else stored(key),
        stored(value),
        None if vector is None else vector.resolve_neg().contiguous(),
        None if bias is None else spread(bias, lead, 1),
        None if edge_key is None else spread(_in_one_piece(edge_key), lead, 2),
        None if edge_value is None else spread(_in_one_piece(edge_value), lead, 2),
    )


def storage_of(rows: Rows, operands: Operands) -> Callable[[Tensor], Tensor]:
    """The function that stores rows as the kernels read them best: a copy where each is read often.

    Heads that fit together into one step of the kernels are adjacent. Wider rows are read as
    they are: several copies cost more than what another order saves.
    """
    query, value = operands.query, operands.value
    heads = query.shape[-3]
    if heads == 1 or rows.num_edges < READ_OFTEN * max(rows.num_rows, rows.num_columns):
        return whole_rows
    widest = heads * max(query.shape[-1], value.shape[-1]) * query.itemsize
    return _by_node if widest <= STEP else whole_rows


def _by_node(tensor: Tensor) -> Tensor:
    if tensor.stride(-3) > tensor.stride(-2):
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return whole_rows(tensor)


def four(tensor: Tensor) -> Tensor:
    """``[*batch, heads, rows, dim]`` with one batch dimension; copies where it must."""
    if tensor.ndim == 4:
        return tensor
    return tensor[None] if tensor.ndim == 3 else tensor.flatten(0, -4)


def whole_rows(tensor: Tensor) -> Tensor:
    """A tensor with four dimensions and contiguous rows; a copy where it must."""
    tensor = tensor.resolve_neg()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return four(tensor)


def _heads_together(tensor: Tensor) -> Tensor:
    """A tensor with four dimensions and the heads of a node adjacent, for rows of one number."""
    tensor = tensor.resolve_neg()
    if tensor.shape[-3] > 1 and tensor.stride(-3) != 1:
        tensor = tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return four(tensor)


def _in_one_piece(tensor: Tensor) -> Tensor:
    """A tensor whose last dimension is contiguous."""
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def spread(tensor: Tensor, lead: torch.Size, tail: int) -> Tensor:
    """``[*batch|1, heads|1, *tail]`` to ``[batch, heads, *tail]``, without a copy if it can."""
    wide = tensor.resolve_neg().expand(*lead, *tensor.shape[-tail:])
    if len(lead) == 1:
        return wide[None]
    return wide.flatten(0, len(lead) - 2)


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor whose heads and rows are ordered in memory as those of another."""
    swap = like.ndim >= 3 and like.stride(-3) < like.stride(-2)
    if swap:
        shape = (*shape[:-3], shape[-2], shape[-3], shape[-1])
    table = new(shape, like, dtype)
    return table.transpose(-3, -2) if swap else table


def new(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor; where it is large, on large pages."""
    table = like.new_empty(shape, dtype=dtype)
    # The first touch of every small page would take half a microsecond. A fake tensor has no pages.
    if type(table) is Tensor and table.nbytes >= LARGE:
        library().advise(table.data_ptr(), table.nbytes)
    return table


def view(tensor: Tensor) -> View:
    """The ``edgewise_view`` of a tensor ``[batch, heads, rows, dim]``."""
    batch, head, row = tensor.stride()[:3]
    shape = tensor.shape
    return (tensor.data_ptr(), batch if shape[0] > 1 else 0, head if shape[1] > 1 else 0, row)
