"""The ladder on one data set: every rung with every seed, kept as soon as it is finished."""

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
from edgewise.training.cost import check_network_fits, training_too_large
from edgewise.training.data import GraphDataset
from edgewise.training.encoding import laplacian_encoding
from edgewise.training.interrupt import Interrupt
from edgewise.training.recipe import Recipe, recipe_for
from edgewise.training.results import Results
from edgewise.training.run import Run, score_of, train
from edgewise.training.rungs import RUNGS, Rung
from edgewise.training.verdict import verdict
from edgewise.training.writing import check_writable

__all__ = ["Comparison", "Silent", "Watcher"]

_MOST_SEEDS = 10_000


class Watcher(Protocol):
    """Somebody who is told how a comparison goes on."""

    def resumed(self, kept: int, dropped: int) -> None:
        """Earlier runs that count, and earlier runs made under other conditions."""
        ...

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None:
        """A run begins."""
        ...

    def epoch(self, number: int, score: float) -> None:
        """An epoch of it is over."""
        ...

    def finished(self, run: Run) -> None:
        """It is over, and saved."""
        ...


class Silent:
    """A watcher that looks away."""

    def resumed(self, kept: int, dropped: int) -> None: ...

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None: ...

    def epoch(self, number: int, score: float) -> None: ...

    def finished(self, run: Run) -> None: ...


@dataclass
class Comparison:
    """Train a ladder of rungs on one data set, under one budget.

    Seeds are the outer loop, so a comparison that is stopped early is a whole ladder over fewer
    seeds, and a machine that grows slow meanwhile slows all rungs alike.

    Args:
        data: The data set.
        out: Folder of the results.
        rungs: Which; all of them when left out.
        seeds: How many, from 0.
        overrides: Settings that win over the defaults, by name.
        device: Where to train, in torch's words.
        threads: On how many threads; chosen by the size of a step when left out.
        fresh: Start over, whatever is in the folder.

    Attributes:
        results: What has finished so far.

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
            self.data.split(seed)  # refuses a split that cannot be used before anything is trained
        self.earlier = None if self.fresh or not self.path.exists() else Results.load(self.path)
        self.results = Results(
            data=self._describe_data(),
            machine=machine(self.device, self.threads),
            recipes={name: recipe.to_dict() for name, recipe in self.recipes.items()},
        )
        self.spare: tuple[Run, ...] = ()  # earlier runs that are valid, but not asked for now

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
        """Laplacian encodings, if a rung wants them."""
        wanted = [self.recipes[rung.name].encodings for rung in self.rungs if rung.encodings]
        return laplacian_encoding(self.data, wanted[0]) if wanted else None

    def run(self, watcher: Watcher | None = None) -> Results:
        """Train what is missing; saves after every run.

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
        def tell(epoch: int, score: float) -> None:
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
                tell=tell,
            )
        self.results = replace(self.results, runs=(*self.results.runs, run))
        self._save()
        watcher.finished(run)

    def _resume(self, watcher: Watcher) -> None:
        if self.earlier is None:
            return
        valid = self.results.shared_with(self.earlier)
        asked = {(rung.name, seed) for rung in self.rungs for seed in range(self.seeds)}
        kept = tuple(run for run in valid if (run.rung, run.seed) in asked)
        self.spare = tuple(run for run in valid if (run.rung, run.seed) not in asked)
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
