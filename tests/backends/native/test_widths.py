"""Every number of heads with every width: odd ones run in masked vectors, without padding."""

import os
import subprocess
import sys

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.layouts import LAYOUTS, lay

WIDTHS = [1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 33, 48, 65, 100, 160]
HEADS = range(1, 18)
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
STORAGE = ["node-major", "contiguous", "gaps between rows", "every other head", "offset"]
SCORES = [ew.Dot(), ew.GATv2(None), ew.Dot(softcap=2.0), ew.Dot(scale=0.3)]
T, S, E = 7, 9, 40


def draw_edges(targets=T, sources=S, count=E):
    return ew.EdgeList(
        torch.stack([torch.randint(sources, (count,)), torch.randint(targets, (count,))]),
        num_targets=targets,
        num_sources=sources,
    )


def case(graph, heads, width, *, kv_heads=None, value=None, storage="node-major", **settings):
    """Attention in one layout, which its gradients have too."""
    score, dtype = settings.get("score", ew.Dot()), settings.get("dtype", torch.float32)
    value = width if value is None else value
    sizes = {
        "query": (heads, graph.num_targets, width),
        "key": (kv_heads or heads, graph.num_sources, width),
        "value": (kv_heads or heads, graph.num_sources, value),
    }
    tensors = {
        name: lay(torch.randn(2, *size).to(dtype), storage).requires_grad_()
        for name, size in sizes.items()
    }
    if isinstance(score, ew.GATv2):
        tensors["vector"] = (torch.randn(heads, width) / width**0.5).to(dtype).requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    pushes = {
        "out": lay(torch.randn(2, heads, graph.num_targets, value).to(dtype), storage),
        "lse": torch.randn(2, heads, graph.num_targets).to(wide),
    }
    dropout = settings.get("dropout", 0.0)
    return Case(graph, tensors, score, dropout=dropout, sends=("out", "lse"), pushes=pushes)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_of_heads_with_every_width(width):
    graph = draw_edges()
    for heads in HEADS:  # each with another dtype, layout, score and width of values
        at = 3 * heads + WIDTHS.index(width)
        assert_exact(
            case(
                graph,
                heads,
                width,
                value=WIDTHS[at % len(WIDTHS)] if heads % 5 == 0 else width,
                storage=STORAGE[at // 2 % len(STORAGE)],
                score=SCORES[at % len(SCORES)],
                dtype=DTYPES[at % len(DTYPES) if heads % 2 else 0],
                dropout=0.3 * (at % 7 == 0),
            ),
            NATIVE,
        )


@pytest.mark.parametrize("share", [1, 2, 3, 5, 6, 8, 9])
def test_heads_that_share_a_key(share):
    graph = draw_edges()
    for kv_heads, width in ((1, 7), (2, 12), (3, 20), (5, 3), (1, 100)):
        for score in SCORES[:2]:
            one = case(graph, kv_heads * share, width, kv_heads=kv_heads, score=score)
            assert_exact(one, NATIVE)


@pytest.mark.parametrize("storage", LAYOUTS)
def test_layouts_of_odd_widths(storage):
    graph = draw_edges()
    for heads, width in ((3, 20), (6, 12), (7, 7), (1, 33), (5, 1)):
        assert_exact(case(graph, heads, width, storage=storage), NATIVE)


@pytest.mark.parametrize("edges", [700, 20_000])
def test_rows_that_do_not_fit_into_a_block(edges):
    """Rows that are added up block after block, and rows that are cut into parts."""
    targets = torch.where(torch.rand(edges) < 0.8, 2, torch.randint(T, (edges,)))
    index = torch.stack([torch.randint(S, (edges,)), targets])
    graph = ew.EdgeList(index, num_targets=T, num_sources=S)
    for heads, width in ((3, 20), (7, 7), (12, 10), (1, 100), (5, 24)):
        for score in SCORES[:2] if edges < 1000 else SCORES[:1]:
            assert_exact(case(graph, heads, width, score=score), NATIVE)


@pytest.mark.parametrize("storage", ["contiguous", "node-major", "one head for all"])
def test_edge_features_of_odd_widths(storage):
    graph = draw_edges()
    for heads, width in ((3, 20), (7, 7), (6, 12), (1, 100), (5, 3), (2, 65)):
        for score in SCORES[:2]:
            one = case(graph, heads, width, score=score)
            features = {
                name: lay(torch.randn(2, heads, E, width), storage).requires_grad_()
                for name in ("edge_key", "edge_value")
            }
            tensors = {**one.tensors, **features}
            assert_exact(Case(graph, tensors, score, sends=one.sends, pushes=one.pushes), NATIVE)


@pytest.mark.parametrize("heads", HEADS)
def test_additive_scores(heads):
    graph = draw_edges()
    for value in (1, 7, 12, 33):
        one = case(graph, heads, 1, value=value, score=ew.Additive(), dropout=0.2)
        assert_exact(one, NATIVE)


@pytest.mark.parametrize(("heads", "width"), [(7, 7), (6, 12), (3, 20), (12, 10), (5, 1), (2, 33)])
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_a_nan_stays_in_its_head_and_node(heads, width, name):
    """All other numbers, gradients included, are the same bits as without it."""
    graph = ew.EdgeList(torch.tensor([[0, 1, 2, 3, 4, 4], [0, 0, 1, 1, 2, 3]]), num_nodes=5)
    # A node whose NaN is read by one target, or that reads with it.
    at, node = {"query": 1, "key": 1, "value": 1}[name], 0
    one = case(graph, heads, width)
    clean = one.results(NATIVE)
    for head in {0, heads // 2, heads - 1}:
        spoilt = {k: t.detach().clone() for k, t in one.tensors.items()}
        spoilt[name][1, head, at, width // 2] = torch.nan
        tensors = {k: lay(t, "node-major").requires_grad_() for k, t in spoilt.items()}
        found = Case(graph, tensors, sends=one.sends, pushes=one.pushes).results(NATIVE)
        assert found["out"][1, head].isnan().any()
        reads = 1 if name == "query" else node
        for key, numbers in found.items():
            expected = clean[key].clone()
            assert torch.equal(numbers[0], expected[0]), key
            others = [h for h in range(heads) if h != head]
            assert torch.equal(numbers[1, others], expected[1, others]), key
            if key in ("out", "lse"):
                rows = [r for r in range(5) if r != reads]
                assert torch.equal(numbers[1, head, rows], expected[1, head, rows]), key


@pytest.mark.parametrize(("heads", "width"), [(7, 7), (12, 10), (3, 20), (1, 100), (9, 5)])
def test_a_batch_is_its_parts(heads, width):
    graph = draw_edges(60, 50, 900)
    one = case(graph, heads, width)
    both = one.results(NATIVE)
    for b in range(2):
        alone = Case(
            graph,
            {
                k: lay(t.detach()[b : b + 1], "node-major").requires_grad_()
                for k, t in one.tensors.items()
            },
            sends=one.sends,
            pushes={k: lay(t[b : b + 1], "node-major") for k, t in one.pushes.items()},
        ).results(NATIVE)
        for key, numbers in alone.items():
            assert torch.equal(numbers[0], both[key][b]), key


GUARDED = """
import ctypes
import mmap
import sys

import torch

from edgewise.backends.native.library import library
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.test_widths import DTYPES, SCORES, case, draw_edges

print(library().variant)
torch.manual_seed(0)
PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
kept = []


def guarded(t):
    # The same tensor, whose last element is the last one before a page that must not be read.
    dense = t.detach().transpose(-3, -2).contiguous()
    size = dense.numel() * dense.element_size()
    pages = -(-size // PAGE) + 1
    memory = mmap.mmap(-1, pages * PAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    kept.append((memory, whole))
    last = (pages - 1) * PAGE
    assert protect(whole.data_ptr() + last, PAGE, 0) == 0, ctypes.get_errno()
    new = torch.frombuffer(memory, dtype=t.dtype, count=dense.numel(), offset=last - size)
    new.copy_(dense.flatten())
    return new.view(dense.shape).transpose(-3, -2).requires_grad_(t.requires_grad)


SHAPES = [(1, 1), (3, 2), (5, 7), (7, 7), (6, 12), (3, 20), (5, 24), (1, 100), (12, 10), (4, 33)]
graph = draw_edges()
for dtype in DTYPES:
    for heads, width in SHAPES:
        for score in SCORES[:2]:
            one = case(graph, heads, width, score=score, dtype=dtype)
            tensors = {k: guarded(t) if t.ndim > 2 else t for k, t in one.tensors.items()}
            pushes = {**one.pushes, "out": guarded(one.pushes["out"])}
            assert_exact(Case(graph, tensors, score, sends=one.sends, pushes=pushes), sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by a call of Linux")
@pytest.mark.parametrize("variant", ["x86_64_v2", "x86_64_v3", "x86_64_v4"])
def test_nothing_is_read_beyond_a_tensor(variant):
    """In a process of its own, which such a read would end."""
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, NATIVE],
        env={**os.environ, "EDGEWISE_NATIVE_VARIANT": variant, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    used = done.stdout.strip()
    if used != variant:
        pytest.skip(f"this processor has no more than {used}")
