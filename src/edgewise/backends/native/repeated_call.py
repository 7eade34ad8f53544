"""Repeat a kernel call: reuse its packed record and replace only the data pointers.

On small graphs a call takes a few microseconds in the kernels and several times that in Python
around them: checks, plans, strides, records. All of it follows from the shapes and strides of the
tensors, so the first call of its kind does it, and the next ones put their pointers between the
bytes of its record. Bytes never change, so threads may share a repeated call.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.native.double_backward import gradients_again
from edgewise.backends.native.functions import gradients, sent_to_readers
from edgewise.backends.native.kernels import empty_gradient, empty_results, forward_record
from edgewise.backends.native.layout import Layout
from edgewise.backends.native.library import ATTENTION, BACKWARD, Record, library, run
from edgewise.backends.native.operands import Operands, Settings
from edgewise.ops.tracing import is_intercepted, many_at_once

__all__ = ["RepeatedCall"]

# The pointers of a call.
_FORWARD = ("query", "key", "value", "out", "lse")
_BACKWARD = (*_FORWARD, "grad_out", "grad_query", "grad_key", "grad_value")
_SMALL = 1 << 20  # numbers in a tensor: above, Python takes little beside the kernels
_MOST_GRADIENTS = 16  # kinds of them: strides rarely differ


class _Bytes:
    """A packed record as the bytes between its pointers."""

    def __init__(self, packed: bytes, fields: Sequence[int]) -> None:
        starts = [0, *(8 * (field + 1) for field in fields)]
        ends = [*(8 * field for field in fields), len(packed)]
        self.parts = tuple(packed[a:b] for a, b in zip(starts, ends, strict=True))
        self.pack = Struct("=" + "q".join(f"{len(part)}s" for part in self.parts)).pack

    @classmethod
    def of(
        cls, kind: Record, packed: bytes, names: Sequence[str], tensors: Sequence[Tensor | None]
    ) -> _Bytes | None:
        """The record of a call on these tensors; None where it was on a copy of one."""
        fields = [kind.place[name] for name in names]
        for field, tensor in zip(fields, tensors, strict=True):
            (pointer,) = Struct("=q").unpack_from(packed, 8 * field)
            if pointer != (0 if tensor is None else tensor.data_ptr()):
                return None
        return cls(packed, fields)


class RepeatedCall:
    """Attention on tensors of the shapes, strides and dtype of one call."""

    def __init__(
        self, settings: Settings, layout: Layout, operands: Operands, out: Tensor, lse: Tensor
    ):
        self.settings, self.layout = settings, layout
        self.shapes = (out.shape, lse.shape)
        self.strides = (out.stride(), lse.stride())
        self.dtypes = (out.dtype, lse.dtype)
        gradients = [empty_gradient(operands, place) for place in range(3)]
        self.gradients = [(grad.shape, grad.stride()) for grad in gradients]
        self.backward: dict[tuple[object, ...], _Bytes] = {}
        self.forward: _Bytes
        self.kernels = library()

    @classmethod
    def of(cls, settings: Settings, layout: Layout, operands: Operands) -> RepeatedCall | None:
        """A call on query, key and value; None where the kernel reads a copy of one of them."""
        query, key, value = operands[:3]
        if not value.numel() or not query.numel():
            return None  # nothing to compute
        if max(query.numel(), value.numel()) > _SMALL:
            return None
        out, lse = empty_results(query, value, wide=False)
        packed = forward_record(settings, layout.rows, operands, out, lse)
        record = _Bytes.of(ATTENTION, packed, _FORWARD, (query, key, value, out, lse))
        if record is None:
            return None
        repeated = cls(settings, layout, operands, out, lse)
        repeated.forward = record
        return repeated

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The output of attention."""
        if torch.is_grad_enabled() and (
            query.requires_grad or key.requires_grad or value.requires_grad
        ):
            return _RepeatedAttention.apply(self, query, key, value)  # type: ignore[no-any-return]
        return self.launch(query, key, value)[0]

    def launch(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        out = torch.empty_strided(self.shapes[0], self.strides[0], dtype=self.dtypes[0])
        lse = torch.empty_strided(self.shapes[1], self.strides[1], dtype=self.dtypes[1])
        a, b, c, d, e, f = self.forward.parts
        q, k, v = query.data_ptr(), key.data_ptr(), value.data_ptr()
        packed = self.forward.pack(a, q, b, k, c, v, d, out.data_ptr(), e, lse.data_ptr(), f)
        run(self.kernels.attention(packed))
        return out, lse

    def launch_backward(
        self, tensors: tuple[Tensor, ...], grad_out: Tensor, wanted: tuple[bool, ...]
    ) -> Sequence[Tensor | None]:
        """Gradients of query, key and value.

        Args:
            tensors: Query, key, value, output, log-sum-exp.
            grad_out: Gradient of the output.
            wanted: For which of the three.
        """
        traced = is_intercepted((grad_out,))
        if not traced:
            grad_out = sent_to_readers(grad_out, tensors[4])
        kind = (grad_out.stride(), wanted, torch.get_num_threads())
        record = self.backward.get(kind)
        if record is None or traced:
            return self._first_backward(kind, tensors, grad_out, wanted)
        grads = [
            torch.empty_strided(shape, stride, dtype=self.dtypes[0]) if needed else None
            for (shape, stride), needed in zip(self.gradients, wanted, strict=True)
        ]
        a, b, c, d, e, f, g, h, i, j = record.parts
        q, k, v, out, lse = [tensor.data_ptr() for tensor in tensors]
        x, y, z = [0 if grad is None else grad.data_ptr() for grad in grads]
        sent = grad_out.data_ptr()
        run(
            self.kernels.backward(
                record.pack(a, q, b, k, c, v, d, out, e, lse, f, sent, g, x, h, y, i, z, j)
            )
        )
        return grads

    def _first_backward(
        self,
        kind: tuple[object, ...],
        tensors: tuple[Tensor, ...],
        grad_out: Tensor,
        wanted: tuple[bool, ...],
    ) -> Sequence[Tensor | None]:
        """`launch_backward` without a record, which it stores under ``kind``."""
        query, key, value, out, lse = tensors
        records: list[bytes] = []
        grads = gradients(
            self.settings,
            self.layout,
            Operands(query, key, value),
            None,
            [out, lse],
            grad_out,
            None,
            (*wanted, False, False, False, False),
            records=records,
        )[:3]
        if records and len(self.backward) < _MOST_GRADIENTS:
            record = _Bytes.of(BACKWARD, records[0], _BACKWARD, (*tensors, grad_out, *grads))
            if record is not None:
                self.backward[kind] = record
        return grads


class _RepeatedAttention(Function):
    @staticmethod
    def forward(ctx: Any, repeated: RepeatedCall, *tensors: Tensor) -> Tensor:
        out, lse = repeated.launch(*tensors)
        ctx.repeated = repeated
        ctx.save_for_backward(*tensors, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad_out,) = grads
        tensors, repeated = ctx.saved_tensors, ctx.repeated
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or many_at_once(grads):
            operands, rows = Operands(*tensors[:3]), repeated.layout.rows
            wanted = (*wanted, False, False, False, False)
            of_operands = gradients_again(
                repeated.settings, rows, operands, None, (grad_out, None), wanted
            )
            return None, *of_operands[:3]
        return None, *repeated.launch_backward(tensors, grad_out, wanted)
