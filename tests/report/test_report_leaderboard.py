"""The ranking rule on folders small enough to compute by hand."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report.analysis.entries import Group, Row
from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.frames import read_results
from bench.report.write import write_report
from tests.report.classes import quality
from tests.report.conftest import defense_card

Folder = Any  # the class in conftest.py


@pytest.fixture
def groups(folder: Folder, cards: Cards, tmp_path: Path) -> Callable[[], tuple[Group, ...]]:
    return lambda: build(read_results(folder.write(tmp_path)), cards)


def row(group: Group, defense: str, strength: float = math.nan) -> Row:
    found = [r for r in group.rows if r.defense == defense and str(r.strength) == str(strength)]
    assert len(found) == 1
    return found[0]


def test_worst_case_is_chosen_image_by_image(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    # No attack is best on all images. The floor would win image 2, but it never saw the release.
    folder.add("strong", lpips=[0.1, 0.5, 0.6, 0.2], psnr=[30, 10, 8, 20], ssim=[0.9, 0.1, 0.0, 0.5])
    folder.add("weak", lpips=[0.3, 0.2, 0.4, 0.8], psnr=[12, 18, 14, 6], ssim=[0.2, 0.6, 0.3, 0.1])
    folder.add("blind", lpips=[0.9, 0.9, 0.01, 0.9], psnr=[5, 5, 50, 5])
    (group,) = groups()
    worst = row(group, "none").worst
    assert worst is not None
    assert worst.best["value"].tolist() == [0.1, 0.2, 0.4, 0.2]
    assert worst.scores["lpips"].mean == pytest.approx(0.225)
    assert worst.scores["psnr"].mean == pytest.approx((30 + 18 + 14 + 20) / 4)
    assert worst.scores["ssim"].mean == pytest.approx((0.9 + 0.6 + 0.3 + 0.5) / 4)
    assert worst.scores["identified"].mean == pytest.approx(3 / 4)
    assert worst.attacks == 2
    assert [(e.attack, e.floor) for e in group.rows[0].attacks] == [
        ("strong", False),
        ("weak", False),
        ("blind", True),
    ]


def test_worst_case_takes_only_images_that_all_done_attacks_scored(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    for seed in (0, 1):
        folder.add("strong", lpips=[0.1, 0.2], seed=seed)
    folder.add("weak", lpips=[0.5, 0.1], seed=0)
    folder.add("weak", seed=1, status="timeout", reason="60 s")
    folder.add("sly", seed=0, status="failed", reason="boom")
    (group,) = groups()
    (only,) = group.rows
    assert only.worst is not None
    assert only.worst.best["value"].tolist() == [0.1, 0.1]
    assert only.worst.scores["lpips"].n_images == 2
    assert only.flags == ("partial",)
    assert only.attacks[1].scores["lpips"].n_images == 4  # an attack's own row uses all that it has
    sly, _, weak = only.attacks
    assert (sly.done, sly.failures[0].reason) == (0, "boom")
    assert (weak.done, weak.failures[0].status, weak.flags) == (1, "timeout", ("failures",))


def test_without_a_common_image_there_is_no_worst_case(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", lpips=[0.1], seed=0)
    folder.add("weak", lpips=[0.5], seed=1)
    assert groups()[0].rows[0].worst is None


def test_a_diverged_image_never_wins_and_is_counted(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    nan = math.nan
    folder.add("sly", lpips=[nan, 0.3, nan], psnr=[nan, 20, nan], ssim=[nan, 0.5, nan])
    folder.add("weak", lpips=[0.4, 0.5, nan], psnr=[15, 12, nan], ssim=[0.4, 0.3, nan])
    (only,) = groups()[0].rows
    assert only.worst is not None
    lpips = only.worst.scores["lpips"]
    assert lpips.mean == pytest.approx(0.35)
    assert (lpips.n_images, lpips.n_missing) == (2, 1)
    assert only.attacks[0].flags == ("diverged",)


def test_ssim_decides_where_there_is_no_lpips(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", lpips=[math.nan] * 2, ssim=[0.9, 0.1], lpips_status="no weights")
    folder.add("weak", lpips=[math.nan] * 2, ssim=[0.2, 0.4], lpips_status="no weights")
    (group,) = groups()
    assert group.rank == "ssim"
    assert group.rows[0].worst is not None
    assert group.rows[0].worst.best["value"].tolist() == [0.9, 0.4]


def test_utility_loss_is_paired_by_seed(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    for seed, accuracy in enumerate([0.90, 0.94, 0.98]):
        folder.add("strong", lpips=[0.1], seed=seed, accuracy=accuracy)
    for seed, accuracy in enumerate([0.89, 0.91]):
        folder.add("strong", "noise", 0.5, lpips=[0.4], seed=seed, accuracy=accuracy)
    (group,) = groups()
    none, noise = group.rows
    assert (none.baseline, noise.baseline) == (True, False)
    assert (none.utility.mean, none.loss.mean) == pytest.approx((0.94, 0.0))
    assert (noise.utility.mean, noise.utility.seeds) == pytest.approx((0.90, 2))
    assert (noise.loss.mean, noise.loss.low, noise.loss.high) == pytest.approx((2.0, 1.0, 3.0))
    assert noise.flags == ("partial",)  # the third seed is to come
    assert group.places[5.0] == (), "two seeds that differ leave the loss open"


def test_no_limit_of_a_loss_exceeds_what_can_be_lost(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    for seed, accuracy in enumerate([0.9, 0.1]):  # one victim of two collapsed
        folder.add("strong", lpips=[0.1], seed=seed, accuracy=0.9)
        folder.add("strong", "noise", 0.5, lpips=[0.4], seed=seed, accuracy=accuracy)
    (group,) = groups()
    assert (group.rows[1].loss.mean, group.rows[1].loss.upper) == pytest.approx((40.0, 100.0))


def test_a_seed_that_is_not_done_yet_hides_nothing_of_what_was_found(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    for seed in (0, 1):
        folder.add("weak", lpips=[0.1, 0.9, 0.9], seed=seed)
    folder.add("strong", lpips=[0.1, 0.2, 0.2], seed=0)
    (group,) = groups()
    found = group.rows[0].recovery
    assert found is not None and (found.share.mean, found.share.n_images) == (1.0, 3)


def test_undefended_is_found_without_its_name(folder: Folder, tmp_path: Path) -> None:
    folder.add("strong", "bare", lpips=[0.1], accuracy=0.9)
    folder.add("strong", "noise", 0.1, lpips=[0.1], accuracy=0.8)
    (group,) = build(read_results(folder.write(tmp_path)), Cards())  # no card is known
    assert group.baseline is not None and group.baseline.defense == "bare"
    folder.add("strong", "other", lpips=[0.1])
    (group,) = build(read_results(folder.write(tmp_path)), Cards())
    assert group.baseline is None
    assert all(math.isnan(r.loss.mean) for r in group.rows)


def test_rows_are_sorted(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    for defense, strength in [("prune", 0.9), ("noise", 10.0), ("noise", 9.0), ("none", None), ("clip", 1.0)]:
        folder.add("strong", defense, strength, lpips=[0.1])
    shown = [(r.defense, r.strength) for r in groups()[0].rows][1:]
    assert shown == [("clip", 1.0), ("noise", 9.0), ("noise", 10.0), ("prune", 0.9)]


def test_a_place_is_certain_or_shared(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    generator = np.random.default_rng(0)
    image = generator.uniform(0.2, 0.4, 64)
    noise = generator.normal(0, 0.02, 64)
    folder.add("strong", lpips=image / 4)
    folder.add("strong", "clip", 1.0, lpips=image + 0.1 + noise, accuracy=0.895)
    folder.add("strong", "noise", 1.0, lpips=image + 0.1 - noise, accuracy=0.895)
    folder.add("strong", "noise", 2.0, lpips=image + 0.3, accuracy=0.5)
    folder.add("strong", "prune", 1.0, lpips=image, accuracy=0.895)
    (group,) = groups()
    places = {place.row.defense: place.standing.rank for place in group.places[1.0]}
    assert places == {"clip": "1–2", "noise": "1–2", "prune": "3"}
    assert {r.defense for r in group.rows if not r.pareto} >= {"prune"}
    assert row(group, "noise", 2.0).pareto and row(group, "none").pareto


def test_normalised_leakage_runs_from_floor_to_ceiling(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", lpips=[0.1, 0.1])
    folder.add("blind", lpips=[0.6, 0.6])
    folder.add("strong", "noise", 1.0, lpips=[0.4, 0.5])
    folder.add("blind", "noise", 1.0, lpips=[0.6, 0.6])
    folder.add("strong", "noise", 2.0, lpips=[0.4, 0.5])
    none, weak, strong = groups()[0].rows
    assert (none.normalised.mean, weak.normalised.mean) == pytest.approx((1.0, 0.15 / 0.5))
    assert strong.normalised.mean == pytest.approx(0.15 / 0.5), "a guess is the same on every row"


def test_there_is_no_normalised_leakage_on_a_span_that_may_be_zero(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    """The undefended victim leaks a little more than the floor on average, and often less."""
    spread = list(np.random.default_rng(3).normal(0.0, 0.2, 24))
    folder.add("strong", lpips=[0.58 + value for value in spread])
    folder.add("blind", lpips=[0.6] * 24)
    folder.add("strong", "noise", 1.0, lpips=[0.5] * 24)
    folder.add("blind", "noise", 1.0, lpips=[0.6] * 24)
    assert np.mean(spread) < 0.01
    assert all(math.isnan(row.normalised.mean) for row in groups()[0].rows)


def test_flags_tell_what_to_distrust(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    many = list(np.random.default_rng(1).normal(0.5, 0.01, 40))
    evaluations = {"evaluations_mean": 90.0, "evaluations_max": 120, "cost_mean": 0.0}
    utility = {"accuracy": 0.9, "initial_accuracy": 0.1, "converged": False, "rounds": 3}
    folder.add("strong", lpips=many, psnr=[20] * 40)  # its card demands 25 dB
    folder.add("blind", lpips=many, psnr=[12] * 40)
    folder.add("weak", lpips=[v + 0.2 for v in many], psnr=[13] * 40)
    folder.add("given", lpips=many, attack=evaluations)
    folder.add("late", lpips=many, budget=50, release={"zero": 2, "nonfinite": 0, "norm_mean": 1.0})
    folder.add("strong", "noise", 1.0, lpips=many, utility=utility)
    none, noise = groups()[0].rows
    flags = {entry.attack: set(entry.flags) for entry in none.attacks}
    assert flags == {
        "strong": {"below-card"},
        "blind": set(),
        "weak": {"below-prior", "psnr-only"},
        "given": {"labels-given", "budget"},
        "late": {"budget"},
    }
    assert none.flags == ("dead-release",)
    assert set(noise.flags) == {"missing-attack", "unconverged"}
    assert noise.attacks[0].flags == ("below-card",)


def test_a_row_that_was_spared_an_attack_has_no_rank(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    for defense, strength in (("none", None), ("clip", 1.0)):
        folder.add("sly", defense, strength, lpips=[0.1, 0.2])
        folder.add("weak", defense, strength, lpips=[0.4, 0.4])
    folder.add("weak", "noise", 1.0, lpips=[0.5, 0.5])
    folder.add("sly", "noise", 1.0, status="oom", reason="out of memory")
    folder.add("never", "none", status="failed", reason="works nowhere")
    (group,) = groups()
    assert [place.row.defense for place in group.places[1.0]] == ["clip"]
    noise = row(group, "noise", 1.0)
    assert set(noise.flags) == {"partial", "missing-attack"} and not noise.pareto
    assert row(group, "none").flags == ("partial",)


def test_incompatible_is_neither_partial_nor_failed(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("weak", lpips=[0.1])
    folder.add(
        "weak", adversary="adaptive", status="incompatible", reason="nothing to adapt to", accuracy=None
    )
    (only,) = groups()[0].rows
    assert only.flags == () and only.attacks[0].flags == ()


def test_strength_is_matched_at_the_digits_of_the_image_file(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", "noise", 0.123456789, lpips=[0.1])
    assert groups()[0].rows[0].worst is not None


def test_a_random_defense_needs_more_than_one_draw(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    cards.defenses["noise"] = defense_card(random=True)  # type: ignore[attr-defined]
    for defense, strength in (("none", None), ("noise", 1.0), ("noise", 2.0), ("clip", 1.0)):
        for seed in (0, 1):
            folder.add("strong", defense, strength, lpips=[0.1] * (2 if strength == 2.0 else 1), seed=seed)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    flagged = {(r.defense, r.strength) for r in group.rows if "single-draw" in r.flags}
    assert flagged == {("noise", 1.0)}


def test_attacks_are_ranked_on_complete_blocks_only(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    generator = np.random.default_rng(3)
    for defense, strength in (("none", None), ("noise", 1.0), ("noise", 2.0)):
        image = generator.uniform(0.3, 0.5, 40)
        folder.add("strong", defense, strength, lpips=image - 0.1)
        folder.add("weak", defense, strength, lpips=image + generator.normal(0, 0.05, 40))
        folder.add("blind", defense, strength, lpips=image + 0.2)
        if strength is not None:  # on the undefended row this one would be the best of all
            folder.add("sly", defense, strength, lpips=image + generator.normal(0, 0.05, 40))
        else:
            folder.add("sly", status="timeout", reason="60 s")
    (group,) = groups()
    found = {place.name: (place.standing.rank, place.floor, place.blocks) for place in group.attacks}
    assert found == {
        "strong/naive": ("1", False, 2),
        "sly/naive": ("2–3", False, 2),
        "weak/naive": ("2–3", False, 2),
        "blind/naive": ("4", True, 2),
    }
    defended = [image for image in folder.images if image["attack"] == "strong" and image["strength"] != ""]
    mean = np.mean([image["lpips"] for image in defended])
    assert group.attacks[0].leak.mean == pytest.approx(mean)


def test_no_complete_block_no_ranks_of_attacks(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", lpips=[0.1])
    folder.add("weak", "noise", 1.0, lpips=[0.1])
    assert groups()[0].attacks == ()


def test_hypervolume_is_the_protection_that_an_allowed_loss_buys(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    folder.add("strong", lpips=[0.1, 0.1])
    folder.add("strong", "noise", 1.0, lpips=[0.3, 0.3], accuracy=0.89)
    folder.add("strong", "noise", 2.0, lpips=[0.7, 0.7], accuracy=0.86)
    (group,) = groups()
    assert {name: area.mean for name, area in group.areas.items()} == pytest.approx(
        {"none": 0.1, "noise": (3 * 0.3 + 6 * 0.7) / 10}
    )


def test_coverage_counts_what_is_asked_for(folder: Folder, groups: Callable[[], tuple[Group, ...]]) -> None:
    for seed in (0, 1):
        folder.add("strong", lpips=[0.1], seed=seed)
        folder.add("strong", adversary="adaptive", status="incompatible", reason="nothing", seed=seed)
        folder.add("strong", "noise", 1.0, lpips=[0.3], seed=seed)
    folder.add("strong", "noise", 1.0, adversary="adaptive", status="failed", reason="boom")
    none, noise = groups()[0].rows
    assert (none.coverage.text, noise.coverage.text) == ("2/2 (+2 n/a)", "2/4")


def test_normalised_leakage_has_an_interval_and_knows_ssim(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    own = np.linspace(0.2, 0.4, 24)
    folder.add("strong", lpips=[0.1] * 24, ssim=[0.9] * 24)
    folder.add("blind", lpips=[0.6] * 24, ssim=[0.1] * 24)
    folder.add("strong", "noise", 1.0, lpips=own, ssim=1 - own)
    folder.add("blind", "noise", 1.0, lpips=[0.6] * 24, ssim=[0.1] * 24)
    none, noise = groups()[0].rows
    worst = noise.worst
    assert worst is not None
    lpips = worst.scores["lpips"]
    ends = [(0.6 - end) / 0.5 for end in (lpips.mean, lpips.high, lpips.low)]
    assert [noise.normalised.mean, noise.normalised.low, noise.normalised.high] == pytest.approx(ends)
    assert noise.normalised_ssim.mean == pytest.approx((np.mean(1 - own) - 0.1) / 0.8)
    assert (none.normalised.low, none.normalised.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("spent", "psnr", "flagged"),
    [
        ((24, 24), 20.0, True),
        ((24, 24), 31.0, False),  # everything is rebuilt: nothing is left to be found
        ((24, 40), 20.0, False),  # it found out for itself when to stop
        ((50, 50), 20.0, False),  # half is enough
        ((0, 0), 20.0, False),  # it has nothing to spend on
    ],
    ids=["schedule", "success", "plateau", "half", "free"],
)
def test_a_schedule_that_leaves_most_of_its_budget_is_flagged(
    folder: Folder,
    groups: Callable[[], tuple[Group, ...]],
    spent: tuple[int, int],
    psnr: float,
    flagged: bool,
) -> None:
    for strength, evaluations in zip((None, 1.0), spent, strict=True):
        told = {"evaluations_mean": float(evaluations), "evaluations_max": evaluations, "cost_mean": 0.0}
        defense = "none" if strength is None else "noise"
        folder.add("weak", defense, strength, lpips=[0.1, 0.2], psnr=[psnr] * 2, attack=told)
        folder.add("blind", defense, strength, lpips=[0.8, 0.9], attack=told)
    (group,) = groups()
    for item in group.rows:
        assert [("under-budget" in entry.flags) for entry in item.attacks] == [flagged, False]
        assert ("under-budget" in item.headline) is flagged


def test_an_attacks_normalised_leakage_has_its_own_floor_and_ceiling(
    folder: Folder, groups: Callable[[], tuple[Group, ...]]
) -> None:
    gan: dict[str, Any] = {"generator": quality(0)["generator"]}
    vae: dict[str, Any] = {"generator": gan["generator"] | {"kind": "vae"}}
    for defense, strength, lift in (("none", None, 0.0), ("noise", 1.0, 0.1)):
        folder.add("plain", defense, strength, lpips=[0.2 + lift, 0.3 + lift])
        folder.add("drawn", defense, strength, lpips=[0.1 + lift, 0.1 + lift], **gan)
        folder.add("coded", defense, strength, lpips=[0.1, 0.1], **vae)
        folder.add("blind", defense, strength, lpips=[0.7, 0.8])
        folder.add("blind[of=gan]", defense, strength, lpips=[0.5, 0.5], **gan)
    for attack, generator in (("plain", {}), ("drawn", gan)):
        folder.add(attack, "noise", 1.0, adversary="adaptive", lpips=[0.2, 0.25], **generator)
    (group,) = groups()
    none, noise = group.rows
    found = {entry.name: entry.normalised.mean for entry in noise.attacks}
    assert found["plain/naive"] == pytest.approx((0.75 - 0.35) / (0.75 - 0.25))
    assert found["plain/adaptive"] == pytest.approx((0.75 - 0.225) / (0.75 - 0.25)), "its ceiling is naive"
    assert found["drawn/naive"] == pytest.approx((0.5 - 0.2) / (0.5 - 0.1)), "its floor is the generator's"
    assert found["drawn/adaptive"] == pytest.approx((0.5 - 0.225) / (0.5 - 0.1))
    assert math.isnan(found["coded/naive"]), "nobody drew from that generator without looking"
    assert math.isnan(found["blind/naive"]) and math.isnan(found["blind[of=gan]/naive"])
    for entry in none.attacks:
        assert entry.floor or entry.generator == "vae" or entry.normalised.mean == pytest.approx(1.0)


def test_no_answer_says_whether_any_defense_was_tried(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2], accuracy=0.9)
    reasons = set()
    for tried, count in ((False, 4), (True, 6)):
        if tried:
            folder.add("strong", "noise", 0.1, lpips=[0.3, 0.4], accuracy=0.5)
        directory = folder.write(tmp_path / str(tried))
        write_report(directory, cards=cards)
        (group,) = build(read_results(directory), cards)
        page = (directory / "index.html").read_text()
        assert page.count(group.nobody) == count, "two limits: the sentence, the answers, beside the chart"
        assert f"| {group.nobody} |" in (directory / "leaderboard.md").read_text()
        reasons.add(group.nobody)
    assert len(reasons) == 2
