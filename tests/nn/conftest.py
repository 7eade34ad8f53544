"""What the tests of this folder share: small random graphs, and comparing with another layer."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from edgewise.graphs import EdgeList

Compare = Callable[..., None]


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def graph() -> EdgeList:
    """A directed graph with in-degrees from 0 up, unsorted, no self-loops, no copies."""
    torch.manual_seed(0)
    N = 17
    dense = torch.rand(N, N) < torch.linspace(0, 0.6, N)[:, None]
    dense.fill_diagonal_(False)
    target, source = dense.nonzero(as_tuple=True)
    order = torch.randperm(len(target))
    return EdgeList(torch.stack([source, target])[:, order], num_nodes=N)


def _close(ours: Tensor, theirs: Tensor) -> None:
    tolerance = 1e-10 if ours.dtype == torch.float64 else 2e-5
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture
def close() -> Callable[[Tensor, Tensor], None]:
    """Tight in float64, rounding in float32."""
    return _close


@pytest.fixture
def same_layer() -> Compare:
    """Two results and their gradients agree, for the same random gradient of the result."""

    def compare(
        ours: Tensor,
        theirs: Tensor,
        inputs: Sequence[Tensor],
        parameters: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        _close(ours, theirs)
        grad_out = torch.randn_like(ours)
        mine = torch.autograd.grad(ours, [*inputs, *(a for a, _ in parameters)], grad_out)
        other = torch.autograd.grad(theirs, [*inputs, *(b for _, b in parameters)], grad_out)
        assert any(gradient.abs().max() > 0 for gradient in mine)
        for a, b in zip(mine, other, strict=True):
            _close(a, b.reshape(a.shape))

    return compare


@pytest.fixture
def copied() -> Callable[[Sequence[tuple[Tensor, Tensor]]], None]:
    """Copy the second parameter of every pair into the first, whatever its shape."""

    def copy(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        with torch.no_grad():
            for mine, other in pairs:
                mine.copy_(other.reshape(mine.shape))

    return copy
