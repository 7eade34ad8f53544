"""Batches without entries: some kernels divide by their number, which ends the process."""

from __future__ import annotations

import torch

import edgewise as ew
from edgewise.backends import BACKENDS
from edgewise.ops import Inputs
from tests.faults.kinds import Kind, each_case

GRAPHS = {
    "window": ew.Window(70, left=20, right=10),
    "dilated": ew.Dilated(31, left=3, right=2, dilation=4),
    "blocks": ew.Blocks([9, 30, 5]),
    "blocks with none": ew.Blocks([9, 0, 5], [9, 4, 0]),
    "grid": ew.Grid((12, 17)),
    "complete": ew.Complete(7, 9),
    "edges": ew.EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=40),
    "documents": ew.disjoint_union([ew.Causal(20), ew.Causal(33)]),
}
LEADS = [(0,), (2, 0), (0, 3)]
NAMES = ["auto", *(backend.name for backend in BACKENDS if backend.name != "flex")]


def _check_empty(case):
    """Both calls, their gradients, and gradients from a global state have the right shapes."""
    backend, name, lead = case
    graph = GRAPHS[name]
    T, S = graph.num_targets, graph.num_sources
    q = torch.randn(*lead, 4, T, 6, requires_grad=True)
    k = torch.randn(*lead, 2, S, 6, requires_grad=True)
    v = torch.randn(*lead, 2, S, 5, requires_grad=True)
    try:
        state = ew.attention_state(q, k, v, graph, backend=backend)
    except ew.BackendRefused:
        assert backend in ("banded", "ragged")
        return
    out = ew.attention(q, k, v, graph, backend=backend)
    assert out.shape == state.out.shape == (*lead, 4, T, 5)
    assert state.lse.shape == (*lead, 4, T)
    results = (out, state.out, state.lse)
    grads = torch.autograd.grad(results, (q, k, v), [*map(_ones, results)])
    assert [g.shape for g in grads] == [q.shape, k.shape, v.shape]
    plan = ew.plan(q, k, v, graph, backend=backend)
    whole = ew.AttentionState(state.out.detach(), state.lse.detach())
    named = plan.prepared.backward(Inputs(q, k, v), whole, _ones(whole.out), _ones(whole.lse))
    shapes = {"query": q.shape, "key": k.shape, "value": v.shape}
    assert {name: grad.shape for name, grad in named.items()} == shapes
    if backend in ("auto", "native", "gather", "dense", "reference"):
        value = torch.randn(*lead, S, 3, requires_grad=True)
        total = ew.aggregate(value, graph, backend=backend)
        assert total.shape == (*lead, T, 3)
        assert torch.autograd.grad(total, value, _ones(total))[0].shape == value.shape


def _ones(tensor):
    return torch.ones_like(tensor)


CASES = {
    f"{backend}, {name}, {list(lead)}": (backend, name, lead)
    for backend in NAMES
    for name in GRAPHS
    for lead in LEADS
}
FIRST = "banded, window, [0]"  # ended the process
KINDS = (Kind("a batch without entries", _check_empty, {FIRST: CASES[FIRST], **CASES}),)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)
