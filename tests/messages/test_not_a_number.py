"""NaN in, NaN out, and nowhere else: no error is raised, and what is finite stays finite.

Backends that follow edges keep a NaN (or an infinity) of one source to the targets that read it.
Matrix products cannot: they multiply it by the zero weight of everyone else, as torch's own
attention does. So a NaN may spread with ``backend="dense"``, and only then.
"""

import pytest
import torch

import edgewise as ew

N = 6
GRAPHS = {
    "causal": ew.Causal(N),
    "window": ew.Window(N, left=1, right=0),
    "edge list": ew.EdgeList([[0, 1, 2, 3, 3, 5], [1, 2, 3, 4, 0, 5]], num_nodes=N),
    "isolated targets": ew.Blocks([2, 4], [0, 6]),
}
BAD = [float("nan"), float("inf"), -float("inf")]


def reads(graph, source):
    return graph.contains(torch.arange(N), torch.tensor(source))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["reference", "gather"])
def test_a_bad_source_reaches_only_its_targets(backend, dtype, bad):
    for graph in GRAPHS.values():
        for source in range(N):
            touched = reads(graph, source)
            for where in (1, 2):
                inputs = [torch.randn(2, N, 4, dtype=dtype) for _ in range(3)]
                clean = ew.attention_state(*inputs, graph, backend=backend)
                inputs[where][:, source] = bad
                computed = ew.attention_state(*inputs, graph, backend=backend)
                assert computed.out[:, ~touched].equal(clean.out[:, ~touched])
                assert computed.lse[:, ~touched].equal(clean.lse[:, ~touched])
                if bad != bad:  # noqa: PLR0124
                    assert computed.out[:, touched].isnan().all()


@pytest.mark.parametrize("backend", ["reference", "gather"])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_a_bad_source_of_an_aggregation_reaches_only_its_targets(backend, reduce):
    for graph in GRAPHS.values():
        for source in range(N):
            value = torch.randn(N, 3)
            clean = ew.aggregate(value, graph, reduce, backend=backend)
            value[source] = float("nan")
            computed = ew.aggregate(value, graph, reduce, backend=backend)
            touched = reads(graph, source)
            assert computed[~touched].equal(clean[~touched])
            assert computed[touched].isnan().all()


@pytest.mark.parametrize("backend", ["reference", "gather", "dense"])
def test_a_bad_query_reaches_only_its_row(backend):
    for graph in GRAPHS.values():
        query, key, value = torch.randn(3, 2, N, 4).unbind()
        clean = ew.attention(query, key, value, graph, backend=backend)
        query[:, 2] = float("nan")
        computed = ew.attention(query, key, value, graph, backend=backend)
        others = [row for row in range(N) if row != 2]
        torch.testing.assert_close(computed[:, others], clean[:, others])


def test_a_matrix_product_spreads_it_like_torch_does():
    """The documented exception to the tests above, which shows that they can fail."""
    query, key, value = torch.randn(3, 1, 2, N, 4).unbind()
    value[..., 5, :] = float("nan")
    computed = ew.attention(query, key, value, ew.Causal(N), backend="dense")
    torchs = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert computed[..., 0, :].isnan().all(), "target 0 does not read source 5"
    assert computed.isnan().equal(torchs.isnan())


@pytest.mark.parametrize("backend", ["reference", "gather", "dense"])
def test_finite_numbers_never_become_nan(backend):
    """Scores far beyond the range of exp, in a row and against rows without sources."""
    for graph in GRAPHS.values():
        for size in (1.0, 1e4, 1e18):
            inputs = [(torch.randn(2, N, 4) * size).requires_grad_() for _ in range(3)]
            state = ew.attention_state(*inputs, graph, backend=backend)
            assert state.out.isfinite().all()
            assert not state.lse.isnan().any()
            out = ew.attention(*inputs, graph, backend=backend)
            assert out.isfinite().all()
            if size < 1e18:
                for gradient in torch.autograd.grad(out.sum(), inputs):
                    assert gradient.isfinite().all()


def test_weights_from_a_bad_lse_are_nan_in_its_row_alone():
    query, key, value = torch.randn(3, 2, N, 4).unbind()
    graph = ew.Causal(N)
    lse = ew.attention_state(query, key, value, graph).lse
    clean = ew.weights(query, key, graph, lse)
    lse[:, 3] = float("nan")
    computed = ew.weights(query, key, graph, lse)
    row = ew.edges(graph).target == 3
    assert computed[:, row].isnan().all()
    assert computed[:, ~row].equal(clean[:, ~row])
