"""What does a call cost on a graph so small that nothing is computed?

Three nodes, three edges, 8 heads of 8: attention through the library, the compiled kernels alone
(called with records that lie ready), and torch's own dense attention on the same tensors, which
does as little. One thread; microseconds, the minimum and the median of many repetitions.

    python benchmarks/overhead.py [--seconds 1] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _harness import BOTH, PASSES, arguments, begin, interleaved, save
from _results import table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import edgewise as ew
from edgewise.backends.native.kernels import attention_backward, attention_forward, forward_record
from edgewise.backends.native.layout import Layout
from edgewise.backends.native.library import library
from edgewise.backends.native.operands import Operands, settings_of
from edgewise.layouts import csr

CALLS = 500  # of a repetition, so that the clock does not show
HEADS, NODES, DIM = 8, 3, 8


def bare(graph: ew.Graph, tensor: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """The kernels alone: forward, and forward with backward."""
    layout, operands = Layout.of(csr(graph)), Operands(tensor, tensor, tensor)
    settings, gradients = settings_of(ew.Dot(), DIM, 0.0), list[bytes]()
    out, lse = attention_forward(settings, layout.rows, operands, None)
    record = forward_record(settings, layout.rows, operands, out, lse)
    wanted = (True, True, True, False, False, False, False)
    grad_out, wanted = torch.ones_like(out), (True, True, True, False, False, False, False)
    grads = attention_backward(
        settings,
        layout.rows,
        layout.reversed,
        operands,
        None,
        [out, lse],
        grad_out,
        None,
        wanted,
        records=gradients,
    )
    memory = (layout, operands, out, lse, grad_out, grads)  # what the records point to
    kernels = library()

    def forward() -> object:
        kernels.attention(record)
        return memory

    def both() -> object:
        kernels.attention(record)
        kernels.backward(gradients[0])
        return memory

    return forward, both


def jobs(graph: ew.Graph) -> dict[tuple[str, str], Callable[[], object]]:
    """Everything that is timed, by name and pass."""
    q = torch.randn(1, HEADS, NODES, DIM)
    leaves = [q.clone().requires_grad_() for _ in range(3)]
    push = torch.randn_like(q)
    whole: dict[str, Callable[..., Tensor]] = {
        "native": lambda *t: ew.attention(*t, graph, backend="native"),
        "gather": lambda *t: ew.attention(*t, graph, backend="gather"),
        "torch sdpa": scaled_dot_product_attention,
    }
    forward, both = bare(graph, q)
    todo: dict[tuple[str, str], Callable[[], object]] = {
        ("kernels alone", "forward"): forward,
        ("kernels alone", "forward + backward"): both,
    }
    for name, function in whole.items():
        todo[name, "forward"] = lambda f=function: f(q, q, q)
        todo[name, "forward + backward"] = lambda f=function: torch.autograd.grad(
            f(*leaves), leaves, push
        )
    return todo


def check(todo: dict[tuple[str, str], Callable[[], object]]) -> None:
    """The compiled kernels give what `gather` gives; torch's runs on all pairs."""
    for name in PASSES:
        ours, expected = todo["native", name](), todo["gather", name]()
        pairs = zip(ours, expected, strict=True) if name == BOTH else [(ours, expected)]
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = begin(arguments(__doc__))
    todo = jobs(ew.EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=NODES))

    def many(job: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                job()

        return run

    calls = 10 if options.quick else CALLS
    check(todo)

    named = {" / ".join(key): many(job) for key, job in todo.items()}
    times = interleaved(named, seconds=options.seconds)
    rows = []
    for job, direction in todo:
        time = times[f"{job} / {direction}"]
        least, median = (1e3 * time[name] / calls for name in ("min_ms", "median_ms"))
        rows.append(
            {
                "job": job,
                "pass": direction,
                "min_us": round(least, 2),
                "median_us": round(median, 2),
                "repetitions": time["runs"],
            }
        )
    cells = [[row["job"], row["pass"], row["min_us"], row["median_us"]] for row in rows]
    print(table(["job", "pass", "min us", "median us"], cells))
    save("overhead", rows, options)


if __name__ == "__main__":
    main()
