"""Calls of the tiled backends: random tensors, results with gradients, and how they compare."""

import torch

import edgewise as ew


def draw(graph, heads=2, kv_heads=None, dim=8, value_dim=8, lead=(), node_major=False,
         strided=False, **options):  # fmt: skip
    """Query, key, value."""

    def table(count, nodes, channels):
        if node_major:
            return torch.randn(*lead, nodes, count, channels, **options).transpose(-3, -2)
        if strided:
            return torch.randn(*lead, count, channels, 2 * nodes, **options)[..., ::2].mT
        return torch.randn(*lead, count, nodes, channels, **options)

    kv_heads = kv_heads or heads
    shapes = (
        (heads, graph.num_targets, dim),
        (kv_heads, graph.num_sources, dim),
        (kv_heads, graph.num_sources, value_dim),
    )
    return [table(*shape).requires_grad_() for shape in shapes]


def gradients_of(state):
    """Random gradients of an output and a log-sum-exp."""
    random = torch.Generator().manual_seed(3)
    return [torch.randn(t.shape, generator=random).to(t.dtype) for t in (state.out, state.lse)]


def everything(backend, graph, tensors, dtype=None):
    """Output, log-sum-exp and gradients of both."""
    tensors = [t.detach().to(dtype or t.dtype).requires_grad_() for t in tensors]
    state = ew.attention_state(*tensors, graph, backend=backend)
    grads = torch.autograd.grad((state.out, state.lse), tensors, gradients_of(state))
    assert all(grad.dtype == tensor.dtype for grad, tensor in zip(grads, tensors, strict=True))
    return [state.out, state.lse, *grads]


def assert_close(actual, expected, tolerance):
    """Equal infinities, no NaN, and a difference within a share of the largest number."""
    assert actual.shape == expected.shape
    assert not actual.isnan().any()
    assert torch.equal(actual.isinf(), expected.isinf())
    if actual.numel():
        infinite = expected.isinf()
        difference = (actual.double() - expected.double()).masked_fill(infinite, 0)
        scale = expected.double().masked_fill(infinite, 0).abs().max().clamp(min=1)
        assert difference.abs().max() <= tolerance * scale


def assert_all_close(actual, expected, tolerance):
    for result, exact in zip(actual, expected, strict=True):
        assert_close(result, exact, tolerance)
