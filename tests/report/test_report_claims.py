"""Published claims: measured where they can be, judged by the whole interval, and never guessed."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.api.errors import BenchError, PluginError
from bench.cli.main import main
from bench.plugins import discover
from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.claims.across import judge_folders
from bench.report.claims.claims import ORDER, Judged, judge
from bench.report.claims.file import read_checks
from bench.report.frames import read_results
from bench.report.writers import claims_page

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
    results = read_results(folder.write(directory))
    return judge(build(results, cards), results.images)


def check(plugins: Path, text: str, plugin: str = "attacks/strong") -> None:
    about = "protection" if plugin.startswith("defenses") else "attack"
    for number in "123":  # what is said of each claim unless the text says otherwise
        text = text.replace(f"claim = {number}\n", f'claim = {number}\nabout = "{about}"\n')
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
    assert [item.verdict for item in found] == ["not reproduced", "reproduced", "not comparable"]
    assert "strong/naive" in found[1].setting and "noise = 2" in found[1].setting
    assert "0.5" not in found[1].setting
    assert re.search("strong/adaptive.* 2 .*noise = 2", found[0].setting) and "above" in found[0].why
    page = claims_page.render(found)
    assert all(f"{count} {word}" in page for count, word in zip((1, 0, 1, 1), ORDER, strict=True))
    assert page.count("| **") == 3
    places = [page.index(f"### {title}") for title, _ in claims_page.sections(found)]
    assert places == sorted(places) and f"**{claims_page.headline(found)}**" in page


def test_a_page_of_several_folders_says_where_and_repeats_nothing(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1] * 40)
    check(plugins, '[[check]]\nclaim = 1\nmetric = "identified"\nat_least = 0.9\n')
    here, there = tmp_path / "here", tmp_path / "there"
    single = judged(folder, here, cards)
    folder.write(there)
    found = judge_folders([here, there], cards)
    assert [(item.number, item.setting.split(":")[0]) for item in found[:2]] == [(1, "here"), (1, "there")]
    assert [item.number for item in found[2:]] == [2] and len(found) == len(single) + 1
    result = CliRunner().invoke(main, ["claims", str(here), str(there), "--out", str(tmp_path / "claims.md")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "claims.md").read_text().count("there: ") == 1
    refused = CliRunner().invoke(main, ["claims", str(tmp_path)])
    assert refused.exit_code == 2 and str(tmp_path) in refused.stderr


def test_a_setting_that_was_not_measured_is_not_comparable(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    folder.add("strong", lpips=[0.1])
    check(plugins, '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 1\nmodel = "resnet"\n')
    assert judged(folder, tmp_path, cards)[0].verdict == "not comparable"
    check(plugins, '[[check]]\nclaim = 2\nnot_comparable = "unmeasured"\n')
    assert judged(folder, tmp_path, cards)[1].why == "unmeasured"


@pytest.mark.parametrize(
    "text",
    [
        "[[check]]\nclaim = 1\n",
        '[[check]]\nclaim = 1\nmetric = "psnr"\n',
        '[[check]]\nclaim = 0\nmetric = "psnr"\nat_least = 1\n',
        '[[check]]\nclaim = 1\nmetric = "beauty"\nat_least = 1\n',
        '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 1\nnot_comparable = "x"\n',
        '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 2\nat_most = 1\n',
        '[[check]]\nclaim = 1\nmetric = "psnr"\nat_least = 2\ntolerance = -1\n',
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
    with pytest.raises(BenchError, match=r"claim: 3.* 2 "):
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
    results = read_results(folder.write(tmp_path))
    groups = build(results, cards)
    assert math.isnan(groups[0].rows[0].attacks[0].scores["lpips"].low)
    first = judge(groups, results.images)[0]
    assert first.verdict == "undecided" and "interval" in first.why


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
    assert [item.verdict for item in found[:3]] == ["not reproduced", "reproduced", "not comparable"]
    assert "strong/naive" in found[1].setting and "adaptive" not in found[1].setting
    assert "gradients" in found[0].setting


@pytest.mark.parametrize(("releases", "verdict"), [(33, "undecided"), (80, "reproduced")])
def test_few_releases_do_not_prove_a_small_share(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path, releases: int, verdict: str
) -> None:
    folder.add("strong", lpips=[0.6] * releases)  # none is identified, yet of 33 up to 10.6 % might be
    check(plugins, '[[check]]\nclaim = 1\nmetric = "identified"\nat_most = 0.05\n')
    first = judged(folder, tmp_path, cards)[0]
    assert first.verdict == verdict
    assert ("72 releases" in first.why) is (verdict == "undecided")


def test_what_a_claim_is_about_is_required(plugins: Path) -> None:
    (plugins / "attacks" / "strong" / "claims.toml").write_text(
        '[[check]]\nclaim = 1\nnot_comparable = "x"\n'
    )
    with pytest.raises(PluginError, match="about"):
        read_checks(plugins / "attacks" / "strong")


def test_an_attack_protects_nothing(folder: Folder, cards: Cards, tmp_path: Path, plugins: Path) -> None:
    folder.add("strong", lpips=[0.1])
    text = '[[check]]\nclaim = 1\nabout = "protection"\nnot_comparable = "x"\n'
    (plugins / "attacks" / "strong" / "claims.toml").write_text(text)
    with pytest.raises(BenchError, match="about: protection"):
        judged(folder, tmp_path, cards)


@pytest.mark.parametrize(
    ("least", "most", "tolerance", "verdict"),
    [
        (18, 22, 0, "reproduced"),
        (5, 10, 0, "not reproduced"),
        (25, 30, 0, "not reproduced"),
        (18.5, 18.5, 2, "reproduced"),
        (18.5, 18.5, 1, "not reproduced"),
    ],
)
def test_a_claimed_range_has_two_ends(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path,
    least: float, most: float, tolerance: float, verdict: str,
) -> None:  # fmt: skip
    folder.add("strong", lpips=[0.1] * 40, psnr=[19.9, 20.1] * 20)
    bounds = f"at_least = {least}\nat_most = {most}\ntolerance = {tolerance}"
    check(plugins, f'[[check]]\nclaim = 1\nmetric = "psnr"\n{bounds}\n')
    first = judged(folder, tmp_path, cards)[0]
    asked = first.why.partition(";")[0]
    assert first.verdict == verdict
    assert re.findall(r"[\d.]+", asked) == [str(end) for end in (least, tolerance or most)]


def test_seeds_that_differ_widen_the_interval_of_a_share(
    folder: Folder, cards: Cards, tmp_path: Path, plugins: Path
) -> None:
    for seed, lpips in enumerate([0.1, 0.1, 0.1, 0.1, 0.6]):
        folder.add("strong", lpips=[lpips] * 15, seed=seed)
    check(plugins, '[[check]]\nclaim = 1\nmetric = "identified"\nat_least = 0.6\n')
    first = judged(folder, tmp_path, cards)[0]
    assert first.verdict == "undecided" and re.search(r"\d seeds", first.why)


def claimed(plugin: str, verdict: str, about: str = "protection", number: int = 1) -> Judged:
    kind = "defense" if about == "protection" else "attack"
    texts = dict.fromkeys(("text", "source", "setting", "measured", "why"), "x")
    return Judged(kind=kind, plugin=plugin, number=number, about=about, verdict=verdict, **texts)  # type: ignore[arg-type]


def test_a_protection_counts_once_and_is_lost_with_one_of_its_tests() -> None:
    items = [
        claimed("noise", "reproduced"),
        claimed("noise", "not reproduced"),
        claimed("noise", "not reproduced"),
        claimed("noise", "not comparable", number=2),
        claimed("pruning", "not comparable"),
        claimed("pruning", "undecided"),
        claimed("mid", "reproduced"),
        claimed("dlg", "not reproduced", "attack"),
        claimed("pgsl", "not reproduced", "cost"),
    ]
    facts = r"\b1 of 3 .*\(noise\).*\b1 .*undecided \(pruning\).*\b1 .*reproduced \(mid\).*\b1 "
    assert re.search(facts, claims_page.headline(items))
    assert not re.search(r"\d", claims_page.headline(items[3:5])), "nothing was tested"
    assert claims_page.headline(items[6:7]).startswith("0 of 1 ")


def test_what_decides_most_stands_first() -> None:
    made = [claimed("a", word, about) for word in reversed(ORDER) for about in ("attack", "protection")]
    found = [item for _, items in claims_page.sections(made) for item in items]
    assert [(item.verdict, item.protection) for item in found] == [
        (word, protection) for word in ORDER for protection in (True, False)
    ]
    assert len({title for title, _ in claims_page.sections(made)}) == 5, "what is refuted has two"
