"""Published claims: measured where they can be, judged by the whole interval, and never guessed."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.api.errors import BenchError, PluginError
from bench.plugins import discover
from bench.report import claims_page
from bench.report.cards import Cards
from bench.report.claims import Judged, judge, read_checks
from bench.report.frames import read_results
from bench.report.leaderboard import build

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]

CARD = """
kind = "{kind}"
title = "t"
paper = "p"
authors = "a"
year = 2020
channels = ["gradients"]
notes = "n"
{more}

[[claims]]
text = "images are rebuilt"
source = "Table 1"

[[claims]]
text = "it is fast"
source = "Table 2"
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in path with the cards of an attack ``strong`` and a defense ``noise``."""
    root = tmp_path / "plugins"
    for kind, name, more in (("attack", "strong", 'adversaries = ["naive"]'), ("defense", "noise", "")):
        folder = root / f"{kind}s" / name
        folder.mkdir(parents=True)
        (folder / "card.toml").write_text(CARD.format(kind=kind, more=more))
        (folder / f"{kind}.py").write_text("")
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(root))
    discover.cache_clear()
    yield root
    discover.cache_clear()


def judged(folder: Folder, directory: Path, cards: Cards) -> list[Judged]:
    return judge(build(read_results(folder.write(directory)), cards))


def check(plugins: Path, text: str, plugin: str = "attacks/strong") -> None:
    (plugins / plugin / "claims.toml").write_text(text)


BOUNDS = [
    ("at_least = 0.9", "not reproduced"),
    ("at_most = 0.9", "reproduced"),
    ("at_least = 0.5", "undecided"),
    ("at_least = 0.0\nat_most = 1.0", "reproduced"),
]


@pytest.mark.parametrize(("bounds", "verdict"), BOUNDS)
def test_the_whole_interval_decides(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path, bounds: str, verdict: str
) -> None:
    # Identified below an LPIPS of 0.3: every second image, so about 50 % with an interval around it.
    folder.add("strong", lpips=[0.1, 0.5] * 20)
    check(plugins, f'[[check]]\nclaim = 1\nmetric = "identified"\nnote = "digits"\n{bounds}\n')
    first, second = judged(folder, tmp_path, cards)
    assert first.verdict == verdict
    assert "50 [" in first.measured and "digits" in first.why and "lenet initial" in first.setting
    assert second.verdict == "not comparable" and "claims.toml" in second.why


def test_a_defense_is_measured_by_the_papers_attack_and_in_the_worst_case(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1] * 40)
    for strength in (0.5, 2.0):
        folder.add("strong", "noise", strength, lpips=[0.6, 0.7] * 20)
        folder.add("strong", "noise", strength, adversary="adaptive", lpips=[0.1, 0.2] * 20)
    text = '[[check]]\nclaim = 1\nmetric = "identified"\nat_most = 0.1\nstrength_at_least = 1.0\n'
    check(plugins, text + 'attack = "strong"\n\n' + text, "defenses/noise")
    found = [item for item in judged(folder, tmp_path, cards) if item.plugin == "noise"]
    assert [item.verdict for item in found] == ["reproduced", "not reproduced", "not comparable"]
    assert "strong/naive on noise = 2" in found[0].setting and "0.5" not in found[0].setting
    assert "worst case over 2 attacks" in found[1].setting
    page = claims_page.render(found)
    assert "1 reproduced, 1 not reproduced, 0 undecided, 1 not comparable." in page
    assert page.count("| **") == 3


def test_a_setting_that_was_not_measured_is_not_comparable(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1])
    check(plugins, '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 1\nmodel = "resnet"\n')
    assert judged(folder, tmp_path, cards)[0].verdict == "not comparable"
    check(plugins, '[[check]]\nclaim = 2\nnot_comparable = "speed is not measured"\n')
    assert judged(folder, tmp_path, cards)[1].why == "speed is not measured"


@pytest.mark.parametrize(
    "text",
    [
        "[[check]]\nclaim = 1\n",
        '[[check]]\nclaim = 1\nmetric = "psnr"\n',
        '[[check]]\nclaim = 0\nmetric = "psnr"\nat_least = 1\n',
        '[[check]]\nclaim = 1\nmetric = "beauty"\nat_least = 1\n',
        '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 1\nnot_comparable = "x"\n',
        "check = 3",
        "not toml",
    ],
)
def test_a_wrong_file_is_named(plugins: Path, text: str) -> None:
    check(plugins, text)
    with pytest.raises(PluginError, match=r"claims\.toml"):
        read_checks(plugins / "attacks" / "strong")


def test_a_check_needs_its_claim(folder: Folder, cards: Cards, tmp_path: Path, plugins: Path) -> None:
    folder.add("strong", lpips=[0.1])
    check(plugins, '[[check]]\nclaim = 3\nmetric = "psnr"\nat_least = 1\n')
    with pytest.raises(BenchError, match="2 claims"):
        judged(folder, tmp_path, cards)


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*s/*/claims.toml")), ids=lambda path: str(path.parent.name)
)
def test_the_checks_that_ship_cover_the_claims_of_their_card(path: Path) -> None:
    claims = (path.parent / "card.toml").read_text(encoding="utf-8").count("[[claims]]")
    assert {check.claim for check in read_checks(path.parent)} == set(range(1, claims + 1))


def test_without_an_interval_nothing_is_reproduced(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1])
    check(plugins, '[[check]]\nclaim = 1\nmetric = "lpips"\nat_most = 0.5\n')
    groups = build(read_results(folder.write(tmp_path)), cards)
    assert math.isnan(groups[0].rows[0].attacks[0].scores["lpips"].low)
    assert judge(groups)[0].verdict == "undecided"


def test_the_worst_case_of_a_claim_is_over_the_attackers_that_it_speaks_of(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1] * 40)
    folder.add("strong", "noise", 2.0, lpips=[0.6, 0.7] * 20)
    folder.add("strong", "noise", 2.0, adversary="adaptive", lpips=[0.1, 0.2] * 20)
    text = '[[check]]\nclaim = 1\nmetric = "identified"\nat_most = 0.1\n'
    here, elsewhere = 'channel = "gradients"\n', 'channel = "smashed"\n'
    check(plugins, f'{text}adversary = "naive"\n\n{text}{here}\n{text}{elsewhere}', "defenses/noise")
    found = [item for item in judged(folder, tmp_path, cards) if item.plugin == "noise"]
    assert [item.verdict for item in found[:3]] == ["reproduced", "not reproduced", "not comparable"]
    assert "worst case over 1 attacks that ignore it" in found[0].setting
    assert "gradients, digits lenet initial" in found[1].setting


@pytest.mark.parametrize(("releases", "verdict"), [(33, "undecided"), (80, "reproduced")])
def test_few_releases_do_not_prove_a_small_share(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path, releases: int, verdict: str
) -> None:
    folder.add("strong", lpips=[0.6] * releases)  # none is identified, yet of 33 up to 10.6 % might be
    check(plugins, '[[check]]\nclaim = 1\nmetric = "identified"\nat_most = 0.05\n')
    assert judged(folder, tmp_path, cards)[0].verdict == verdict
