"""Comparison: trains every rung with every seed on a data set, and saves each finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.measure.machine import machine
from edgewise.measure.memory import memory_errors_as
from edgewise.measure.threads import check_threads
from edgewise.training.data import GraphDataset
from edgewise.training.encoding import laplacian_encoding
from edgewise.training.interrupt import Interrupt
from edgewise.training.network_size import check_network_fits, training_too_large
from edgewise.training.recipe import Recipe, recipe_for
from edgewise.training.results import Results
from edgewise.training.run import Run, score_of, train
from edgewise.training.rungs import RUNGS, Rung
from edgewise.training.verdict import verdict
from edgewise.training.writing import check_writable

__all__ = ["Comparison", "Silent", "Watcher"]

_MOST_SEEDS = 10_000


class Watcher(Protocol):
    """Protocol of an observer of a comparison, for progress displays."""

    def resumed(self, kept: int, dropped: int) -> None:
        """Called once: number of earlier runs that are reused, and that are dropped."""
        ...

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None:
        """Called before each run."""
        ...

    def epoch(self, number: int, score: float) -> None:
        """Called after each epoch with its validation score."""
        ...

    def finished(self, run: Run) -> None:
        """Called after each run is saved."""
        ...


class Silent:
    """A `Watcher` that ignores all events."""

    def resumed(self, kept: int, dropped: int) -> None: ...

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None: ...

    def epoch(self, number: int, score: float) -> None: ...

    def finished(self, run: Run) -> None: ...


@dataclass
class Comparison:
    """Train a ladder of rungs on one data set, under one budget.

    Seeds are the outer loop, so a comparison that is stopped early has the whole ladder over fewer
    seeds, and a change in the load of the machine affects all rungs alike.

    Args:
        data: The data set.
        out: Folder of the results.
        rungs: The rungs to train; all of them when left out.
        seeds: Number of seeds, from 0.
        overrides: Settings that replace the defaults, by name.
        device: Device of training, as torch names it.
        threads: Number of threads; chosen by the size of a step when left out.
        fresh: Ignore results that are in the folder.

    Attributes:
        results: The finished runs.

    Raises:
        ArgumentError: fewer than one seed, an unknown setting, or one out of range or beyond the
            memory that is free.
        DataError: the folder holds damaged results, and ``fresh`` is not set.

    Example:
        >>> from edgewise.training import load
        >>> Comparison(load("digits"), Path("runs"), seeds=2).num_runs
        12
    """

    data: GraphDataset
    out: Path
    rungs: Sequence[Rung] = field(default_factory=lambda: list(RUNGS.values()))
    seeds: int = 3
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    device: str = "cpu"
    threads: int | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ArgumentError(f"seeds must be at least 1, got {self.seeds}. Leave it out for 3.")
        if self.seeds > _MOST_SEEDS:
            raise ArgumentError(f"seeds must be at most {_MOST_SEEDS:,}, got {self.seeds:,}.")
        check_threads(self.threads)
        self.recipes = {
            name: recipe_for(self.data, name, self.overrides)
            for name in dict.fromkeys([*RUNGS, *(rung.name for rung in self.rungs)])
        }
        for rung in self.rungs:
            check_network_fits(self.recipes[rung.name], self.data)
        for seed in range(self.seeds):
            self.data.split(seed)  # raises for an unusable split, before training
        self.earlier = None if self.fresh or not self.path.exists() else Results.load(self.path)
        self.results = Results(
            data=self._describe_data(),
            machine=machine(self.device, self.threads),
            recipes={name: recipe.to_dict() for name, recipe in self.recipes.items()},
        )
        self.spare: tuple[Run, ...] = ()  # valid earlier runs of other seeds or rungs

    @property
    def path(self) -> Path:
        """The results as JSON."""
        return self.out / "results.json"

    @property
    def num_runs(self) -> int:
        """Rungs times seeds."""
        return len(self.rungs) * self.seeds

    @cached_property
    def encoding(self) -> Tensor | None:
        """Laplacian encodings, if a rung has them."""
        sizes = [self.recipes[rung.name].encodings for rung in self.rungs if rung.encodings]
        return laplacian_encoding(self.data, sizes[0]) if sizes else None

    def run(self, watcher: Watcher | None = None) -> Results:
        """Train the missing runs; saves after every run.

        Raises:
            KeyboardInterrupt: the user stopped it; ``results`` holds what is finished.
            ArgumentError: nothing can be written to the folder (found before training), or memory
                does not suffice for a rung.
            OSError: a file cannot be written; ``results`` holds what is finished.
        """
        watcher = watcher or Silent()
        check_writable(self.out, self.path.name)
        self._resume(watcher)
        finished = {(run.rung, run.seed) for run in self.results.runs}
        with Interrupt() as interrupt:
            for seed in range(self.seeds):
                for rung in self.rungs:
                    if (rung.name, seed) not in finished:
                        self._train(rung, seed, watcher, interrupt)
                        interrupt.check()
        self._save()
        return self.results

    def _train(self, rung: Rung, seed: int, watcher: Watcher, interrupt: Interrupt) -> None:
        def report(epoch: int, score: float) -> None:
            interrupt.check()
            watcher.epoch(epoch, score)

        recipe = self.recipes[rung.name]
        watcher.started(rung, seed, recipe)
        with memory_errors_as(lambda: training_too_large(rung.name)):
            run = train(
                rung,
                self.data,
                recipe,
                seed,
                encoding=self.encoding if rung.encodings else None,
                device=self.device,
                threads=self.threads,
                report=report,
            )
        self.results = replace(self.results, runs=(*self.results.runs, run))
        self._save()
        watcher.finished(run)

    def _resume(self, watcher: Watcher) -> None:
        if self.earlier is None:
            return
        valid = self.results.shared_with(self.earlier)
        requested = {(rung.name, seed) for rung in self.rungs for seed in range(self.seeds)}
        kept = tuple(run for run in valid if (run.rung, run.seed) in requested)
        self.spare = tuple(run for run in valid if (run.rung, run.seed) not in requested)
        self.results = replace(self.results, runs=kept)
        watcher.resumed(len(kept), len(self.earlier.runs) - len(valid))

    def _save(self) -> None:
        whole = replace(self.results, runs=(*self.results.runs, *self.spare))
        whole.save(self.path, verdict=verdict(self.results))

    def _describe_data(self) -> dict[str, Any]:
        score, higher = score_of(self.data)
        trained, _, tested = self.data.split(0).sizes
        return {
            "name": self.data.name,
            "task": self.data.task,
            "description": self.data.describe(),
            "split": self.data.splits.describe(),
            "notes": list(self.data.notes),
            "fingerprint": self.data.fingerprint,
            "score": score,
            "higher_is_better": higher,
            "unit": self.data.unit,
            "train_items": trained,
            "test_items": tested,
            "fixed_split": self.data.splits.is_fixed,
        }
