"""How long does a training step of each model take, against its original?

Every rung of the ladder with the weights of its original, on the same data: layers of PyTorch
Geometric on Cora, on a batch of 256 molecules from ZINC and on tolokers, GPS on the molecules,
layers of torch on 512 nodes and on sentences of real lengths, and small configurations of models of
Hugging Face. A step is a forward pass, a loss, a backward pass and Adam. Losses and gradients of
both sides are compared before anything is timed, and both run in turn in one process.

The original runs as its users run it, without torch.compile; where that works, it is timed compiled
as well. It gets for nothing what it can remember: GCN's normalization on Cora, self-loops, masks,
padding. A "new batch" is another one in every step, whose graphs are built for it, as when batches
are drawn from a data set: everything that is worked out about a graph is in that time.

    python benchmarks/ladder.py [--threads 1] [--only ROW ...] [--no-compile] [--quick]

Takes about twenty minutes, most of it for compiling; only a run of all rows writes the JSON.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from _harness import arguments, begin, interleaved, largest_error, save
from _pairs import BATCHES, Pair
from _pairs_graphs import CONVOLUTIONS, cora, gps, molecules, stacks, tolokers
from _pairs_transformers import huggingface, sentence_batches, torch_layers, torch_ragged
from _results import Row, markdown
from torch import Tensor, nn

from edgewise.integrations.names.table import to_original

OURS, NEW, COMPILED = "ours", "ours, new batch", "compiled"
PEER_NEW = "original, new batch"
TOLERANCE = 2e-3  # of gradients: sums of float32 in another order, through norms and ReLUs


def step(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Callable[[], None]:
    """One step of training: a job that can be timed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def job() -> None:
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()

    return job


