"""How fast are windows as tiles, against the kernels that take any graph and against torch's own?

A window of 128 nodes on both sides over 16,384 nodes, 8 heads of 64, one thread, interleaved:
`banded` and `native`, blocks of queries with copied slabs of keys and values on
`scaled_dot_product_attention`, and FlexAttention, which has no backward pass on CPUs.

    python benchmarks/windows.py [--seconds 1.0] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _harness import DTYPES, arguments, attention_contenders, begin, both_passes, ratios, save
from _results import Row, markdown
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


def measure(nodes: int, reach: int, dtype: torch.dtype, seconds: float) -> list[Row]:
    """Both passes of all contenders."""
    jobs = attention_contenders(contenders(nodes, reach), (1, HEADS, nodes, DIM), dtype)
    rows = both_passes(jobs, base="native", seconds=seconds, forward_only=("flex",))
    return [{"dtype": str(dtype).removeprefix("torch."), **row} for row in rows]


def main() -> None:
    """Measure, print, write the JSON."""
    options = begin(arguments(__doc__))
    nodes, reach = (1024, 64) if options.quick else (16_384, 128)
    rows = [row for dtype in DTYPES for row in measure(nodes, reach, dtype, options.seconds)]
    times = ratios(rows, "banded", ("dtype", "pass"))
    cells = [
        [row["dtype"], row["pass"], row["job"], f"{row['min_ms']:.4g}", ratio]
        for row, ratio in zip(rows, times, strict=True)
    ]
    print(markdown(["dtype", "pass", "job", "ms", "of banded's time"], cells))
    save("windows", rows, options, nodes=nodes, reach=reach)


if __name__ == "__main__":
    main()
