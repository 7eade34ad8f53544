"""Checks of the shapes, dtypes and devices of tensors.

The letters of every docstring:

======  ==================================================
letter  meaning
======  ==================================================
``B``   batch (any number of leading dimensions, ``*batch``)
``H``   heads of the query
``G``   heads of key and value; ``H`` is a multiple of ``G``
``T``   targets: query rows, nodes that are updated
``S``   sources: key and value columns, nodes that are read
``D``   head dimension of query and key; ``Dv`` of the value
``E``   edges
``N``   nodes, where targets and sources are the same
``C``   channels of a tensor without heads
======  ==================================================
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError

__all__ = ["Sizes", "check_attention", "check_rows", "is_shape_only"]

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Sizes(NamedTuple):
    """Sizes of one call."""

    batch: tuple[int, ...]
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int


def check_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_targets: int,
    num_sources: int,
    key_dim: int | None,
) -> Sizes:
    """Check query, key and value against each other and against the graph's sizes.

    Args:
        query: ``[*batch, H, T, D]``.
        key: ``[*batch, G, S, D]``.
        value: ``[*batch, G, S, Dv]``.
        num_targets: ``T`` of the graph.
        num_sources: ``S`` of the graph.
        key_dim: ``D`` that the score needs; any when None.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a tensor is not floating point, or dtypes or devices differ.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_floating(name, tensor)
        if tensor.ndim < 3:
            raise ShapeError(
                f"{name} must have shape [*batch, heads, nodes, head_dim], got "
                f"{list(tensor.shape)}. Add a head dimension with unsqueeze(0)."
            )
        if tensor.dtype != query.dtype or tensor.device != query.device:
            raise ArgumentError(
                f"{name} is {tensor.dtype} on {tensor.device} but query is {query.dtype} on "
                f"{query.device}. Bring all three to one dtype and device: use {name}.to(query)."
            )
    for name, tensor, noun, expected in (
        ("query", query, "targets", num_targets),
        ("key", key, "sources", num_sources),
        ("value", value, "sources", num_sources),
    ):
        # The layout of layers of torch: heads after the nodes.
        if tensor.shape[-2] != expected == tensor.shape[-3]:
            raise ShapeError(
                f"{name} has {tensor.shape[-2]} rows but graph has {expected} {noun}, as many as "
                f"{name} has on axis -3 ({name}: {list(tensor.shape)}). Nodes belong on axis -2, "
                f"behind the heads: use {name}.transpose(-3, -2)."
            )
        check_rows(name, tensor, noun, expected)
    *batch, heads, _, head_dim = query.shape
    *key_batch, kv_heads, _, key_head_dim = key.shape
    *value_batch, value_heads, _, value_dim = value.shape
    if not batch == key_batch == value_batch:
        raise ShapeError(
            f"batch dimensions must agree: query has {batch}, key {key_batch}, value "
            f"{value_batch}. Expand the smaller ones."
        )
    if kv_heads != value_heads:
        raise ShapeError(
            f"key has {kv_heads} heads but value has {value_heads}. Give both the same number."
        )
    if heads == 0 or kv_heads == 0:
        name, tensor = ("query", query) if heads == 0 else ("key", key)
        raise ShapeError(
            f"{name} has 0 heads ({name}: {list(tensor.shape)}, axis -3). Give it at least one."
        )
    if heads % kv_heads:
        raise ShapeError(
            f"query has {heads} heads, which is not a multiple of the {kv_heads} heads of key and "
            f"value. Change the number of heads, or repeat key and value."
        )
    if head_dim == 0:
        raise ShapeError(
            f"query has head_dim 0 (query: {list(query.shape)}). Give it at least one channel."
        )
    if head_dim != key_head_dim:
        raise ShapeError(
            f"query has head_dim {head_dim} but key has {key_head_dim}. Project both "
            f"to the same size."
        )
    if key_dim is not None and head_dim != key_dim:
        raise ShapeError(
            f"this score needs query and key of head_dim {key_dim}, got {head_dim} "
            f"(query: {list(query.shape)}). Reshape both to [*batch, heads, nodes, {key_dim}]."
        )
    return Sizes(tuple(batch), heads, kv_heads, head_dim, value_dim)


def is_shape_only(tensor: Tensor) -> bool:
    """Whether a tensor has a shape but no numbers: on ``meta``, or a ``FakeTensor``.

    >>> is_shape_only(torch.zeros(2, 0)), is_shape_only(torch.zeros(2, 0, device="meta"))
    (False, True)
    """
    return tensor.is_meta or (type(tensor) is not Tensor and hasattr(tensor, "fake_device"))


def check_floating(name: str, tensor: object) -> None:
    """Check that an argument is a floating-point tensor that the operator computes on."""
    if not isinstance(tensor, Tensor):
        raise ArgumentError(
            f"{name} must be a tensor, got {type(tensor).__name__}. Use torch.as_tensor({name})."
        )
    if tensor.is_nested:
        raise ArgumentError(
            f"{name} must be a dense tensor, got a nested one. Concatenate its parts along the "
            f"nodes, and use Blocks, or disjoint_union, for a graph of all of them."
        )
    if tensor.layout != torch.strided:
        raise ArgumentError(
            f"{name} must be a dense tensor, got {tensor.layout}. Use {name}.to_dense()."
        )
    if tensor.dtype not in FLOATING:
        raise ArgumentError(
            f"{name} must be float64, float32, bfloat16 or float16, got {tensor.dtype}. "
            + _cure(name, tensor)
        )


def _cure(name: str, tensor: Tensor) -> str:
    """The conversion of another dtype that an error suggests."""
    if tensor.dtype == torch.bool and name == "bias":
        return "Where True stands for an edge, use torch.where(bias, 0.0, -torch.inf)."
    if tensor.is_complex() and name not in ("query", "key", "value"):
        return f"Use {name}.real."
    if tensor.is_complex():
        return (
            f"Its real and imaginary parts are numbers: use "
            f"torch.view_as_real({name}.resolve_conj()).flatten(-2)."
        )
    if tensor.is_quantized:
        return f"Use {name}.dequantize()."
    return f"Convert it with {name}.float()."


def check_rows(name: str, tensor: Tensor, noun: str, expected: int) -> None:
    """Check the node dimension, axis -2, against the graph."""
    if tensor.shape[-2] != expected:
        raise ShapeError(
            f"{name} has {tensor.shape[-2]} rows but graph has {expected} {noun} ({name}: "
            f"{list(tensor.shape)}, axis -2). Build the graph with num_{noun}={tensor.shape[-2]}, "
            f"or pad {name}."
        )
