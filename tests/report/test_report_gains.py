"""``gains.md``: what it says is what the records say, and old folders know nothing of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.frames import read_results
from bench.report.write import write_report
from bench.report.writers import gains

from .conftest import Folder

TOLD = {
    "absent": 0.4, "predicted": 0.96, "true_label": 1.0, "random_label": 0.2, "wrong_map": 0.1,
    "wrong_says_wrong": 0.8, "surrogate": 0.965, "psnr": 17.0,
}  # fmt: skip
"""What a victim says whose decision reads the label off the map."""
SEES = {"absent": 0.97, "predicted": 0.6, "true_label": 0.5, "random_label": 0.8, "wrong_map": 0.85}
"""What a plain model says to the same images."""

VERDICT = "**the map"
"""How the page emphasises that such a map is the label."""


def details(fused: dict[str, float], plain: dict[str, float]) -> dict[str, float]:
    return fused | {f"plain_{name}": value for name, value in plain.items()}


def add(folder: Folder, strength: float, told: dict[str, float], **changes: Any) -> None:
    """One cell of PGSL with what its victim says of itself."""
    folder.add("strong", "pgsl", strength, lpips=[0.1, 0.5], **changes)
    folder.records[-1]["utility"]["details"] = told


def rendered(folder: Folder, path: Path, cards: Cards) -> str:
    results = read_results(folder.write(path))
    return gains.render(results.cells, build(results, cards))


def cells_of(text: str, *start: str) -> list[str]:
    """The cells of the one table row that begins so."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    (found,) = [row for row in rows if row[: len(start)] == [*start]]
    return found[len(start) :]


def test_a_gain_is_the_difference_seed_by_seed(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    for seed, step in ((0, 0.0), (1, 0.02)):
        plain = {name: value + step for name, value in SEES.items()}
        add(folder, 0.2, details(TOLD, plain), seed=seed)
    text = rendered(folder, tmp_path, cards)
    fused, seen, gain = cells_of(text, "pgsl = 0.2", "guessed label")
    assert (fused, seen) == ("96.0 [96.0, 96.0]", "61.0 [60.0, 62.0]")
    assert gain == "35.0 [34.0, 36.0]"
    assert cells_of(text, "pgsl = 0.2", "wrong label")[2] == "-76.0 [-77.0, -75.0]"
    assert cells_of(text, "pgsl = 0.2", "no map")[2].startswith("-58.0")
    (worth,) = [line for line in text.splitlines() if line.startswith("| pgsl = 0.2 | 40.0")]
    assert worth == "| pgsl = 0.2 | 40.0 | 100.0 | 10.0 | 80.0 | 96.0 | 96.5 |"


def test_several_attacks_on_one_victim_count_it_once(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    told = details(TOLD, SEES)
    for attack, channel, checkpoint in (("strong", "gradients", "initial"), ("weak", "gradients", "trained")):
        folder.add(attack, "pgsl", 0.2, lpips=[0.1, 0.5], channel=channel, checkpoint=checkpoint)
        folder.records[-1]["utility"]["details"] = told
    text = rendered(folder, tmp_path, cards)
    assert cells_of(text, "pgsl = 0.2", "guessed label") == ["96.0", "60.0", "36.0"]
    assert len([line for line in text.splitlines() if "strong/naive" in line or "weak/naive" in line]) == 2


def test_rebuilt_images_are_set_against_the_decision(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    add(folder, 0.2, details(TOLD, SEES))
    folder.images[-1]["recognised"] = 0
    folder.add("blind", "pgsl", 0.2, lpips=[0.6, 0.6])
    folder.records[-1]["utility"]["details"] = details(TOLD, SEES)
    text = rendered(folder, tmp_path, cards)
    (row,) = [line for line in text.splitlines() if "strong/naive" in line]
    assert row.endswith("| 2 | 50.0 | 46.0 | 50.0 |"), "half of the images are recognised: 96 - 50, 100 - 50"
    assert "blind/naive" not in text, "what ignores the release rebuilds nothing"


def test_the_verdict_is_computed(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    add(folder, 0.2, details(TOLD, SEES))
    add(folder, 0.5, details(TOLD, SEES | {"predicted": 0.8}))
    text = rendered(folder, tmp_path, cards)
    assert re.search(r"-75\.0 .*\(pgsl = 0\.2, wrong label\).* 50\.0 .*\(pgsl = 0\.2, true label\)", text)
    assert re.search(r"pgsl = 0\.2\D* 36\.0 ", text)
    assert re.search(r"14, 17\.9(?!, 36\.9)", text), "36.9 is more than 36.0"
    assert re.search(r"14: 16\.0 .*= 0\.5; 17\.9: 16\.0 .*= 0\.5; 36\.9: 36\.0 ", text)
    assert VERDICT in text and "(at most 0.5" in text


def test_a_decision_that_ignores_maps_is_not_called_a_label(
    folder: Folder, tmp_path: Path, cards: Cards
) -> None:
    ignores = dict.fromkeys(TOLD, 0.96) | {"wrong_says_wrong": 0.005}
    add(folder, 0.2, details(ignores, SEES))
    text = rendered(folder, tmp_path, cards)
    assert VERDICT not in text
    add(folder, 0.5, details(TOLD, SEES))
    mixed = rendered(folder, tmp_path / "mixed", cards)
    assert re.search(r"Not \D*pgsl = 0\.2\.", mixed) and VERDICT in mixed


def test_only_folders_with_such_victims_have_the_file(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    old = Folder()
    add(old, 0.2, dict(TOLD))  # a victim with nobody beside it, as older records have
    old.add("strong", lpips=[0.1, 0.2])
    directory = old.write(tmp_path / "old")
    (directory / gains.FILE).write_text("of another run")
    write_report(directory, cards=cards)
    assert not (directory / gains.FILE).exists()
    add(folder, 0.2, details(TOLD, SEES))
    folder.add("strong", lpips=[0.1, 0.2])
    for number in (None, 3):
        again = folder.write(tmp_path / f"new{number}", shuffle=number)
        write_report(again, cards=cards)
    texts = [(tmp_path / f"new{number}" / gains.FILE).read_bytes() for number in (None, 3)]
    assert texts[0] == texts[1] and texts[0].startswith(b"# Gains")


def test_a_victim_without_a_result_says_nothing(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    folder.add("strong", "pgsl", 0.2, status="failed", reason="died", accuracy=None)
    assert rendered(folder, tmp_path / "alone", cards) == ""
    folder.add("strong", lpips=[0.1, 0.2])
    assert rendered(folder, tmp_path / "beside", cards) == ""


@pytest.mark.parametrize(
    ("defense", "wanted"), [("pgsl", (14.0, 17.9, 36.9)), ("noise", ()), ("unknown", ())]
)
def test_published_gains_are_those_of_the_card(defense: str, wanted: tuple[float, ...]) -> None:
    assert gains.published(defense) == wanted


def test_texts_of_others_stay_texts(folder: Folder, tmp_path: Path, cards: Cards) -> None:
    add(folder, 0.2, details(TOLD | {"x|y": 0.5}, SEES | {"x|y": 0.25}))
    (row,) = [line for line in rendered(folder, tmp_path, cards).splitlines() if "x\\|y" in line]
    assert re.findall(r"-?\d+\.\d", row.partition("y |")[2]) == ["50.0", "25.0", "25.0"]
