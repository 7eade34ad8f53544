"""How fast are batches of complete or causal graphs as buckets of blocks?

256 molecules from ZINC as complete graphs, and 16,384 tokens in causal documents of 64 to 2,048
(log-uniform), 8 heads of 16 and of 64, one thread, interleaved: `ragged` and `native`, against
`scaled_dot_product_attention` on a batch that is padded to the longest, and on all pairs with the
mask of the blocks.

    python benchmarks/ragged.py [--seconds 1.0] [--tokens 16384] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from _harness import DTYPES, arguments, attention_contenders, begin, both_passes, ratios, save
from _peers import masked, padded_on_the_way
from _results import Row, markdown
from _workloads import molecule_sizes
from torch import Tensor

import edgewise as ew

PADDED, MASKED = "sdpa, padded", "sdpa, mask of blocks"


def document_sizes(tokens: int, least: int, most: int, seed: int = 0) -> list[int]:
    """Documents until there are so many tokens; the last one is cut off."""
    random = np.random.default_rng(seed)
    sizes: list[int] = []
    while sum(sizes) < tokens:
        sizes.append(round(float(np.exp(random.uniform(np.log(least), np.log(most))))))
    return [*sizes[:-1], tokens - sum(sizes[:-1])]


def contenders(sizes: list[int], *, causal: bool) -> dict[str, Callable[..., Tensor]]:
    """From query, key and value to the output."""
    graph = ew.disjoint_union((ew.Causal if causal else ew.Complete)(size) for size in sizes)
    return {
        "ragged": lambda *t: ew.attention(*t, graph, backend="ragged"),
        "native": lambda *t: ew.attention(*t, graph, backend="native"),
        PADDED: padded_on_the_way(sizes, causal=causal),
        MASKED: masked(graph),
    }


def measure(
    work: str, sizes: list[int], heads: int, dim: int, dtype: torch.dtype, seconds: float
) -> list[Row]:
    """Both passes of all contenders."""
    functions = contenders(sizes, causal=work == "documents")
    jobs = attention_contenders(functions, (1, heads, sum(sizes), dim), dtype)
    about = {"work": work, "dtype": str(dtype).removeprefix("torch.")}
    return [about | row for row in both_passes(jobs, base="native", seconds=seconds, least=1)]


def main() -> None:
    """Measure, print, write the JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--tokens", type=int, default=16_384, help="of all documents")
    options = begin(parser)
    molecules = molecule_sizes(16 if options.quick else 256)
    documents = document_sizes(*((1024, 16, 256) if options.quick else (options.tokens, 64, 2048)))
    rows = []
    for dtype in DTYPES:
        rows += measure("molecules", molecules, 8, 16, dtype, options.seconds)
        rows += measure("documents", documents, 8, 64, dtype, options.seconds)
    keys = ("work", "dtype", "pass")
    cells = [
        [*(row[key] for key in keys), row["job"], f"{row['min_ms']:.4g}", ratio]
        for row, ratio in zip(rows, ratios(rows, "ragged", keys), strict=True)
    ]
    print(markdown(["work", "dtype", "pass", "job", "ms", "of ragged's time"], cells))
    save("ragged", rows, options, documents=documents, molecules=len(molecules))


if __name__ == "__main__":
    main()
