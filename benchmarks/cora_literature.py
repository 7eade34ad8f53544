"""Do GCN and GAT reach on Cora what their papers report?

Trains both with the papers' hyper-parameters on the public split and compares the mean test
accuracy over seeds with the published one. Needs Cora (EDGEWISE_DATA or --data-root).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _harness import arguments, begin, save

from edgewise.errors import EdgewiseError
from edgewise.training import Comparison, Run, load, rungs_named
from edgewise.training.comparison import Silent

# Table 2 of Kipf, Welling 2016 (arXiv:1609.02907) and of Velickovic et al. 2018 (arXiv:1710.10903).
PUBLISHED = {"gnn": 81.5, "gat": 83.0}
TOLERANCE = 1.5  # points


class Printer(Silent):
    """One line for each run."""

    def finished(self, run: Run) -> None:
        accuracy = 100 * run.scores["accuracy"]
        print(f"  {run.rung}, seed {run.seed}: {accuracy:.1f} in {run.seconds:.0f} s", flush=True)


def main() -> int:
    parser = arguments(__doc__, seconds=None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--fresh", action="store_true", help="do not go on from earlier results")
    options = begin(parser)
    if options.quick:
        options.seeds = 1
    started = time.perf_counter()
    try:
        comparison = Comparison(
            load("cora", options.data_root),
            Path("runs") / "cora_literature",
            rungs=rungs_named("gnn,gat"),
            seeds=options.seeds,
            fresh=options.fresh,
        )
        results = comparison.run(Printer())
    except EdgewiseError as error:
        print(f"cora_literature: {error}", file=sys.stderr)
        return 2
    print(f"\n{'':6}{'ours':>14}{'published':>12}{'difference':>12}{'s / run':>10}")
    reached = True
    for summary in results.summaries():
        mean, spread = 100 * summary.mean, 100 * (summary.std or 0.0)
        gap = mean - PUBLISHED[summary.rung]
        reached = reached and gap >= -TOLERANCE
        print(
            f"{summary.rung:6}{mean:8.2f} ± {spread:.2f}{PUBLISHED[summary.rung]:12.1f}"
            f"{gap:+12.2f}{summary.seconds:10.1f}"
        )
    rows = [vars(summary) for summary in results.summaries()]
    about = {"published": PUBLISHED, "tolerance": TOLERANCE, "reached": reached}
    save("cora_literature", rows, options, **about)
    print(f"{results.machine_line()}; {time.perf_counter() - started:.0f} s in all")
    print(f"within {TOLERANCE} points of the papers: {'yes' if reached else 'NO'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
