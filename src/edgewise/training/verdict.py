"""Verdict: sentences on the differences of rungs, claimed only if their interval excludes zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from edgewise.training.difference import FEWEST_SEEDS, PairedDifference, compare_rungs
from edgewise.training.results import Results, Summary

__all__ = ["verdict"]

_GRAPH = ("gat", "graph-transformer")


def verdict(results: Results) -> str:
    """Sentences: whether the graph, attention and the complete graph help, and what each costs.

    A difference ``helps`` or ``costs quality`` where its 95 % interval (`compare_rungs`) leaves
    out zero, over at least three seeds; otherwise the numbers are stated. Of several rungs that
    could be compared, the rung with the best validation score is, so that the test set is not
    used for the choice. Rungs with a diverged run are named, and not compared. Each answer by
    itself is right in 95 % of comparisons: of four answers about rungs that do not differ, more
    than one in twenty comparisons gets a wrong answer.
    """
    summaries = results.summaries()
    compared = {summary.rung: summary for summary in summaries if not summary.diverged}
    diverged = _diverged([summary for summary in summaries if summary.diverged])
    if len(compared) < 2:
        alone = "No rung is left to compare." if not compared else _alone(compared, summaries)
        return " ".join(sentence for sentence in (diverged, alone) if sentence)
    on_graph = _best(results, [name for name in _GRAPH if name in compared])
    answers = [
        (subject, difference)
        for subject, before, after in (
            ("The graph", "mlp", "gnn"),
            ("Attention on it", "gnn", on_graph),
            ("The complete graph by itself", "graph-transformer", "transformer"),
            ("The complete graph with encodings", on_graph, "transformer+pe"),
        )
        if before in compared and after in compared
        if (difference := compare_rungs(results, before, after)) is not None
    ]
    sentences = [
        diverged,
        *(_answer(results, subject, difference) for subject, difference in answers),
        _costs(compared),
        *_advice(results, compared),
        *_intervals(results, list(compared)),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


# --- Runs that cannot be compared -----------------------------------------------------------------


def _alone(compared: dict[str, Summary], summaries: Sequence[Summary]) -> str:
    if len(summaries) == 1:
        return "One rung alone says nothing about another: compare at least two."
    return f"Only {next(iter(compared))} is left, and one rung alone says nothing about another."


def _diverged(summaries: Sequence[Summary]) -> str:
    if not summaries:
        return ""
    parts = ", ".join(
        f"{summary.rung} in {summary.diverged} of {summary.seeds} seed{'s' * (summary.seeds > 1)}"
        for summary in summaries
    )
    return (
        f"Training diverged (the loss was no finite number any more): {parts}. Nothing is said "
        f"about {'it' if len(summaries) == 1 else 'them'}: use a smaller --lr, or scale the "
        f"features."
    )


# --- Single differences ---------------------------------------------------------------------------


def _answer(results: Results, subject: str, difference: PairedDifference) -> str:
    pair = f"({difference.after} against {difference.before}: {_gap(results, difference)})"
    if difference.outcome == "better":
        return f"{subject} helps {pair}."
    if difference.outcome == "worse":
        return f"{subject} costs quality {pair}."
    if difference.outcome == "even":
        return f"{subject}: no difference this test set can show {pair}."
    side = "better" if difference.mean > 0 else "worse"
    seeds = "one seed" if difference.seeds == 1 else f"{difference.seeds} seeds"
    return f"{subject}: {difference.after} scored {side} in {seeds}, too few to conclude {pair}."


def _gap(results: Results, difference: PairedDifference) -> str:
    """The difference in the unit of the score (not turned around), and its interval."""
    factor, digits, unit = (
        (100, 1, "points") if results.score == "accuracy" else (1, 3, results.score)
    )
    mean = (1 if results.higher else -1) * factor * difference.mean
    text = f"{mean:+.{digits}f} {unit}"
    if difference.half_width is None:
        return text
    low, high = (mean + side * factor * difference.half_width for side in (-1, 1))
    if results.score == "accuracy":  # two accuracies differ by 100 points at most
        low, high = max(low, -100.0), min(high, 100.0)
    return f"{text}, 95 % interval {low:+.{digits}f} to {high:+.{digits}f}"


# --- All rungs ------------------------------------------------------------------------------------


def _best(results: Results, names: Sequence[str], *, of_test: bool = False) -> str | None:
    """The best mean score over the seeds that all have (over all seeds, where they share none)."""
    runs = [run for run in results.runs if run.rung in names and not run.diverged]
    by_rung = {name: {run.seed: run for run in runs if run.rung == name} for name in names}
    if not by_rung:
        return None
    shared = set.intersection(*(set(each) for each in by_rung.values()))

    def mean(name: str) -> float:
        chosen = [run for seed, run in by_rung[name].items() if seed in shared or not shared]
        scores = [run.scores[results.score] if of_test else run.validation for run in chosen]
        values = [score for score in scores if score is not None]
        return sum(values) / len(values)

    return (max if results.higher else min)(names, key=mean)


def _costs(compared: dict[str, Summary]) -> str:
    base = compared.get("gnn") or next(iter(compared.values()))
    seconds = max(base.seconds_per_epoch, 1e-9)
    ratios = ", ".join(
        f"{summary.rung} {_ratio(summary.seconds_per_epoch / seconds)}"
        for summary in compared.values()
        if summary.rung != base.rung
    )
    return f"For one epoch of {base.rung} you pay: {ratios}."


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def _advice(results: Results, compared: dict[str, Summary]) -> list[str]:
    """Advice: the best rung by validation, a cheaper rung that is as good, and the best by test."""
    names = list(compared)
    best, first = _best(results, names), _best(results, names, of_test=True)
    assert best is not None
    assert first is not None
    beaten = _beaten(results, names)
    enough = [
        name
        for name in names
        if name == best
        or (
            name not in beaten
            and (gap := compare_rungs(results, best, name)) is not None
            and (gap.outcome == "even" or gap.mean > 0)
        )
    ]
    cheapest = min(enough, key=lambda name: (compared[name].seconds_per_epoch, name != best))
    if cheapest != best:
        advice = (
            f"{best} has the best validation score; {cheapest} is cheaper and no worse as far "
            f"as this test set can show."
        )
    elif (
        min(each.seconds_per_epoch for each in compared.values())
        == compared[best].seconds_per_epoch
    ):
        advice = f"{best} has the best validation score and is the cheapest."
    else:
        advice = f"{best} has the best validation score, and nothing cheaper comes close."
    return [advice, _disagreement(results, names, best, first)]


def _beaten(results: Results, names: Sequence[str]) -> set[str]:
    """Rungs that another rung is significantly better than."""
    beaten: set[str] = set()
    for first, second in combinations(names, 2):
        difference = compare_rungs(results, first, second)
        if difference is not None and difference.outcome in ("better", "worse"):
            beaten.add(first if difference.outcome == "better" else second)
    return beaten


def _disagreement(results: Results, names: Sequence[str], best: str, first: str) -> str:
    """A sentence if the best rung by test is not the best by validation.

    Args:
        results: The results.
        names: Rungs to compare.
        best: The best rung by validation.
        first: The best rung by test score.
    """
    better = [
        name
        for name in names
        if (gap := compare_rungs(results, best, name)) is not None and gap.outcome == "better"
    ]
    rival = first if first != best else next(iter(better), None)
    gap = None if rival is None else compare_rungs(results, best, rival)
    if rival is None or gap is None or (not gap.mean and not better):
        return ""
    words = f"Validation and test disagree: {best} is best on validation, {rival} on the test"
    if better:
        return (
            f"{words}, by more than chance. Choose neither before a larger validation part or more "
            f"seeds agree with the test."
        )
    if gap.outcome == "unknown":
        return f"{words}, in too few seeds to tell: use --seeds 3 or more before you choose."
    return (
        f"{words}. The test set cannot tell these two apart: take the cheaper one, or use more "
        f"seeds or a larger validation part before you choose."
    )


def _intervals(results: Results, names: Sequence[str]) -> list[str]:
    """Sentences on the kind of the intervals, and on the number of seeds."""
    data = results.data
    counts = {
        difference.seeds
        for first, second in combinations(names, 2)
        if (difference := compare_rungs(results, first, second)) is not None
    }
    items = f"{data['test_items']:,} test {data['unit']}s" if data.get("test_items") else ""
    sentences: list[str] = []
    if 1 in counts and items:
        sentences.append(f"Intervals of one seed are those of sampling {items}.")
    if data.get("fixed_split") and max(counts, default=0) > 1:
        sentences.append(
            f"The data has one split, so seeds vary only the weights; intervals also hold the "
            f"sampling error of its {items}."
        )
    elif max(counts, default=0) > 1:
        sentences.append("Intervals are paired t intervals over seeds.")
    if min(counts, default=1) < FEWEST_SEEDS:
        sentences.append(
            "One seed cannot tell luck from effect; use --seeds 3 or more."
            if 1 in counts or not counts
            else "Two seeds cannot tell luck from effect; use --seeds 3 or more."
        )
    return sentences
