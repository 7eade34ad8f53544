"""The operator: attention over any graph."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.functional.tracers import not_scriptable, traced_attention
from edgewise.graphs import Graph
from edgewise.ops.bias import Bias
from edgewise.ops.scores import Dot, Score
from edgewise.ops.state import AttentionState
from edgewise.planning import Explanation, Plan, choose
from edgewise.planning.analyze import analyzed
from edgewise.planning.call import AttentionOptions, read_call
from edgewise.planning.plan_cache import (
    fast_path,
    fast_path_key,
    prepared_attention,
    remember_fast_path,
)

__all__ = ["attention", "attention_state", "explain", "plan"]

_DOT = Dot()


@not_scriptable
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    *,
    score: Score = _DOT,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:
    r"""Attention over any graph, exact.

    .. math::
        \text{out}_i = \sum_{j \in N(i)} w_{ij} (v_j + e^v_{ij}), \qquad
        w_{ij} = \frac{\exp(s(q_i, k_j + e^k_{ij}) + b_{ij})}
                      {\sum_{j' \in N(i)} \exp(s(q_i, k_{j'} + e^k_{ij'}) + b_{ij'})}

    Rows of ``query`` are targets (nodes that are updated), rows of ``key`` and ``value`` are
    sources (nodes that are read); ``graph`` holds which target reads which source. All leading
    batch dimensions share the graph; different graphs make one `disjoint_union`. A target without
    sources gets zeros, and sends no gradient. An edge that occurs twice counts twice. A NaN or an
    infinity in a source reaches its targets alone, and one that is sent back to a target reaches
    its sources alone. Backends of matrix products (``"dense"``, ``"banded"``, ``"ragged"``,
    ``"blocked"``, ``"flex"``) spread it where they are named, where a compiler or ``torch.func``
    hides the numbers, and on other devices than the CPU, as torch's own attention does.
    On ``meta``, and of fake tensors, only shapes are worked out.

    Args:
        query: ``[*batch, H, T, D]``, float64, float32, bfloat16 or float16; any strides.
        key: ``[*batch, G, S, D]``; ``H`` is a multiple of ``G`` (grouped-query attention).
        value: ``[*batch, G, S, Dv]``.
        graph: Which target reads which source: ``T`` targets, ``S`` sources.
        score: `Dot`, `Additive` (GAT) or `GATv2`.
        bias: Added to the scores: one number for each edge (a tensor ``[*batch|1, H|1, E]`` in
            edge order), a function of ``source - target`` (`RelativeBias`), or one number for
            each pair (`DenseBias`).
        edge_key: ``[*batch|1, H|1, E, D]``: added to the key of each edge.
        edge_value: ``[*batch|1, H|1, E, Dv]``: added to the value of each edge.
        dropout: Share of attention weights that is dropped, in ``[0, 1)``; the others are scaled
            up. Applied whenever it is not zero: pass 0 for evaluation.
        generator: Where the dropout seed comes from; torch's default generator when None. The
            same seed gives the same mask with every backend.
        backend: ``"auto"``, or a backend by name, which never falls back to another; see
            `use_backend` for all calls in a block.

    Returns:
        ``[*batch, H, T, Dv]``, in the dtype of ``query``; sums are kept in float32 or better.

    Raises:
        ShapeError: shapes that do not fit each other or the graph.
        ArgumentError: dtypes, devices or numbers out of range.
        BackendRefused: the named backend cannot run this problem.
        DerivativeError: the named backend has no forward-mode derivative, and one is taken.
        PlanError: no backend can, or there is none of this name.

    Gradients:
        With respect to every tensor, the score's and the bias's included; of any order, with
        every backend but ``"flex"``. A second derivative takes O(E * H * D) memory, with
        ``"dense"`` that of all pairs. Forward mode (``torch.func.jvp``) works with every backend
        but ``"native"`` and ``"flex"``, so with ``"auto"``.

    Complexity:
        Chosen by the planner; see `explain`. O(E * H * D) for sparse graphs, O(T * S * H * D) on
        matrix units for dense ones.

    Example:
        >>> import torch, edgewise as ew
        >>> q, k, v = torch.randn(3, 1, 4, 16, 8).unbind()  # [batch, heads, nodes, head_dim]
        >>> ew.attention(q, k, v, ew.Causal(16)).shape
        torch.Size([1, 4, 16, 8])
        >>> ring = ew.EdgeList([[0, 1, 2, 3], [1, 2, 3, 0]], num_nodes=4)
        >>> ew.attention(q[:, :, :4], k[:, :, :4], v[:, :, :4], ring).equal(
        ...     v[:, :, [3, 0, 1, 2]]
        ... )  # one source each: its value, unchanged
        True

    References:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Velickovic et al. 2018,
        arXiv:1710.10903; Joshi. Transformers are Graph Neural Networks. 2025, arXiv:2506.22084.
    """
    path_key = fast_path_key(query, key, value, score, bias, edge_key, edge_value, dropout, backend)
    fast = fast_path(graph, path_key)
    if fast is not None:
        return fast(query, key, value)
    options = _options(score, bias, edge_key, edge_value, dropout, generator)
    # Where there is a key and a graph, no argument belongs to a tracer.
    if path_key is None or not isinstance(graph, Graph):  # pyright: ignore[reportUnnecessaryIsInstance]
        traced = traced_attention(attention, query, key, value, graph, backend, options)
        if traced is not None:
            return traced
    call = read_call(query, key, value, graph, **options)
    prepared = prepared_attention(call, backend)
    out = prepared.attend(call.inputs)
    remember_fast_path(call, path_key, prepared)
    return out


@not_scriptable
def attention_state(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    *,
    score: Score = _DOT,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> AttentionState:
    r"""Attention with its log-sum-exp: what `merge` and `weights` need.

    .. math::  \text{lse}_i = \log \sum_{j \in N(i)} \exp s_{ij}

    Arguments, errors and gradients are those of `attention`; the log-sum-exp is differentiable
    too. Dropout changes the output, never the log-sum-exp.

    Returns:
        ``AttentionState(out [*batch, H, T, Dv], lse [*batch, H, T])``; ``lse`` is float32 (float64
        for float64 inputs), natural log, ``-inf`` for a target without sources.

    Example:
        >>> import torch, edgewise as ew
        >>> q, k, v = torch.randn(3, 2, 6, 4, dtype=torch.float64).unbind()
        >>> past, rest = ew.Causal(6), ew.Complete(6) - ew.Causal(6)
        >>> parts = [ew.attention_state(q, k, v, part) for part in (past, rest)]
        >>> torch.allclose(ew.merge(parts).out, ew.attention(q, k, v, ew.Complete(6)))
        True
    """
    options = _options(score, bias, edge_key, edge_value, dropout, generator)
    traced = traced_attention(
        attention_state, query, key, value, graph, backend, options, wants_lse=True
    )
    if traced is not None:
        return traced
    call = read_call(query, key, value, graph, wants_lse=True, **options)
    return prepared_attention(call, backend).forward(call.inputs)


@not_scriptable
def plan(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    *,
    score: Score = _DOT,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
    memory_budget: int | None = None,
) -> Plan:
    """The plan by which `attention` computes this call: called, printed, compared and saved.

    Args are those of `attention`, and:
        memory_budget: Memory the plan may take, in bytes; half of what is free when None.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        PlanError: no backend can.

    Example:
        >>> import torch, edgewise as ew
        >>> q = torch.randn(4, 512, 64)
        >>> p = ew.plan(q, q, q, ew.Complete(512))
        >>> print(p)
        dense
        >>> p(q, q, q).equal(ew.attention(q, q, q, ew.Complete(512)))
        True
    """
    options = _options(score, bias, edge_key, edge_value, dropout, None)
    call = read_call(query, key, value, graph, seeded=False, **options)
    return choose(call.question.about(graph), backend, memory_budget).plan


@not_scriptable
def explain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    *,
    score: Score = _DOT,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
    memory_budget: int | None = None,
    analyze: bool = False,
) -> Explanation:
    """The reasons for the plan of this call of `attention`: print them, or ``.to_json()``.

    Arguments and errors are those of `plan`, and:
        analyze: Run the choice and every other legal plan on these tensors, forward, and backward
            where a tensor needs a gradient; what each took is printed beside what was estimated.
            Plans that are estimated to take over a second and over ten times the choice are not
            run, nor are those that need more memory than is free.

    Example:
        >>> import torch, edgewise as ew
        >>> q = torch.randn(4, 512, 64)
        >>> print(ew.explain(q, q, q, ew.Complete(512)))
        attention · 512 targets x 512 sources · 262,144 edges · 4 heads x 64 · Dot · float32...
        └─ dense · Complete(512) · sdpa · about ...
        <BLANKLINE>
        dearer   ...
        refused  ...
        budget   ...
        prices   ...
    """
    options = _options(score, bias, edge_key, edge_value, dropout, None)
    call = read_call(query, key, value, graph, seeded=analyze, **options)
    decision = choose(call.question.about(graph), backend, memory_budget)
    return analyzed(decision, call.inputs) if analyze else Explanation(decision)


def _options(
    score: Score,
    bias: Tensor | Bias | None,
    edge_key: Tensor | None,
    edge_value: Tensor | None,
    dropout: float,
    generator: torch.Generator | None,
) -> AttentionOptions:
    """The keyword arguments of a call by their names."""
    return {
        "score": score,
        "bias": bias,
        "edge_key": edge_key,
        "edge_value": edge_value,
        "dropout": dropout,
        "generator": generator,
    }
