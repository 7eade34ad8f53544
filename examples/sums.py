"""Sums, means and maxima over neighbors
=====================================

`edgewise.aggregate` is message passing without scores: a sum, mean or maximum over the sources of
each target. Repeated means over a grid spread heat from one corner; the gradient is the same over
the reversed graph.

Run it with::

    python examples/sums.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import edgewise as ew

SIDE = 24


def main(steps: int = 200) -> list[Tensor]:
    """Spread heat over a grid, and return the temperatures at a few times."""
    graph = ew.Grid((SIDE, SIDE), radius=1, corners=False)
    heat = torch.zeros(SIDE * SIDE, 1)
    heat[0] = 1.0
    shown = [heat]
    for step in range(1, steps + 1):
        heat = ew.aggregate(heat, graph, "mean")
        if step in (10, 50, steps):
            shown.append(heat)

    # The same, as a product with a matrix of means.
    matrix = ew.aggregate(torch.eye(SIDE * SIDE), graph, "mean")
    expected = torch.linalg.matrix_power(matrix.double(), steps) @ shown[0].double()
    assert torch.allclose(heat.double(), expected, atol=1e-6)
    print(f"after {steps} steps: from {float(heat.min()):.2e} to {float(heat.max()):.2e}")

    _, axes = plt.subplots(1, len(shown), figsize=(9, 2.6))
    for axis, values, step in zip(axes, shown, (0, 10, 50, steps), strict=True):
        axis.imshow(values.view(SIDE, SIDE).sqrt().numpy(), cmap="inferno")
        axis.set_title(f"step {step}")
        axis.axis("off")
    plt.tight_layout()
    plt.show()
    return shown


if __name__ == "__main__":
    main()
