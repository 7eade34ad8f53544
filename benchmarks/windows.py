"""How fast are windows as tiles, against the kernels that take any graph and against torch's own?

A window of 128 nodes on both sides over 16,384 nodes, 8 heads of 64, one thread, interleaved:
`banded` and `native`, blocks of queries with copied slabs of keys and values on
`scaled_dot_product_attention`, and FlexAttention, which has no backward pass on CPUs.

    python benchmarks/windows.py [--seconds 1.0] [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _measure import interleaved, markdown, save
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import pad, scaled_dot_product_attention

import edgewise as ew

HEADS, DIM = 8, 64
COPIED = "copied tiles"


def copied_tiles(query: Tensor, key: Tensor, value: Tensor, reach: int, block: int) -> Tensor:
    """Blocks of queries with their slabs of keys and values, gathered and masked."""
    nodes = query.shape[-2]
    width = block + 2 * reach
    start = torch.arange(0, nodes, block)[:, None]
    column = start - reach + torch.arange(width)
    row = start + torch.arange(block)
    near = (column[:, None] - row[..., None]).abs() <= reach
    mask = near & (column[:, None] >= 0) & (column[:, None] < nodes)

    def slabs(table: Tensor) -> Tensor:
        return pad(table, (0, 0, reach, reach))[:, :, column + reach]

    tiles = query.unflatten(-2, (-1, block))
    found = scaled_dot_product_attention(
        tiles.flatten(1, 2), slabs(key).flatten(1, 2), slabs(value).flatten(1, 2),
        attn_mask=mask.repeat(HEADS, 1, 1),
    )  # fmt: skip
    return found.unflatten(1, (HEADS, -1)).flatten(2, 3)


def contenders(nodes: int, reach: int) -> dict[str, Callable[..., Tensor]]:
    """From query, key and value to the output."""
    graph = ew.Window(nodes, left=reach, right=reach)

    def flex(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return compiled(query, key, value, block_mask=mask)

    compiled: Any = torch.compile(flex_attention, dynamic=False)
    mask = create_block_mask(
        lambda _b, _h, q, k: (q - k).abs() <= reach, None, None, nodes, nodes, device="cpu"
    )
    return {
        "banded": lambda *t: ew.attention(*t, graph, backend="banded"),
        "native": lambda *t: ew.attention(*t, graph, backend="native"),
        **{
            f"{COPIED}, {block}": lambda *t, block=block: copied_tiles(*t, reach, block)
            for block in (128, 256)
        },
        "flex": flex,
    }


def measure(nodes: int, reach: int, dtype: torch.dtype, seconds: float) -> list[dict[str, Any]]:
    """Both passes of all contenders."""
    tensors = [torch.randn(1, HEADS, nodes, DIM).to(dtype).requires_grad_() for _ in range(3)]
    push = torch.randn(1, HEADS, nodes, DIM).to(dtype)
    functions = contenders(nodes, reach)

    def forward(function: Callable[..., Tensor]) -> Tensor:
        with torch.no_grad():
            return function(*(t.detach() for t in tensors))

    def both(function: Callable[..., Tensor]) -> Tensor:
        return torch.stack(torch.autograd.grad(function(*tensors), tensors, push))

    rows = []
    for name, job in (("forward", forward), ("forward + backward", both)):
        jobs = {
            key: lambda job=job, function=function: job(function)
            for key, function in functions.items()
            if key != "flex" or job is forward
        }
        times = interleaved(jobs, seconds=seconds, rounds=100, check=agree(dtype))
        rows += [
            {"pass": name, "dtype": str(dtype).removeprefix("torch."), "job": key, **time}
            for key, time in times.items()
        ]
    return rows


def agree(dtype: torch.dtype) -> Callable[[dict[str, Tensor]], None]:
    """Results may differ by rounding alone."""

    def check(results: dict[str, Tensor]) -> None:
        expected = results["native"].float()
        for name, found in results.items():
            error = float((found.float() - expected).abs().max() / expected.abs().max())
            if error > (1e-4 if dtype == torch.float32 else 3e-2):
                raise SystemExit(f"{name} differs by {error:.1e}: nothing was timed.")

    return check


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for each job, on average")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nodes, reach = (1024, 64) if options.quick else (16_384, 128)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        rows += measure(nodes, reach, dtype, options.seconds)
    table = []
    for row in rows:
        best = next(
            r["min_ms"]
            for r in rows
            if (r["job"], r["pass"], r["dtype"]) == ("banded", row["pass"], row["dtype"])
        )
        name = (row["dtype"], row["pass"], row["job"])
        table.append([*name, f"{row['min_ms']:.4g}", f"{row['min_ms'] / best:.3g}x"])
    print(markdown(["dtype", "pass", "job", "ms", "of banded's time"], table))
    if not options.quick:
        path = save("windows", rows, nodes=nodes, reach=reach)
        print(f"\nwrote benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
