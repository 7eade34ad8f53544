"""Tiles with heads of any width: exact, and nothing beside a row is touched."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.guarded import HAS_GUARDS, guarded
from tests.backends.native.test_variants import best, run  # noqa: F401 (a fixture)

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
WIDTHS = ((1, 1), (3, 5), (7, 7), (8, 20), (9, 17), (20, 20), (33, 12), (65, 100))
SIZES = (4, 9, 17, 30)  # of complete graphs side by side
HEADS = 3


def rows(width, dtype, *, at_start):
    """``[HEADS, nodes, width]``, whose nodes have columns of NaN beside their heads."""
    wide = torch.full((sum(SIZES), HEADS * width + 3), torch.nan, dtype=dtype)
    columns = slice(0, HEADS * width) if at_start else slice(3, None)
    wide[:, columns] = torch.randn(sum(SIZES), HEADS * width).to(dtype)
    return (
        guarded(wide, at_start=at_start)[:, columns].unflatten(-1, (HEADS, width)).transpose(0, 1)
    )


def outcome(tensors, grad, backend, dtype):
    leaves = [tensor.to(dtype).detach().requires_grad_() for tensor in tensors]
    graph = ew.disjoint_union([ew.Complete(size) for size in SIZES])
    out = ew.attention(*leaves, graph, backend=backend)
    return out.detach(), *torch.autograd.grad(out, leaves, grad.to(dtype))


def sweep(backend):
    torch.manual_seed(0)
    bounds = {torch.float64: 1e-11, torch.float32: 1e-4}
    for at_start in (False, True):
        for dtype in DTYPES:
            for key_dim, value_dim in WIDTHS:
                widths = (key_dim, key_dim, value_dim)
                tensors = [rows(width, dtype, at_start=at_start) for width in widths]
                grad = rows(value_dim, dtype, at_start=at_start)
                found = outcome(tensors, grad, backend, dtype)
                expected = outcome(tensors, grad, "reference", torch.float64)
                for one, other in zip(found, expected, strict=True):
                    error = float((one.double() - other).abs().max() / other.abs().max())
                    bound = bounds.get(dtype, 8 * torch.finfo(dtype).eps)
                    assert error <= bound, (dtype, key_dim, value_dim, error)


@pytest.mark.skipif(not HAS_GUARDS, reason="pages are guarded by mprotect of Linux")
@pytest.mark.parametrize("variant", ["x86_64_v2", "x86_64_v3", "x86_64_v4", ""])
def test_every_width_is_exact(variant, best):  # noqa: F811
    if (best == "portable") != (variant == ""):
        pytest.skip("of no use here")
    if variant > best:
        pytest.skip(f"this processor has no more than {best}")
    program = f"from {__name__} import sweep; sweep({NATIVE!r}); print('done')"
    assert run(variant, "-c", program) == "done"
