"""Explain a call, and plan it once
================================

`edgewise.explain` prints how a call would run on this machine, and why nothing else is chosen. A
plan is the same choice as a value: it is made once and called many times.

Run it with::

    python examples/explain_and_plan.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

import edgewise as ew

N = 1024
GRAPHS = {
    "complete": ew.Complete(N),
    "causal": ew.Causal(N),
    "window and hub": ew.Window(N, left=16, right=16) | ew.Hubs(N, [0]),
    "random, 4 neighbors": ew.RandomRegular(N, degree=4, seed=0),
}


def main() -> dict[str, float]:
    """Explain attention over four graphs, and return the seconds that are estimated for each."""
    query, key, value = torch.randn(3, 1, 4, N, 32).unbind()
    seconds = {}
    for name, graph in GRAPHS.items():
        print(ew.explain(query, key, value, graph))
        print()
        plan = ew.plan(query, key, value, graph)
        assert torch.equal(plan(query, key, value), ew.attention(query, key, value, graph))
        seconds[name] = plan.seconds
    draw(seconds)
    return seconds


def draw(seconds: dict[str, float]) -> None:
    """The estimates as bars, beside the share of all pairs that are edges."""
    labels = [f"{name}\n{ew.num_edges(GRAPHS[name]) / N**2:.1%} of pairs" for name in seconds]
    plt.figure(figsize=(7, 3))
    plt.barh(labels, [1e3 * value for value in seconds.values()])
    plt.gca().invert_yaxis()
    plt.xlabel("estimated milliseconds, forward, float32, one thread")
    plt.tight_layout()
    plt.show()


if __name__ == "__main__":
    main()
