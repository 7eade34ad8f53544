"""Every instruction set that this machine has gives the numbers of the reference.

Each runs in a process of its own, because the kernels are chosen once.
"""

import os
import subprocess
import sys

import pytest

from tests.backends.native.backend import NATIVE

NAME = "from edgewise.backends.native.library import library; print(library().variant)"

COMPUTE = """
import sys

import torch
import edgewise as ew
from edgewise.backends.native.library import library
from tests.backends.native.cases import Case, assert_exact

print(library().variant)
torch.manual_seed(0)
T, S, E = 40, 30, 500
SCORES = [ew.Dot(), ew.Dot(softcap=2.0), ew.Additive(), ew.GATv2(None)]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def check(score, dtype, heads, kv_heads, head_dim, value_dim, edges):
    def draw(*shape):
        return torch.randn(shape).to(dtype).requires_grad_()

    # A row that fills more than a block, and empty ones.
    target = torch.where(torch.rand(E) < 0.6, 3, torch.randint(T // 2, (E,)))
    graph = ew.EdgeList(torch.stack([torch.randint(S, (E,)), target]), num_targets=T, num_sources=S)
    head_dim = 1 if isinstance(score, ew.Additive) else head_dim
    tensors = {
        "query": draw(heads, T, head_dim),
        "key": draw(kv_heads, S, head_dim),
        "value": draw(kv_heads, S, value_dim),
    }
    if isinstance(score, ew.GATv2):
        tensors["vector"] = (torch.randn(heads, head_dim) / 4).to(dtype).requires_grad_()
    if edges:
        tensors |= {"bias": draw(1, E), "edge_key": draw(1, E, head_dim)}
        tensors["edge_value"] = draw(heads, E, value_dim)
    wide = torch.promote_types(dtype, torch.float32)
    pushes = {
        "out": torch.randn(heads, T, value_dim).to(dtype),
        "lse": torch.randn(heads, T).to(wide),
    }
    case = Case(graph, tensors, score, dropout=0.2, sends=("out", "lse"), pushes=pushes)
    assert_exact(case, sys.argv[1])


for score in SCORES:
    for dtype in DTYPES:
        check(score, dtype, 8, 8, 8, 8, False)
        check(score, dtype, 4, 2, 16, 5, True)
        check(score, dtype, 3, 1, 33, 64, False)
for dtype in DTYPES:
    value = torch.randn(9, 20).to(dtype).requires_grad_()
    graph = ew.EdgeList(torch.randint(9, (2, 300)), num_nodes=9)
    for reduce in ("sum", "mean", "max"):
        found, expected = (
            ew.aggregate(v, graph, reduce, backend=name)
            for v, name in ((value, sys.argv[1]), (value.double(), "gather"))
        )
        torch.testing.assert_close(found, expected.to(dtype))
        torch.testing.assert_close(
            *(torch.autograd.grad(t.sum(), value)[0] for t in (found, expected))
        )
"""


def run(variant, *program):
    """What a process prints in which that variant is asked for."""
    done = subprocess.run(
        [sys.executable, *program],
        env={**os.environ, "EDGEWISE_NATIVE_VARIANT": variant, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def best():
    """The one that is chosen where none is asked for."""
    return run("", "-c", NAME)


@pytest.mark.parametrize("variant", ["x86_64_v2", "x86_64_v3", "x86_64_v4"])
def test_every_variant_is_exact(variant, best):
    if best == "portable":
        pytest.skip("there is but one")
    if variant > best:
        pytest.skip(f"this processor has no more than {best}")
    assert run(variant, "-c", COMPUTE, NATIVE) == variant
