"""Estimates of memory against the measured peak of a process."""

import json
import os
import subprocess
import sys

import pytest

from edgewise.backends.native.library import why_missing
from tests.pairwise import crossed

# Each case runs alone: the peak of a process is that of all it ever did.
PROGRAM = """
import gc, json, sys
from pathlib import Path
import torch
import edgewise as ew
from edgewise.planning.plan import Plan

def kilobytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

small, large, backend, training = json.loads(sys.argv[1])
torch.set_num_threads(1)

def peak(text):
    graph = ew.graphs.read_graph(text)
    q, k, v = (
        torch.randn(1, 8, n, 64).requires_grad_(training)
        for n in (graph.num_targets, graph.num_sources, graph.num_sources)
    )
    push = torch.randn(1, 8, graph.num_targets, 64)
    plan = ew.plan(q, k, v, graph, backend=backend)
    gc.collect()
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    out = plan(q, k, v)
    found = torch.autograd.grad(out, (q, k, v), push) if training else out
    return 1024 * (kilobytes("VmHWM") - before), plan.memory, plan.name

peak(small)  # loads what torch loads late
print(json.dumps(peak(large)))
"""
DOCUMENTS = [f"Causal({64 + i % 99})" for i in range(200)]
# A small graph of the kind, a large one, and the backend.
CASES = {
    "sdpa": ("Complete(64)", "Complete(4096)", "dense"),
    "sdpa + mask": (
        "Window(64, left=9, right=9)",
        "Window(4096, left=9, right=9) | Hubs(4096, [3])",
        "dense",
    ),
    "tiles": ("Window(512, left=64, right=64)", "Window(32768, left=64, right=64)", "banded"),
    "blocks": (
        f"disjoint_union([{', '.join(DOCUMENTS[:3])}])",
        f"disjoint_union([{', '.join(DOCUMENTS)}])",
        "ragged",
    ),
    "fused rows": ("RandomRegular(64, degree=8)", "RandomRegular(32768, degree=8)", "native"),
    "fused tiles": ("Blocks([24, 24])", f"Blocks({[24] * 1024})", "native"),
    "rows of edges": ("RandomRegular(64, degree=8)", "RandomRegular(4096, degree=8)", "gather"),
    "dense tiles": (
        "Blocks([128, 128]) - SelfLoops(256)",
        f"Blocks({[512] * 32}) - SelfLoops(16384)",
        "blocked",
    ),
    "merge": (
        "Window(512, left=64, right=64) | Hubs(512, range(16)) | RandomRegular(512, degree=2)",
        "Window(16384, left=64, right=64) | Hubs(16384, range(16))"
        " | RandomRegular(16384, degree=2)",
        "auto",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(("name", "training"), crossed(CASES, [False, True], strength=1))
def test_estimates_are_near_what_is_measured(name, training):
    small, large, backend = CASES[name]
    if backend == "native" and why_missing() is not None:
        pytest.skip(str(why_missing()))
    words = [sys.executable, "-c", PROGRAM, json.dumps([small, large, backend, training])]
    # Freed memory goes back at once, or the second run would take what the first has left.
    options = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=300, env=os.environ | options
    )
    measured, estimated, plan = json.loads(done.stdout)
    assert plan.startswith("merge") == (name == "merge")
    assert 0.75 <= estimated / measured <= 1.25, (
        f"{estimated / 1e6:.0f} MB for {measured / 1e6:.0f} MB"
    )
