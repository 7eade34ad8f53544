"""Edge features with heads side by side in a vector: every number of heads, every way to lie."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE

N, E = 13, 90


def laid_out(tensor, layout):
    """The same numbers with the heads of an edge side by side, or all edges of a head."""
    if layout == "by edge":
        return tensor.transpose(-3, -2).contiguous().transpose(-3, -2)
    return tensor.contiguous()


@pytest.mark.parametrize("layout", ["by edge", "by head", "shared by heads"])
@pytest.mark.parametrize("score", ["dot", "gatv2"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 8), (4, 4), (2, 2), (6, 6), (8, 2), (8, 4)])
@pytest.mark.parametrize("dim", [8, 16, 5, 40])
def test_outputs_and_gradients(dim, heads, kv_heads, score, layout):
    draw = torch.Generator().manual_seed(dim * heads)
    edge_heads = 1 if layout == "shared by heads" else heads

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    graph = ew.EdgeList(torch.randint(N, (2, E), generator=draw), num_nodes=N)
    wide = [normal(heads, N, dim), normal(kv_heads, N, dim), normal(kv_heads, N, dim)]
    wide += [normal(edge_heads, E, dim), normal(edge_heads, E, dim), normal(heads, dim)]
    push = normal(heads, N, dim)

    def run(backend, dtype):
        q, k, v, ek, ev, a = leaves = [t.to(dtype).requires_grad_() for t in wide]
        own = ew.Dot() if score == "dot" else ew.GATv2(a)
        edges = [laid_out(t, layout) for t in (ek, ev)]
        out = ew.attention(
            q, k, v, graph, score=own, edge_key=edges[0], edge_value=edges[1], backend=backend
        )
        used = leaves if score == "gatv2" else leaves[:5]
        return [out, *torch.autograd.grad(out, used, push.to(dtype))]

    expected = run("reference", torch.float64)
    for dtype, off in ((torch.float64, 1e-11), (torch.float32, 3e-5)):
        for found, right in zip(run(NATIVE, dtype), expected, strict=True):
            error = (found.detach() - right.detach()).abs().max()
            assert float(error) <= off * float(right.detach().abs().max())
