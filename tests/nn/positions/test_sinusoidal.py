"""Sinusoids and random signs."""

import math

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Complete, Grid, disjoint_union
from edgewise.nn import laplacian_eigenvectors, random_signs, sinusoidal

DOUBLE = torch.float64


def test_sinusoids_are_the_formula():
    encoding = sinusoidal(torch.tensor([0, 3, 70_000]), 6, base=100.0)
    for row, position in enumerate((0, 3, 70_000)):
        for i in range(3):
            angle = position / 100.0 ** (2 * i / 6)
            assert encoding[row, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert encoding[row, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_shift_of_sinusoids_is_a_rotation():
    encoding = sinusoidal(torch.arange(40, dtype=DOUBLE), 8)
    products = encoding @ encoding.T
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1])


def test_sinusoids_keep_shape_and_dtype():
    assert torch.equal(sinusoidal(5, 4), sinusoidal(torch.arange(5), 4))
    assert sinusoidal(0, 4).shape == (0, 4)
    assert sinusoidal(torch.rand(2, 3, dtype=DOUBLE), 4).shape == (2, 3, 4)
    assert sinusoidal(torch.rand(2, 3, dtype=DOUBLE), 4).dtype == DOUBLE
    assert sinusoidal(torch.arange(3), 4).dtype == torch.float32


def test_random_signs_turn_whole_columns():
    encoding = torch.rand(200, 5) + 0.1
    random = torch.Generator().manual_seed(3)
    signs = random_signs(encoding, generator=random) / encoding
    assert torch.equal(signs, signs[:1].expand(200, 5))
    draws = torch.stack([random_signs(torch.ones(1, 5), generator=random) for _ in range(400)])
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    assert draws.mean(0).abs().max() < 0.2


def test_random_signs_belong_to_components():
    graph = disjoint_union([Complete(4)] * 50)
    random = torch.Generator().manual_seed(0)
    signs = random_signs(torch.ones(200, 6), graph, generator=random).view(50, 4, 6)
    assert torch.equal(signs, signs[:, :1].expand(50, 4, 6))
    assert signs[:, 0].mean(0).abs().max() < 0.5
    assert len({tuple(row) for row in signs[:, 0].tolist()}) > 10


def test_random_signs_are_reproducible_and_let_gradients_pass():
    encoding = torch.rand(6, 3, requires_grad=True)
    first = random_signs(encoding, generator=torch.Generator().manual_seed(1))
    again = random_signs(encoding, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    gradient = torch.autograd.grad(first.sum(), encoding)[0]
    torch.testing.assert_close(gradient, (first / encoding).detach())
    torch.manual_seed(5)
    globally = random_signs(encoding)
    torch.manual_seed(5)
    assert torch.equal(globally, random_signs(encoding))


def test_every_step_draws_new_signs_and_keeps_the_encoding():
    graph = Grid((3, 4))
    encoding = laplacian_eigenvectors(graph, 3)
    before = encoding.clone()
    reached = {tuple((random_signs(encoding, graph) / encoding)[0].tolist()) for _ in range(100)}
    assert len(reached) == 2**3  # all of them, so none is frozen
    assert torch.equal(encoding, before)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match=r"dim must be even, got 5\. Use dim=6"):
        sinusoidal(3, 5)
    with pytest.raises(ArgumentError, match="dim must be at least 2, got 0"):
        sinusoidal(3, 0)
    with pytest.raises(ArgumentError, match="base must be positive, got 0"):
        sinusoidal(3, 4, base=0.0)
    with pytest.raises(ArgumentError, match="positions must be at least 0, got -1"):
        sinusoidal(-1, 4)
    with pytest.raises(ShapeError, match=r"shape \[nodes, k\], got \[3\]"):
        random_signs(torch.ones(3))
    with pytest.raises(ShapeError, match="encoding has 3 rows but graph has 4 nodes"):
        random_signs(torch.ones(3, 2), Complete(4))