def found(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The loss, and the gradients of all parameters."""
    model.zero_grad()
    value = loss(model)
    value.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return value.item(), grads


def agree(pair: Pair) -> tuple[float, float]:
    """How far losses and gradients are apart; too far ends the run."""
    (ours, own), (theirs, other) = (
        found(model, loss)
        for model, loss in ((pair.ours, pair.loss), (pair.theirs, pair.loss_peer))
    )
    own = to_original(own, pair.names)
    if set(own) != set(other):
        raise SystemExit(f"{pair.model}: {sorted(set(own) ^ set(other))} has one gradient.")
    gradient = largest_error(tuple(own[n] for n in other), tuple(other.values()))
    loss = abs(ours - theirs) / max(1.0, abs(theirs))
    if not (loss <= TOLERANCE and gradient <= TOLERANCE):
        raise SystemExit(
            f"{pair.work}, {pair.model}: losses differ by {loss:.1e} and gradients by "
            f"{gradient:.1e}: nothing was timed."
        )
    return loss, gradient


def compiled(pair: Pair) -> tuple[nn.Module | None, str]:
    """The original compiled, if it can be, and still says the same; otherwise why not."""
    torch.compiler.reset()
    model = torch.compile(copy.deepcopy(pair.theirs), dynamic=False)
    try:
        value, grads = found(model, pair.loss_peer)
        expected, others = found(pair.theirs, pair.loss_peer)
    except Exception as error:  # whatever a compiler may raise
        return None, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    wrong = max(
        abs(value - expected) / max(1.0, abs(expected)),
        largest_error(tuple(grads.values()), tuple(others.values())),
    )
    return (model, "") if wrong <= TOLERANCE else (None, f"differs by {wrong:.1e}")


def measure(pair: Pair, options: argparse.Namespace) -> Row:
    """One row: both sides, interleaved."""
    loss, gradient = agree(pair)
    jobs = {OURS: step(pair.ours, pair.loss), pair.peer: step(pair.theirs, pair.loss_peer)}
    if pair.new_batch is not None:
        jobs[NEW] = step(pair.ours, pair.new_batch)
    if pair.new_batch_peer is not None:
        jobs[PEER_NEW] = step(pair.theirs, pair.new_batch_peer)
    why = "not tried"
    if options.compile:
        model, why = compiled(pair)
        if model is not None:
            jobs[COMPILED] = step(model, pair.loss_peer)
    times = interleaved(jobs, seconds=options.seconds, rounds=300, least=3)
    mine, theirs = times[OURS], times[pair.peer]
    row = {
        "work": pair.work,
        "model": pair.model,
        "peer": pair.peer,
        "ratio": round(theirs["min_ms"] / mine["min_ms"], 3),
        "ratio_of_medians": round(theirs["median_ms"] / mine["median_ms"], 3),
        "ratio_new_batch": None,
        "ratio_compiled": None,
        "not_compiled": why or None,
        "loss_differs_by": float(f"{loss:.1e}"),
        "gradients_differ_by": float(f"{gradient:.1e}"),
        "jobs": times,
    }
    if NEW in times:
        # Batches differ in size, so the fastest step says little; the median has seen them all.
        ratio = times[PEER_NEW]["median_ms"] / times[NEW]["median_ms"]
        row["ratio_new_batch"] = round(ratio, 3)
    if COMPILED in times:
        row["ratio_compiled"] = round(times[COMPILED]["min_ms"] / mine["min_ms"], 3)
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""

    def times(job: str) -> str:
        timed = row["jobs"].get(job)
        return "–" if timed is None else f"{timed['min_ms']:.4g} / {timed['median_ms']:.4g}"

    def ratio(name: str) -> str:
        return "–" if row[name] is None else f"{row[name]:.3g}x"

    return [
        row["work"],
        row["model"],
        row["peer"],
        *(ratio(n) for n in ("ratio", "ratio_of_medians", "ratio_new_batch", "ratio_compiled")),
        *(times(job) for job in (OURS, row["peer"], NEW, PEER_NEW, COMPILED)),
    ]


HEADERS = [
    "data",
    "model",
    "original",
    "ratio",
    "of medians",
    "new batch",
    "compiled",
    "ours, ms (min / median)",
    "original",
    "ours, new batch",
    "original, new batch",
    "compiled original",
]


def rows(quick: bool) -> dict[str, Callable[[], Iterator[Pair]]]:
    """All comparisons, by the name they are asked for with."""
    every = [*CONVOLUTIONS]
    zinc = partial(molecules, 16 if quick else 256, BATCHES)
    found: dict[str, Callable[[], Iterator[Pair]]] = {
        "cora": lambda: stacks("Cora", [cora()], every, layers=2),
        "molecules": lambda: stacks("molecules", zinc(), every, layers=3),
        "gps": lambda: gps(zinc(), layers=3),
        "tolokers": lambda: stacks("tolokers", [tolokers()], ["gat"], layers=2),
        "torch": lambda: torch_layers(*((2, 64) if quick else (4, 512))),
        "ragged": lambda: torch_ragged(sentence_batches(8 if quick else 64), layers=2),
        "huggingface": lambda: huggingface(quick),
    }
    return found


def main() -> None:
    """Measure, print, write the JSON."""
    every = rows(quick=False)
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(every), metavar="ROW", default=[*every])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="of these rows, some alone")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = begin(parser)
    load, began = os.getloadavg()[0], time.perf_counter()
    measured: list[Row] = []
    for name in options.only:
        torch.manual_seed(0)
        for pair in rows(options.quick)[name]():
            if options.models and pair.model not in options.models:
                continue
            measured.append(measure(pair, options))
            print(" | ".join(cells(measured[-1])), file=sys.stderr, flush=True)
    print(markdown(HEADERS, [cells(row) for row in measured]))
    for row in measured:
        if row["not_compiled"] not in (None, "not tried"):
            print(f"- {row['work']}, {row['model']}: {row['peer']} compiled: {row['not_compiled']}")
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    whole = set(options.only) == set(every) and not options.models
    if whole:
        save("ladder", measured, options, load_before=round(load, 2), optimizer="Adam")


if __name__ == "__main__":
    main()
