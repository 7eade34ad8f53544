"""Dense mask of a rule, as an operator of torch, so that tracers record it.

The mask depends on the lengths of the texts, which compiled and exported code has only
at run time. The operator takes the rule as a text and computes the mask on each call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.integrations.huggingface.graph_rules import Rule, newest
from edgewise.layouts import DenseMask, lower

__all__ = ["rule_mask"]

_LIBRARY = torch.library.Library("edgewise", "FRAGMENT")
_LIBRARY.define("rule_mask(Tensor queries, Tensor keys, Tensor real, str source) -> Tensor")


def rule_mask(queries: Tensor, keys: Tensor, real: Tensor, source: str) -> Tensor:
    """The mask of a rule, for every tracer.

    Args:
        queries: ``[Q]``, int64, positions of the queries; the last is the newest token.
        keys: ``[K]``, int64, positions of the keys.
        real: ``[B, positions]``, bool, False for padding.
        source: The rule, as `Rule.source` writes it.

    Returns:
        ``[B, 1, Q, K]``, bool; False for padding and for keys after the newest query.

    Raises:
        GraphError: the rule has no graph for such a text.
    """
    return torch.ops.edgewise.rule_mask(queries, keys, real, source)


def evaluated(queries: Tensor, keys: Tensor, real: Tensor, rule: Rule) -> Tensor:
    """The mask of any rule, from tensors with readable numbers; see `rule_mask`."""
    device = queries.device
    queries, keys, real = queries.cpu(), keys.cpu(), real.cpu()
    B, Q, K = real.shape[0], queries.shape[0], keys.shape[0]
    mask = torch.zeros(B, 1, Q, K, dtype=torch.bool)
    if 0 in (B, Q, K):
        return mask.to(device)
    last = int(queries[-1])
    held = real[:, : last + 1]
    number = held.cumsum(1) - 1
    cache: dict[tuple[int, int, int], Tensor] = {}
    for b in range(B):
        n = int(number[b, -1]) + 1
        row = (queries < held.shape[1]) & held[b, queries.clamp(max=held.shape[1] - 1)]
        column = (keys < held.shape[1]) & held[b, keys.clamp(max=held.shape[1] - 1)]
        count = int(row.sum())
        if not n or not count:
            continue
        key = (n, count, 0 if rule.alike else b)
        if key not in cache:
            cache[key] = lower(newest(rule.of(n, b, B), count), DenseMask).mask
        columns = cache[key][:, number[b, keys[column]]]
        mask[b, 0, row.nonzero(), column.nonzero()[:, 0]] = columns
    return mask.to(device)


def _run(queries: Tensor, keys: Tensor, real: Tensor, source: str) -> Tensor:
    return evaluated(queries, keys, real, Rule.read(source))


def _fake(queries: Tensor, keys: Tensor, real: Tensor, source: str) -> Tensor:
    del source
    shape = (real.shape[0], 1, queries.shape[0], keys.shape[0])
    return real.new_empty(shape, dtype=torch.bool)


_LIBRARY.impl("rule_mask", _run, "CompositeExplicitAutograd")
torch.library.register_fake("edgewise::rule_mask", _fake, lib=_LIBRARY)
