"""Kernels for encodings: LAPACK's eigenvectors, diagonals of powers, and the same bits always."""

import os
import subprocess
import sys

import pytest
import torch

from edgewise.backends.native import encodings
from edgewise.graphs import Complete, EdgeList, Window, disjoint_union
from edgewise.layouts import csr
from edgewise.nn import components, laplacian_eigenvectors, random_walk

DOUBLE = torch.float64
VARIANTS = ("x86_64_v2", "x86_64_v3", "x86_64_v4")


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def symmetric(B, n, rank=None):
    x = torch.randn(B, n, n if rank is None else rank, dtype=DOUBLE)
    return x @ x.mT if rank is not None else (x + x.mT) / 2


def repeated(B, n):
    """Three eigenvalues, in random directions."""
    basis = torch.linalg.qr(torch.randn(B, n, n, dtype=DOUBLE)).Q
    value = torch.randint(3, (B, n)).double()
    matrices = basis @ torch.diag_embed(value) @ basis.mT
    return (matrices + matrices.mT) / 2


def blocks(B, n):
    """Two matrices that do not touch."""
    matrices = torch.zeros(B, n, n, dtype=DOUBLE)
    matrices[:, : n // 2, : n // 2] = symmetric(B, n // 2)
    matrices[:, n // 2 :, n // 2 :] = symmetric(B, n - n // 2)
    return matrices


MATRICES = {
    "random": symmetric,
    "of low rank": lambda B, n: symmetric(B, n, rank=max(1, n // 3)),
    "repeated eigenvalues": repeated,
    "diagonal": lambda B, n: torch.diag_embed(torch.randn(B, n, dtype=DOUBLE)),
    "zeros": lambda B, n: torch.zeros(B, n, n, dtype=DOUBLE),
    "ones": lambda B, n: torch.ones(B, n, n, dtype=DOUBLE),
    "blocks": blocks,
    "paths": lambda B, n: (
        torch.diag_embed(torch.ones(max(n - 1, 0), dtype=DOUBLE), 1)
        + torch.diag_embed(torch.ones(max(n - 1, 0), dtype=DOUBLE), -1)
    ).expand(B, n, n),
}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize(("B", "n"), [(1, 1), (3, 2), (9, 3), (8, 7), (17, 24), (2, 50), (1, 0)])
def test_they_are_eigenvectors(kind, B, n):
    matrices = MATRICES[kind](B, n)
    found = encodings.eigenvectors(matrices, 0, n)
    values = torch.linalg.eigvalsh(matrices)
    close = {
        "rtol": 0,
        "atol": 1e-13 * max(1.0, float(values.abs().max()) if n else 1.0) * max(n, 1),
    }
    torch.testing.assert_close(matrices @ found.mT, found.mT * values[:, None], **close)
    unit = torch.eye(n, dtype=DOUBLE).expand(B, n, n)
    torch.testing.assert_close(found @ found.mT, unit, rtol=0, atol=1e-13 * max(n, 1))


def test_some_are_those_of_all():
    matrices = symmetric(11, 13)
    every = encodings.eigenvectors(matrices, 0, 13)
    for first, count in [(0, 1), (1, 8), (12, 1), (5, 0)]:
        some = encodings.eigenvectors(matrices, first, count)
        assert torch.equal(some, every[:, first : first + count])


def test_a_matrix_gets_the_same_whatever_lies_beside_it():
    matrices = torch.cat([symmetric(5, 14), repeated(9, 14), torch.zeros(1, 14, 14, dtype=DOUBLE)])
    together = encodings.eigenvectors(matrices, 0, 14)
    order = torch.randperm(15)
    assert torch.equal(encodings.eigenvectors(matrices[order], 0, 14), together[order])
    alone = [encodings.eigenvectors(matrix[None], 0, 14) for matrix in matrices]
    assert torch.equal(torch.cat(alone), together)
    spread = torch.empty(15, 28, 28, dtype=DOUBLE)[:, ::2, ::2]
    spread.copy_(matrices)
    assert torch.equal(encodings.eigenvectors(spread, 0, 14), together)


def test_what_is_no_number_comes_to_an_end():
    matrices = symmetric(3, 6)
    matrices[1, 2, 2] = torch.nan
    assert encodings.eigenvectors(matrices, 0, 6) is None


def walked(graph, steps):
    parts = components(graph)
    ends = torch.cat([parts.starts, torch.tensor([graph.num_targets])])
    share = torch.rand(graph.num_targets, dtype=DOUBLE)
    found = encodings.returns(csr(graph), share, parts.nodes, ends, parts.position, steps)
    return found, share


@pytest.mark.parametrize("N", [1, 7, 64, 65, 300, 1100])
def test_walks_of_components_of_any_size(N):
    graph = disjoint_union([Window(N, left=2, right=1), EdgeList([[0, 0], [1, 1]], num_nodes=3)])
    found, share = walked(graph, 5)
    rows = csr(graph)
    step = torch.zeros(N + 3, N + 3, dtype=DOUBLE)
    step.index_put_((rows.target, rows.indices), share[rows.indices], accumulate=True)
    power = torch.eye(N + 3, dtype=DOUBLE)
    for s in range(5):
        power = step @ power
        torch.testing.assert_close(found[:, s], power.diagonal())


def test_the_same_bits_with_any_number_of_threads():
    graph = disjoint_union([Window(90, left=2, right=2)] * 3 + [Complete(6)] * 200)
    torch.manual_seed(1)
    matrices, expected = symmetric(50, 21), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        torch.manual_seed(2)
        got = (encodings.eigenvectors(matrices, 1, 8), walked(graph, 7)[0])
        expected = expected or got
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_without_the_library_there_is_none(monkeypatch):
    graph = disjoint_union([Window(9, left=1, right=1), Window(7, left=1, right=1)])
    ours = laplacian_eigenvectors(graph, 3, dtype=DOUBLE), random_walk(graph, 5, dtype=DOUBLE)
    monkeypatch.setattr(encodings, "why_missing", lambda: "there is no compiler")
    assert encodings.eigenvectors(symmetric(2, 3), 0, 3) is None
    assert walked(graph, 2)[0] is None
    plain = laplacian_eigenvectors(graph, 3, dtype=DOUBLE), random_walk(graph, 5, dtype=DOUBLE)
    torch.testing.assert_close(plain, ours, rtol=0, atol=1e-13)


COMPUTE = """
import torch
from edgewise.backends.native.library import library
from tests.backends.native import test_encodings as tests

print(library().variant)
torch.manual_seed(0)
for kind in tests.MATRICES:
    tests.test_they_are_eigenvectors(kind, 17, 24)
tests.test_walks_of_components_of_any_size(70)
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_instruction_set(variant):
    """In a process of its own, because the kernels are chosen once; at most what there is."""
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE],
        env={**os.environ, "EDGEWISE_NATIVE_VARIANT": variant},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] <= variant or not done.stdout.startswith("x86")
