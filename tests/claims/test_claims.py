"""Every claim holds, in both dtypes; and a claim that is false is detected."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import edgewise as ew
import edgewise.nn as layers
from edgewise.claims import CLAIMS, DTYPES, LEAST, STEPS, Claim, Sides, missing, outcome
from edgewise.claims.page import ladder_page, models_page
from edgewise.cli.main import main
from edgewise.models.cards import CARDS

NAMES = [f"{claim.name} = {claim.original}" for claim in CLAIMS]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_it_holds(claim, dtype):
    assert missing(claim) == ()
    results = outcome(claim, dtype)
    assert results.holds, f"outputs {results.output:.1e}, gradients {results.gradient}"


def test_every_claim_is_named_once_and_stands_on_a_step():
    assert len(set(NAMES)) == len(NAMES)
    assert {claim.step for claim in CLAIMS} <= set(STEPS)
    assert all(claim.source or claim.step == "laws" for claim in CLAIMS)


@pytest.mark.parametrize("step", [r for r in STEPS.values() if r.setting], ids=lambda r: r.name)
def test_the_setting_of_a_step_runs(step):
    names = {**vars(layers), **vars(ew)}
    layer, graph = eval(step.setting, names), eval(step.graph, names)
    assert layer(torch.randn(6, 16), graph).shape == (6, 16)


def test_the_pages_are_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "ladder.md"
    assert page.read_text(encoding="utf-8") == ladder_page(CLAIMS), (
        "run: edgewise check --ladder docs/ladder.md"
    )


# --- It can say no ---------------------------------------------------------------------------


def made(computed, expected, **settings):
    def sides(dtype):
        return Sides({"x": torch.randn(5, dtype=dtype)}, computed, expected)

    return Claim("made up", "laws", "something", sides, **settings)


def square(given):
    return given["x"] ** 2


@pytest.mark.parametrize(
    "expected",
    [
        lambda given: given["x"] ** 2 + 1e-3,  # another output
        lambda given: given["x"].detach() * given["x"],  # another gradient
        lambda given: (given["x"] ** 2).detach(),  # no gradient
        lambda given: given["x"] ** 2 * torch.nan,
        lambda given: given["x"][:4] ** 2,  # another shape
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_wrong_claim_fails(expected, swapped):
    sides = (expected, square) if swapped else (square, expected)
    assert not outcome(made(*sides)).holds


def test_sides_that_must_differ_do():
    assert outcome(made(square, lambda given: given["x"] + 1, differ=True)).holds
    assert not outcome(made(square, square, differ=True)).holds
    slight = made(square, lambda given: given["x"] ** 2 + LEAST / 10, differ=True)
    assert not outcome(slight).holds


def test_the_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    first = outcome(CLAIMS[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(3)
    assert outcome(CLAIMS[0]) == first


# --- The command -------------------------------------------------------------------------------


def test_the_command_prints_a_row_for_each_claim(capsys):
    assert main(["check", "src_key_padding_mask", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("holds") == 2
    assert "1 of 1 claims hold." in out


def test_markdown_and_json(capsys):
    words = ["check", "src_key_padding_mask", "--dtype", "float64"]
    assert main([*words, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| claim |")
    assert main([*words, "--json"]) == 0
    (results,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert results["holds"]
    assert results["dtype"] == "float64"


def test_a_failing_claim_ends_with_status_1(capsys, monkeypatch):
    wrong = made(square, lambda given: given["x"])
    monkeypatch.setattr("edgewise.cli.check.CLAIMS", (wrong,))
    assert main(["check"]) == 1
    assert "FAILS" in capsys.readouterr().out
    monkeypatch.setattr("edgewise.cli.check.CLAIMS", (replace(wrong, needs=("not_there",)),))
    assert main(["check"]) == 1
    assert "could not be tried without not_there" in capsys.readouterr().out


def test_an_unknown_word_is_one_sentence(capsys):
    assert main(["check", "perpetuum"]) == 2
    assert "no claim speaks of perpetuum" in capsys.readouterr().err


def test_the_pages_are_written(tmp_path):
    ladder, models = tmp_path / "ladder.md", tmp_path / "models.md"
    assert main(["check", "--ladder", str(ladder), "--models", str(models)]) == 0
    assert ladder.read_text(encoding="utf-8") == ladder_page(CLAIMS)
    assert models.read_text(encoding="utf-8") == models_page(CARDS)
