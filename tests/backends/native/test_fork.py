"""A process that was forked after threads had worked computes, and finishes.

Each test runs a script in a process of its own, so that a child that hangs is a failure.
"""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.backends.native.backend import NATIVE

COMMON = """
import os
import signal
import sys
import warnings

import torch
import edgewise as ew

# A fork beside other threads is what is tested; Python 3.12 warns of it.
warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)

NATIVE = sys.argv[1]
torch.set_num_threads(2)
torch.manual_seed(0)
N = 1500
graph = ew.EdgeList(torch.randint(N, (2, 30_000)), num_nodes=N)

def work(seed=0):
    # Few enough numbers in a tensor that torch itself starts no threads on it.
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, N, 8, generator=draw).requires_grad_() for _ in range(3))
    out = ew.attention(q, k, v, graph, backend=NATIVE)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), torch.ones_like(out))]
"""

FORK = """
expected = work()
assert torch.get_num_threads() == 2
for threads in THREADS:
    child = os.fork()
    if not child:
        signal.alarm(40)  # a child that hangs dies
        try:
            if threads:
                torch.set_num_threads(threads)
            same = all(torch.equal(a, b) for a, b in zip(work(), expected, strict=True))
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(2)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"child with {threads}: {status}"
    assert all(torch.equal(a, b) for a, b in zip(work(), expected, strict=True)), "the parent"
print("done")
"""

LOADER = """
from torch.utils.data import DataLoader, Dataset

class Results(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, item):
        return torch.cat([part.flatten() for part in work(item)])

expected = torch.stack([Results()[item] for item in range(6)])
loader = DataLoader(Results(), batch_size=2, num_workers=2, multiprocessing_context="fork")
for _ in range(2):
    assert torch.equal(torch.cat(list(loader)), expected)
print("done")
"""


def run(script):
    """Run a script in a process of its own, for at most two minutes."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(COMMON + script), NATIVE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.strip() == "done"


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def test_a_forked_child_computes_with_one_thread():
    run(FORK.replace("THREADS", "(1,)"))


def test_a_forked_child_computes_with_all_threads():
    """What torch cannot: a child of its OpenMP threads hangs in the first loop it shares out."""
    run(FORK.replace("THREADS", "(None, 2)"))


def test_workers_of_a_data_loader():
    run(LOADER)
