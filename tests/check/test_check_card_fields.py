"""The page of card fields is made of the models that check cards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.api.cards import AttackCard, Claim, DatasetCard, DefenseCard, Download, Floor, Parameter
from bench.check.card_fields import markdown, meanings
from bench.text import BEGIN, rewritten

PAGE = Path(__file__).parents[2] / "docs" / "cards.md"
MODELS = [AttackCard, DefenseCard, DatasetCard, Parameter, Download, Floor, Claim]


def test_the_page_is_that_of_today() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rewritten(text, markdown()) == text, (
        "write it again: python -m bench.check.card_fields docs/cards.md"
    )
    for model in MODELS:
        assert all(f"| `{field}` |" in text for field in model.model_fields)
    assert '| `access` | `"weights"`, `"query"`, `"architecture"`, `"passive"`, `"active"` |' in text
    assert '| `classifier_access` | `"white"`, `"score"`, `"label"` |' in text
    with pytest.raises(ValueError, match=re.escape(BEGIN)):
        rewritten("# nothing", "")


@pytest.mark.parametrize("model", MODELS)
def test_every_field_says_what_it_means(model: type[AttackCard]) -> None:
    said = meanings(model)
    assert [name for name in model.model_fields if not said.get(name)] == []
