"""Results of a comparison: runs and summaries, in a JSON file that a comparison resumes from."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.atomic_file import replacing
from edgewise.errors import DataError
from edgewise.measure.machine import describe_machine
from edgewise.training.run import Run
from edgewise.training.run_record import checked_run
from edgewise.training.writing import writing

__all__ = ["Results", "Summary", "summarize"]

_FORMAT = "edgewise comparison 1"
_LARGEST_FILE = 1 << 28  # bytes; a run takes about 600


@dataclass(frozen=True)
class Results:
    """Finished runs with their data set, machine and settings.

    Attributes:
        data: The data set: description, split, fingerprint, notes, deciding score.
        machine: Hardware, threads and versions.
        recipes: Settings of each rung, in the order of the ladder.
        runs: The finished runs.
    """

    data: dict[str, Any]
    machine: dict[str, Any]
    recipes: dict[str, dict[str, Any]]
    runs: tuple[Run, ...] = ()

    @property
    def score(self) -> str:
        """Name of the deciding score."""
        return self.data["score"]

    @property
    def higher(self) -> bool:
        """Whether a higher score is better."""
        return self.data["higher_is_better"]

    def machine_line(self) -> str:
        """Hardware, threads that were used, and versions."""
        return describe_machine(self.machine, [run.threads for run in self.runs])

    def summaries(self) -> list[Summary]:
        """The summary of each rung with a finished run, in the order of the ladder."""
        grouped = {name: [r for r in self.runs if r.rung == name] for name in self.recipes}
        return [summarize(runs, self.score) for runs in grouped.values() if runs]

    def shared_with(self, other: Results) -> tuple[Run, ...]:
        """Finished runs of ``other`` with the data, machine and settings of this comparison."""
        if (self.data["fingerprint"], self.machine) != (other.data["fingerprint"], other.machine):
            return ()
        return tuple(
            run
            for run in other.runs
            if run.rung in self.recipes and self.recipes[run.rung] == other.recipes[run.rung]
        )

    def save(self, path: Path, **more: Any) -> None:
        """Write the file, atomically.

        Raises:
            OSError: the file cannot be written; the message names it.
        """
        content = {
            "format": _FORMAT,
            **more,
            "data": self.data,
            "machine": self.machine,
            "settings": {s.rung: self.recipes[s.rung] for s in self.summaries()},
            "summary": [vars(summary) for summary in self.summaries()],
            "runs": [run.to_dict() for run in self.runs],
        }
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        with writing(path), replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Results:
        """Read a file of results.

        Raises:
            DataError: it is damaged, or something else.
        """
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise ValueError(f"it is larger than {_LARGEST_FILE:,} bytes")
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}")
            data = content["data"]
            runs = tuple(checked_run(record, data["score"]) for record in content["runs"])
            results = Results(data, content["machine"], content["settings"], runs)
            _ = results.higher, results.data["fingerprint"]
            if any(run.rung not in results.recipes for run in runs):
                raise ValueError("a run has no settings")
            if len({(run.rung, run.seed) for run in runs}) < len(runs):
                raise ValueError("a run is there twice")
            return results
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
            raise DataError(
                f"{path}: expected the results of an earlier comparison, got a damaged file "
                f"({error}). Add --fresh to replace it, or choose another --out."
            ) from error


@dataclass(frozen=True)
class Summary:
    """Means and medians of the runs of a rung.

    Attributes:
        rung: Name of the rung.
        seeds: Finished runs, diverged ones included.
        mean: Mean test score of the runs that did not diverge; None where all did.
        std: Standard deviation of the same, as of a sample; None below two.
        validation: Mean of their validation scores.
        parameters: Number of parameters.
        seconds_per_epoch: Median over runs.
        seconds: Median over runs.
        epochs: Mean over runs.
        peak_bytes: Largest of all runs.
        plan: How the layers were computed.
        diverged: Runs that diverged.
        error: Mean standard error of the score over test items; None if a run has none.
    """

    rung: str
    seeds: int
    mean: float | None
    std: float | None
    validation: float | None
    parameters: int
    seconds_per_epoch: float
    seconds: float
    epochs: float
    peak_bytes: int
    plan: str
    diverged: int = 0
    error: float | None = None


def summarize(runs: Sequence[Run], score: str) -> Summary:
    """Means over the seeds of a rung, and medians of times, which have outliers.

    Raises:
        ValueError: there is no run.
    """
    sound = [run for run in runs if not run.diverged]
    scores = [run.scores[score] for run in sound]
    return Summary(
        rung=runs[0].rung,
        seeds=len(runs),
        mean=_mean(scores),
        std=statistics.stdev(scores) if len(scores) > 1 else None,
        validation=_mean([run.validation for run in sound if run.validation is not None]),
        parameters=runs[0].parameters,
        seconds_per_epoch=statistics.median(run.seconds_per_epoch for run in runs),
        seconds=statistics.median(run.seconds for run in runs),
        epochs=statistics.fmean(run.epochs for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        plan=runs[0].plan,
        diverged=len(runs) - len(sound),
        error=_mean([run.error for run in sound if run.error is not None]),
    )


def _mean(numbers: Sequence[float]) -> float | None:
    return statistics.fmean(numbers) if numbers else None
