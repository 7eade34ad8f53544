"""What the numbers say, in a paragraph: no claim that the spread between seeds does not carry."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgewise.training.results import Results, Summary

__all__ = ["Difference", "compare_rungs", "verdict"]

_GRAPH = ("gat", "graph-transformer")


@dataclass(frozen=True)
class Difference:
    """How much better ``after`` is than ``before``, seed by seed.

    Attributes:
        before: A rung.
        after: Another.
        mean: Mean over seeds both have; above 0 where ``after`` is better.
        std: Standard deviation of these differences; None for one seed.
        seeds: How many seeds both have.
    """

    before: str
    after: str
    mean: float
    std: float | None
    seeds: int

    @property
    def outcome(self) -> str:
        """``better``, ``worse``, ``even`` (within one standard deviation) or ``unknown``."""
        if self.std is None:
            return "unknown"
        if abs(self.mean) <= self.std:
            return "even"
        return "better" if self.mean > 0 else "worse"


def compare_rungs(results: Results, before: str, after: str) -> Difference | None:
    """The paired difference of two rungs; None when they share no seed.

    Seeds are paired because both rungs then trained on the same split.
    """
    scores = {
        name: {run.seed: run.scores[results.score] for run in results.runs if run.rung == name}
        for name in (before, after)
    }
    seeds = sorted(scores[before].keys() & scores[after].keys())
    sign = 1.0 if results.higher else -1.0
    gaps = [sign * (scores[after][seed] - scores[before][seed]) for seed in seeds]
    if not gaps:
        return None
    std = statistics.stdev(gaps) if len(gaps) > 1 else None
    return Difference(before, after, statistics.fmean(gaps), std, len(gaps))


def verdict(results: Results) -> str:
    """Does the graph help, does attention, does the complete graph, and what does each cost.

    Where several rungs could stand for an answer, the one with the best validation score does, so
    that the test has no say in it.
    """
    found = {summary.rung: summary for summary in results.summaries()}
    if len(found) < 2:
        return "One rung alone says nothing about another: compare at least two."
    on_graph = _best(results, [found[name] for name in _GRAPH if name in found])
    sentences = [
        _answer(results, "The graph", "mlp", "gnn"),
        _answer(results, "Attention on it", "gnn", on_graph),
        _answer(results, "The complete graph by itself", "graph-transformer", "transformer"),
        _answer(results, "The complete graph with encodings", on_graph, "transformer+pe"),
        _costs(found),
        _advice(results, found),
    ]
    if any(summary.std is None for summary in found.values()):
        sentences.append("One seed cannot tell luck from effect; use --seeds 3 or more.")
    return " ".join(sentence for sentence in sentences if sentence)


def _best(results: Results, candidates: Sequence[Summary]) -> str | None:
    if not candidates:
        return None
    choose = max if results.higher else min
    return choose(candidates, key=lambda summary: summary.validation).rung


def _answer(results: Results, subject: str, before: str | None, after: str | None) -> str:
    difference = compare_rungs(results, before, after) if before and after else None
    if difference is None:
        return ""
    words = {
        "better": "helps",
        "worse": "costs quality",
        "even": "makes no difference beyond the spread between seeds",
        "unknown": "seems to help" if difference.mean > 0 else "does not seem to help",
    }[difference.outcome]
    return f"{subject} {words} ({after} against {before}: {_gap(results, difference)})."


def _gap(results: Results, difference: Difference) -> str:
    factor, unit = (100, " points") if results.score == "accuracy" else (1, f" {results.score}")
    sign = 1 if results.higher else -1
    mean = f"{sign * difference.mean * factor:+.{1 if factor == 100 else 3}f}"
    digits = 1 if factor == 100 else 3
    spread = "" if difference.std is None else f" ± {difference.std * factor:.{digits}f}"
    return f"{mean}{spread}{unit}"


def _costs(found: dict[str, Summary]) -> str:
    base = found.get("gnn") or next(iter(found.values()))
    others = [summary for summary in found.values() if summary.rung != base.rung]
    ratios = ", ".join(
        f"{summary.rung} {_ratio(summary.seconds_per_epoch / base.seconds_per_epoch)}"
        for summary in others
    )
    return f"For one epoch of {base.rung} you pay: {ratios}."


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def _advice(results: Results, found: dict[str, Summary]) -> str:
    """The cheapest rung that is not clearly worse than the best one."""
    best = _best(results, list(found.values()))
    assert best is not None
    enough = [
        summary
        for summary in found.values()
        if (gap := compare_rungs(results, best, summary.rung)) is not None
        and (summary.rung == best or gap.outcome in ("even", "better"))
    ]
    cheapest = min(enough, key=lambda summary: summary.seconds_per_epoch)
    if cheapest.rung == best:
        return f"{best} has the best validation score, and nothing cheaper comes close."
    return (
        f"{best} has the best validation score; {cheapest.rung} is cheaper and within the spread."
    )
