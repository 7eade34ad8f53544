"""How long do graphs take to build, to describe and to lower?

python benchmarks/graphs.py [--quick]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from _harness import arguments, begin, interleaved, save
from _results import table

import edgewise as ew

MOLECULES = 10_000


def molecules(count: int) -> list[torch.Tensor]:
    """Edges like those of molecules: 15 to 30 atoms, two directions of as many bonds."""
    random = torch.Generator().manual_seed(0)
    sizes = torch.randint(15, 31, (count,), generator=random).tolist()
    return [torch.randint(n, (2, 2 * n), generator=random) for n in sizes]


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = begin(arguments(__doc__))
    count = 100 if options.quick else MOLECULES
    edges = molecules(count)
    parts = [ew.EdgeList(pair, num_nodes=30) for pair in edges]
    million = 10**6

    def union() -> ew.Graph:
        return ew.disjoint_union(parts)

    def longformer(n: int) -> ew.Graph:
        return ew.Window(n, left=128, right=128) | ew.Hubs(n, list(range(64)))

    def bigbird() -> ew.Graph:
        seed = time.time_ns() % 2**32  # a new graph each time: equal ones are remembered
        return longformer(16_384) | ew.RandomRegular(16_384, degree=4, seed=seed)

    jobs: dict[str, Callable[[], object]] = {
        "Complete(10**6): build, print, facts": lambda: (
            repr(ew.Complete(million)),
            ew.Complete(million).facts(),
        ),
        "Window(10**6) | Hubs(10**6): build, facts": lambda: longformer(million).facts(),
        f"{count:,} edge lists: build": lambda: [ew.EdgeList(pair, num_nodes=30) for pair in edges],
        f"{count:,} edge lists: disjoint union": union,
        f"{count:,} edge lists: disjoint union, facts": lambda: union().facts(),
        f"{count:,} edge lists: disjoint union, CSR": lambda: ew.lower(union(), ew.Csr),
        f"{count:,} complete graphs: disjoint union, facts": lambda: ew.disjoint_union(
            [ew.Complete(25)] * count
        ).facts(),
        "BigBird 16k: build, CSR": lambda: ew.lower(bigbird(), ew.Csr),
    }
    times = interleaved(jobs, seconds=options.seconds, rounds=5)
    rows = [{"job": name, **time_} for name, time_ in times.items()]
    print(table(["job", "ms"], [[row["job"], f"{row['min_ms']:.2f}"] for row in rows]))
    save("graphs", rows, options)


if __name__ == "__main__":
    main()
