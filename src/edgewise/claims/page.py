"""Pages in Markdown: outcomes, the ladder and the models."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.claims.claim import Claim
from edgewise.claims.ladder import STEPS, Step
from edgewise.claims.outcome import LEAST, Outcome
from edgewise.models.card import Card

__all__ = ["ladder_page", "models_page", "number", "outcomes_table"]

_HEAD = """# The ladder

A plain graph neural network and a Transformer are the two ends of one ladder. Each step below is
one visible setting of the same block (`edgewise.nn.Block`), and each is proved equal to the
layers that it stands for: `edgewise check` computes both sides with the same weights, forward and
backward, and fails if a difference exceeds its bound. This page is written by
`edgewise check --ladder` from the claims that it tries.
"""


def ladder_page(claims: Sequence[Claim]) -> str:
    """The page "The ladder": every step with its equation, its setting and its claims."""
    sections = [_HEAD]
    for number, step in enumerate(STEPS.values(), 1):
        step_claims = [claim for claim in claims if claim.step == step.name]
        sections.append(_section(number, step, step_claims))
    return "\n".join(sections)


def _section(number: int, step: Step, claims: Sequence[Claim]) -> str:
    lines = [f"## {number}. {step.title}", "", step.change, "", "$$", step.equation, "$$", ""]
    if step.setting:
        lines += ["```python", f"layer = {step.setting}", f"graph = {step.graph}", "```", ""]
    if claims:
        lines += ["| claim | equals | differs at most, float32 / float64 | source |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {claim.name} | {_other(claim)} | {_bounds(claim)} | {claim.source} |"
            for claim in claims
        ]
        lines += [""]
    return "\n".join(lines)


def _other(claim: Claim) -> str:
    return f"**not** {claim.original}" if claim.differ else claim.original


def _bounds(claim: Claim) -> str:
    if claim.differ:
        return f"at least {number(LEAST)}"
    return " / ".join(number(bound) for bound in claim.bounds.values())


_MODELS = """# The models

Each model is a short setting of the layers in `edgewise.nn`, most of them of one block. The
settings below are small; `bert()`, `gpt2()`, `llama()`, `vit()` and `transformer()` without
numbers have the sizes of their papers. What proves a layer equal to its original stands on the
page of [the ladder](ladder.md). This page is written by `edgewise check --models` from the cards
that stand beside the models.
"""


def models_page(cards: Sequence[Card]) -> str:
    """The page "The models": every card with its equation, its setting and its differences."""
    return "\n".join([_MODELS, *(_model(card) for card in cards)])


def _model(card: Card) -> str:
    lines = [f"## {card.name}", "", f"{card.paper}.", "", "$$", card.equation, "$$", ""]
    lines += [
        "```python",
        f"model = {card.setting}",
        *([card.call] if card.call else []),
        "```",
        "",
    ]
    if card.differences:
        lines += [f"Differences: {card.differences}", ""]
    return "\n".join(lines)


def outcomes_table(outcomes: Sequence[Outcome]) -> str:
    """Outcomes as a Markdown table."""
    lines = [
        "| claim | equals | dtype | outputs differ by | gradients | bound | |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    for result in outcomes:
        gradient = "–" if result.gradient is None else number(result.gradient)
        dtype = str(result.dtype).removeprefix("torch.")
        bound = ("≥ " if result.claim.differ else "≤ ") + number(result.bound)
        verdict = "holds" if result.holds else "**fails**"
        lines.append(
            f"| {result.claim.name} | {_other(result.claim)} | {dtype} | {number(result.output)} "
            f"| {gradient} | {bound} | {verdict} |"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """Two digits: ``3.1e-07``, and ``0``.

    Example:
        >>> number(3.14e-7), number(0.0)
        ('3.1e-07', '0')
    """
    return f"{value:.1e}" if value else "0"
