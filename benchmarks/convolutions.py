"""What do convolutions with attention's shape cost, against torch's own ways and attention?

Lightweight and dynamic convolutions run as weighted sums over edges. Against torch's depthwise
convolution with tied weights (lightweight), a batched product over an unfolded view and a sum over
shifted copies (dynamic), and attention over the same window, without any projections.

    python benchmarks/convolutions.py [--seconds 2] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from _harness import PASSES, Contender, arguments, begin, both_passes, save
from _results import Row, table
from torch import Tensor

import edgewise as ew
from edgewise.nn import DynamicConvolution, LightweightConvolution

SIZES = ((32, 64, 64, 4, 3), (8, 256, 128, 8, 7), (1, 4096, 256, 4, 31))  # B, N, C, H, kernel


def groups(
    batch: int, nodes: int, dim: int, heads: int, kernel: int
) -> dict[str, dict[str, Contender]]:
    """Ours first, then what gives the same numbers; no other way gives those of attention."""
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

    push = torch.randn(batch, nodes, dim)

    def contender(function: Callable[[], Tensor], *leaves: Tensor) -> Contender:
        return Contender(lambda *_: function(), (x, *leaves), push)

    return {
        "lightweight": {
            "lightweight": contender(lambda: light(x, graph), light.weight),
            "depthwise conv1d": contender(depthwise, light.weight),
        },
        "dynamic": {
            "dynamic": contender(lambda: dynamic(x, graph), predict),
            "unfold and bmm": contender(unfolded, predict),
            "sum of shifts": contender(shifted, predict),
        },
        "attention": {"attention": contender(attention)},
    }


def measure(size: tuple[int, ...], seconds: float) -> list[Row]:
    """Both passes of all groups, each interleaved."""
    about = dict(zip(("batch", "nodes", "dim", "heads", "kernel"), size, strict=True))
    rows = []
    for ours, contenders in groups(*size).items():
        times = both_passes(contenders, base=ours, seconds=seconds, rounds=40)
        least = {(row["job"], row["pass"]): row["min_ms"] for row in times}
        for row in times:
            ratio = row["min_ms"] / least[ours, row["pass"]]
            rows.append(about | {"of": ours, "ratio": round(ratio, 2)} | row)
    return rows


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = begin(arguments(__doc__, seconds=2.0))
    rows: list[Row] = []
    for size in SIZES[:1] if options.quick else SIZES:
        new = measure(size, options.seconds)
        rows += new
        cells = [
            [x["job"] if x["job"] == x["of"] else f"  {x['job']}", x["ratio"], x["min_ms"]]
            for x in new
        ]
        print("batch {}, {} nodes, {} features, {} heads, kernel {}".format(*size))
        for name in PASSES:
            own = [cell for cell, row in zip(cells, new, strict=True) if row["pass"] == name]
            print(table([name, "ratio", "min ms"], own), end="\n\n")
    save("convolutions", rows, options)


if __name__ == "__main__":
    main()
