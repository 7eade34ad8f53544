"""Shapes that were slow because their tensors were copied, padded, before every call."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.native.library import why_missing
from tests.faults.kinds import Kind, each_case

_REPORTED = [(6, 12), (3, 20), (5, 24), (1, 100), (12, 10), (7, 7), (8, 8)]
_NEIGHBOURS = [(1, 1), (2, 3), (17, 5), (9, 9), (4, 33), (16, 15), (1, 160), (13, 17)]


def _check_copies(case):
    """A second call reuses the record of the first, which holds the addresses of its tensors."""
    heads, width, layout, dtype = case
    graph = ew.EdgeList(torch.randint(9, (2, 40)), num_nodes=9)

    def draw():
        if layout == "node-major":
            return torch.randn(9, heads, width).to(dtype).transpose(0, 1)
        return torch.randn(heads, 9, width).to(dtype)

    learns = dtype == torch.float32  # half precision keeps its output in float32 for gradients
    tolerance = 1e-5 if learns else 1e-2
    for _ in range(2):
        query, key, value, push = draw(), draw(), draw(), draw()
        inputs = [t.requires_grad_(learns) for t in (query, key, value)]
        out = ew.attention(*inputs, graph, backend="native")
        expected = ew.attention(*(t.double() for t in inputs), graph, backend="reference")
        torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
        if learns:
            found = torch.autograd.grad(out, inputs, push)
            right = torch.autograd.grad(expected, inputs, push.double())
            for a, b in zip(found, right, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    found = [each for each in graph._memory["shortcuts"].values() if each is not None]
    assert found, "a tensor was copied"
    assert len(found[0].backward) == learns, "a gradient was copied"


KINDS = (
    Kind(
        "tensors of odd widths are copied",
        _check_copies,
        {
            f"{heads} x {width}, {layout}, {str(dtype).removeprefix('torch.')}": (
                heads,
                width,
                layout,
                dtype,
            )
            for heads, width in _REPORTED + _NEIGHBOURS
            for layout in ("node-major", "head-major")
            for dtype in (torch.float32, torch.bfloat16)
        },
    ),
)


@pytest.mark.skipif(why_missing() is not None, reason="no compiled library")
@each_case(KINDS)
def test_no_fault(check, case):
    check(case)
