"""How fast are batches of complete or causal graphs as buckets of blocks?

256 molecules from ZINC as complete graphs, and 16,384 tokens in causal documents of 64 to 2,048
(log-uniform), 8 heads of 16 and of 64, one thread, interleaved: `ragged` and `native`, against
`scaled_dot_product_attention` on a batch that is padded to the longest, and on all pairs with the
mask of the blocks.

    python benchmarks/ragged.py [--seconds 1.0] [--tokens 16384] [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _measure import interleaved, markdown, save
from _workloads import molecule_sizes
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import edgewise as ew

PADDED, MASKED = "sdpa, padded", "sdpa, mask of blocks"


def document_sizes(tokens: int, least: int, most: int, seed: int = 0) -> list[int]:
    """Documents until there are so many tokens; the last one is cut off."""
    random = np.random.default_rng(seed)
    sizes: list[int] = []
    while sum(sizes) < tokens:
        sizes.append(round(float(np.exp(random.uniform(np.log(least), np.log(most))))))
    return [*sizes[:-1], tokens - sum(sizes[:-1])]


def padded(sizes: list[int], *, causal: bool) -> Callable[..., Tensor]:
    """From query, key and value ``[1, H, N, D]`` to the output, through ``[batch, H, most, D]``."""
    count, most = torch.tensor(sizes), max(sizes)
    slot = torch.arange(most)
    held = slot < count[:, None]
    node = (count.cumsum(0) - count)[:, None] + torch.minimum(slot, count[:, None] - 1)
    back = held.flatten().nonzero()[:, 0]
    mask = None if causal else held[:, None, None]

    def attend(*tensors: Tensor) -> Tensor:
        rows = [t[0][:, node].transpose(0, 1) for t in tensors]
        out = scaled_dot_product_attention(*rows, attn_mask=mask, is_causal=causal)
        return out.transpose(0, 1).flatten(1, 2)[None, :, back]

    return attend


def masked(graph: ew.Graph) -> Callable[..., Tensor]:
    """The same on all pairs."""
    mask = ew.lower(graph, ew.DenseMask).mask
    return lambda *tensors: scaled_dot_product_attention(*tensors, attn_mask=mask)


def contenders(sizes: list[int], *, causal: bool) -> dict[str, Callable[..., Tensor]]:
    """From query, key and value to the output."""
    graph = ew.disjoint_union((ew.Causal if causal else ew.Complete)(size) for size in sizes)
    return {
        "ragged": lambda *t: ew.attention(*t, graph, backend="ragged"),
        "native": lambda *t: ew.attention(*t, graph, backend="native"),
        PADDED: padded(sizes, causal=causal),
        MASKED: masked(graph),
    }


def measure(
    work: str, sizes: list[int], heads: int, dim: int, dtype: torch.dtype, seconds: float
) -> list[dict[str, Any]]:
    """Both passes of all contenders."""
    causal = work == "documents"
    shape = (1, heads, sum(sizes), dim)
    tensors = [torch.randn(shape).to(dtype).requires_grad_() for _ in range(3)]
    push = torch.randn(shape).to(dtype)
    functions = contenders(sizes, causal=causal)

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
        }
        times = interleaved(jobs, seconds=seconds, rounds=100, least=1, check=agree(dtype))
        about = {"work": work, "pass": name, "dtype": str(dtype).removeprefix("torch.")}
        rows += [{**about, "job": key, **time} for key, time in times.items()]
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
    parser.add_argument("--tokens", type=int, default=16_384, help="of all documents")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    molecules = molecule_sizes(16 if options.quick else 256)
    documents = document_sizes(*((1024, 16, 256) if options.quick else (options.tokens, 64, 2048)))
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        rows += measure("molecules", molecules, 8, 16, dtype, options.seconds)
        rows += measure("documents", documents, 8, 64, dtype, options.seconds)
    table = []
    for row in rows:
        about = [row[key] for key in ("work", "dtype", "pass")]
        best = next(
            r["min_ms"]
            for r in rows
            if [r[key] for key in ("work", "dtype", "pass")] == about and r["job"] == "ragged"
        )
        table.append([*about, row["job"], f"{row['min_ms']:.4g}", f"{row['min_ms'] / best:.3g}x"])
    print(markdown(["work", "dtype", "pass", "job", "ms", "of ragged's time"], table))
    if not options.quick:
        path = save("ragged", rows, documents=documents, molecules=len(molecules))
        print(f"\nwrote benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
