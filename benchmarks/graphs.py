"""How long do graphs take to build, to describe and to lower?

python benchmarks/graphs.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from _measure import save, table

import edgewise as ew

MOLECULES = 10_000


def molecules() -> list[torch.Tensor]:
    """Edges like those of 10,000 molecules: 15 to 30 atoms, two directions of as many bonds."""
    random = torch.Generator().manual_seed(0)
    sizes = torch.randint(15, 31, (MOLECULES,), generator=random).tolist()
    return [torch.randint(n, (2, 2 * n), generator=random) for n in sizes]


def timed(function: Callable[[], object], repeats: int = 5) -> float:
    """Smallest time of a few runs, in milliseconds."""
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return 1e3 * min(times)


def main() -> None:
    """Measure, print the table, write the JSON."""
    torch.set_num_threads(1)
    edges = molecules()
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
        "10,000 edge lists: build": lambda: [ew.EdgeList(pair, num_nodes=30) for pair in edges],
        "10,000 edge lists: disjoint union": union,
        "10,000 edge lists: disjoint union, facts": lambda: union().facts(),
        "10,000 edge lists: disjoint union, CSR": lambda: ew.lower(union(), ew.Csr),
        "10,000 complete graphs: disjoint union, facts": lambda: ew.disjoint_union(
            [ew.Complete(25)] * MOLECULES
        ).facts(),
        "BigBird 16k: build, CSR": lambda: ew.lower(bigbird(), ew.Csr),
    }
    rows = [{"job": name, "min_ms": round(timed(job), 3)} for name, job in jobs.items()]
    print(table(["job", "ms"], [[row["job"], f"{row['min_ms']:.2f}"] for row in rows]))
    print(f"\nwrote benchmarks/results/{save('graphs', rows).name}")


if __name__ == "__main__":
    main()
