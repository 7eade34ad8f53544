"""Model cards: the setting and the call of each run, and the page is generated from them."""

import re
from pathlib import Path

import pytest
import torch

import edgewise as ew
import edgewise.nn as layers
from edgewise import models
from edgewise.claims.page import models_page
from edgewise.models.cards import CARDS


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_setting_and_call_of_a_card_run(card):
    names = {**vars(layers), **vars(ew), **vars(models), "torch": torch}
    model = eval(card.setting, names)
    assert isinstance(model, torch.nn.Module)
    out = eval(card.call, {**names, "model": model})
    assert torch.isfinite(out).all()


def test_cards_are_whole_and_named_once():
    assert len({card.name for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert re.search(r"[.?] (19|20)\d\d", card.paper), card.name
        assert card.equation
        assert card.differences == "" or card.differences.endswith(".")


def test_the_page_is_generated_from_the_cards():
    page = Path(__file__).parents[2] / "docs" / "models.md"
    assert page.read_text(encoding="utf-8") == models_page(CARDS), (
        "run: edgewise check --models docs/models.md"
    )
