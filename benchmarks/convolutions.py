"""What do convolutions with attention's shape cost, against torch's own ways and attention?

Lightweight and dynamic convolutions run as weighted sums over edges. Against torch's depthwise
convolution with tied weights (lightweight), a batched product over an unfolded view and a sum over
shifted copies (dynamic), and attention over the same window, without any projections.

    python benchmarks/convolutions.py [--seconds 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from _measure import interleaved, save, table
from torch import Tensor

import edgewise as ew
from edgewise.nn import DynamicConvolution, LightweightConvolution

SIZES = ((32, 64, 64, 4, 3), (8, 256, 128, 8, 7), (1, 4096, 256, 4, 31))  # B, N, C, H, kernel


def ways(batch: int, nodes: int, dim: int, heads: int, kernel: int) -> dict[str, Any]:
    """Every job, as a function of nothing and the leaves that get gradients."""
    x = torch.randn(batch, nodes, dim, requires_grad=True)
    graph = ew.Window(nodes, left=kernel - 1, right=0)
    light = LightweightConvolution(dim, heads, kernel)
    dynamic = DynamicConvolution(dim, heads, kernel)
    predict = dynamic.kernel_proj.weight

    def padded() -> Tensor:
        return F.pad(x, (0, 0, kernel - 1, 0)).unflatten(-1, (heads, -1))

    def predicted() -> Tensor:
        return F.linear(x, predict).unflatten(-1, (heads, kernel)).softmax(-1)

    def depthwise() -> Tensor:
        tied = light.weight.softmax(-1).repeat_interleave(dim // heads, 0)[:, None]
        return F.conv1d(F.pad(x.mT, (kernel - 1, 0)), tied, groups=dim).mT

    def unfolded() -> Tensor:
        return (padded().unfold(1, kernel, 1) @ predicted()[..., None]).squeeze(-1).flatten(-2)

    def shifted() -> Tensor:
        source, weight = padded(), predicted()
        terms = (source[:, j : j + nodes] * weight[..., j, None] for j in range(kernel))
        return sum(terms, torch.zeros(())).flatten(-2)

    def attention() -> Tensor:
        heads_of = x.unflatten(-1, (heads, -1)).transpose(1, 2)
        return ew.attention(heads_of, heads_of, heads_of, graph).transpose(1, 2).flatten(-2)

    return {
        "lightweight": (lambda: light(x, graph), [x, light.weight]),
        "  depthwise conv1d": (depthwise, [x, light.weight]),
        "dynamic": (lambda: dynamic(x, graph), [x, predict]),
        "  unfold and bmm": (unfolded, [x, predict]),
        "  sum of shifts": (shifted, [x, predict]),
        "attention": (attention, [x]),
    }


def both(job: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], object]:
    push = torch.randn_like(job())
    return lambda: torch.autograd.grad(job(), leaves, push)


def check(results: dict[str, Any]) -> None:
    """The same numbers before anything is timed."""
    pairs = [("  depthwise conv1d", "lightweight"), ("  unfold and bmm", "dynamic")]
    for theirs, ours in [*pairs, ("  sum of shifts", "dynamic")]:
        torch.testing.assert_close(results[ours], results[theirs], rtol=1e-4, atol=1e-5)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        todo = ways(*size)
        forward = interleaved(
            {name: job for name, (job, _) in todo.items()}, seconds=options.seconds, check=check
        )
        training = interleaved(
            {name: both(*pair) for name, pair in todo.items()}, seconds=options.seconds
        )
        for name in todo:
            ours = "lightweight" if "conv1d" in name else "dynamic"
            ratio = [
                round(times[name]["min_ms"] / times[ours]["min_ms"], 2) if name[0] == " " else None
                for times in (forward, training)
            ]
            rows.append(
                dict(zip(("batch", "nodes", "dim", "heads", "kernel"), size, strict=True))
                | {"job": name.strip(), "ratio_forward": ratio[0], "ratio_both": ratio[1]}
                | {f"forward_{key}": value for key, value in forward[name].items()}
                | {f"both_{key}": value for key, value in training[name].items()}
            )
        cells = [
            [
                name,
                *(f"{row[f'ratio_{p}'] or '-'}" for p in ("forward", "both")),
                *(
                    row[f"{p}_{key}"]
                    for p in ("forward", "both")
                    for key in ("min_ms", "median_ms")
                ),
            ]
            for name, row in zip(todo, rows[-len(todo) :], strict=True)
        ]
        print("batch {}, {} nodes, {} features, {} heads, kernel {}".format(*size))
        heads = ["job", "ratio fwd", "ratio both", "fwd min", "median", "both min", "median ms"]
        print(table(heads, cells), end="\n\n")
    print(f"wrote benchmarks/results/{save('convolutions', rows).name}")


if __name__ == "__main__":
    main()
