"""Channel ``model``: classes are rebuilt, so every table says what its numbers are against."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.channels import terms
from bench.channels.shared.terms import METRICS, NEAREST_PRIVATE
from bench.records import rows
from bench.records.record_fields import Means, Prior
from bench.report.analysis.entries import Group
from bench.report.analysis.flags import legend
from bench.report.analysis.generators import FAR, NOTE, UNSURE, note, priors
from bench.report.analysis.leaderboard import build
from bench.report.analysis.summary import advantage
from bench.report.cards import Cards
from bench.report.claims.claims import judge_check
from bench.report.claims.file import Check
from bench.report.compare import compare_entries
from bench.report.findings.changes import compare as changes
from bench.report.findings.findings import findings
from bench.report.frames import read_results
from bench.report.writers.json_table import render as as_json
from bench.report.writers.latex import render as as_latex
from bench.report.writers.markdown import render as as_markdown
from bench.report.writers.tables import cells_csv, leaderboard_csv
from tests.report.classes import by_class, quality
from tests.report.conftest import COLUMNS, plausible

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]
Read = Callable[[], tuple[Group, ...]]


@pytest.fixture
def groups(folder: Folder, cards: Cards, tmp_path: Path) -> Read:
    return lambda: build(read_results(folder.write(tmp_path)), cards)


def test_the_made_up_folders_have_the_form_of_real_ones() -> None:
    assert list(rows.COLUMNS) == COLUMNS
    assert set(quality(0)["generator"]) == set(Prior.model_fields)
    assert set(METRICS) == set(Means.model_fields) == set(rows.MEASURES)


def add(
    folder: Folder, attack: str, defense: str = "none", strength: float | None = None, **given: Any
) -> None:
    """One cell of the channel; whatever is not given is middling."""
    count = len(given["lpips"])
    middling = {"recognised": [1] * count, "recognised5": [1] * count, "feature_distance": [2.0] * count}
    common = {"channel": "model", "model": "convnet", "checkpoint": "trained", "batch_size": 2}
    folder.add(attack, defense, strength, **(common | middling | {"diversity": [1.0] * count} | given))


def test_the_worst_case_is_what_any_attack_got_recognised_and_the_strongest_one_stands_beside_it(
    folder: Folder, groups: Read
) -> None:
    add(folder, "inverter", lpips=[0.1, 0.4, 0.1, 0.4], recognised=[0, 0, 0, 1], recognised5=[1, 0, 1, 1])
    add(
        folder,
        "rival",
        lpips=[0.3, 0.2, 0.3, 0.2],
        recognised=[1, 1, 1, 0],
        feature_distance=[1.0, 3.0, 1, 3],
    )
    add(folder, "blind", lpips=[0.01] * 4, recognised=[1] * 4)
    (group,) = groups()
    (row,) = group.rows
    assert group.rank == "recognised" and group.terms.name(group.rank) == "evaluator accuracy @1"
    assert row.worst is not None and row.worst.best["value"].tolist() == [1, 1, 1, 1]
    assert row.worst.best["lpips"].tolist() == [0.3, 0.2, 0.3, 0.4]  # of the images chosen, not the nearest
    assert row.worst.scores["feature_distance"].mean == pytest.approx((1 + 3 + 1 + 2) / 4)
    assert row.worst.protection(group.rank) == -1
    assert row.strongest is not None and row.strongest.name == "rival/naive" and row.recovery is not None
    share = row.recovery.share
    assert (share.mean, share.n_clusters, share.n_images) == (0.75, 2, 4)
    assert [entry.floor for entry in row.attacks] == [False, False, True]


def test_feature_distance_breaks_ties_and_then_the_order_of_attacks(folder: Folder, groups: Read) -> None:
    seen = {"inverter": [1, 0, 1, 0], "rival": [1, 0, 1, 0], "third": [0, 0, 1, 0]}
    gaps = {"inverter": [2.0, 1.0, 2.0, 3.0], "rival": [1.0, 2.0, 2.0, 3.0], "third": [0.5, 3.0, 2.0, 3.0]}
    for place, name in enumerate(sorted(seen, reverse=True)):
        gap = gaps[name]
        add(folder, name, lpips=[0.1 + 0.1 * place] * 4, recognised=seen[name], feature_distance=gap)
    (row,) = groups()[0].rows
    assert row.worst is not None
    assert row.worst.best["value"].tolist() == [1, 0, 1, 0]
    assert row.worst.best["lpips"].tolist() == pytest.approx([0.2, 0.3, 0.3, 0.3])  # rival, then inverter


def test_who_is_less_often_recognised_than_the_strongest_control_is_flagged(
    folder: Folder, groups: Read
) -> None:
    for seed in range(6):
        add(folder, "inverter", lpips=[0.5] * 4, recognised=[1] * 4, psnr=[5.0] * 4, seed=seed)
        add(folder, "rival", lpips=[0.01] * 4, recognised=[0] * 4, psnr=[40.0] * 4, seed=seed)
        add(folder, "blind", lpips=[0.2] * 4, recognised=[0, 1, 1, 0], seed=seed)
        add(folder, "other_class", lpips=[0.001] * 4, recognised=[0, 0, 1, 0], seed=seed)
    (group,) = groups()
    flags = {entry.attack: entry.flags for entry in group.rows[0].attacks}
    assert "below-prior" not in flags["inverter"]  # however far it is from any private image
    assert flags["rival"] == ("below-prior",)  # and never psnr-only
    assert legend([group])["below-prior"] != legend([])["below-prior"]
    assert "psnr-only" not in legend([group]) and "psnr-only" in legend([])


def test_all_that_a_rank_decides_is_by_recognition(folder: Folder, groups: Read, cards: Cards) -> None:
    """Less is recognised under ``smooth`` although its images are nearer: it protects, and costs a point."""
    generator = np.random.default_rng(3)
    for seed in range(6):
        for defense, strength, pattern, lpips in (
            ("none", None, [1, 1, 1, 1], 0.3),
            ("smooth", 1.0, [1, 0, 1, 0], 0.1),
            ("rough", 1.0, [1, 1, 1, 0], 0.6),
        ):
            accuracy = 0.9 if strength is None else 0.89
            common = {"seed": seed, "accuracy": accuracy}
            add(folder, "inverter", defense, strength, lpips=[lpips] * 16, recognised=pattern * 4, **common)
            guess = (generator.random(16) < 0.1).astype(int).tolist()
            add(folder, "blind", defense, strength, lpips=[0.01] * 16, recognised=guess, **common)
    (group,) = groups()
    assert [place.row.defense for place in group.places[1.0]] == ["smooth", "rough"]
    assert [place.standing.rank for place in group.places[1.0]] == ["1", "2"]
    none, rough, smooth = group.rows
    assert none.worst and smooth.worst and rough.worst
    gain = advantage(smooth.worst, none.worst, group)
    assert gain.mean == 0.5 and 0.3 < gain.low < 0.4, "all clusters agree, and yet 24 are not all"
    assert 0.3 < smooth.normalised.mean < 0.5 < 0.6 < rough.normalised.mean < 0.75
    assert all(math.isnan(row.normalised_ssim.mean) for row in group.rows)
    assert group.areas["smooth"].mean == pytest.approx(0.9 * 0.5)  # from 1 point of loss to 10
    assert none.pareto and smooth.pareto and not rough.pareto
    assert [place.name for place in group.attacks] == ["inverter/naive", "blind/naive"]
    (found,) = (item for item in findings((group,)) if item.row.defense == "rough")
    assert found.lead is not None and found.lead.high < 0  # its rival leaks less


def test_a_baseline_is_compared_by_recognition(folder: Folder, groups: Read) -> None:
    add(folder, "inverter", lpips=[0.1] * 64, recognised=[1, 1, 1, 0] * 16)
    old = groups()
    folder.records, folder.images = [], []
    add(folder, "inverter", lpips=[0.05] * 64, recognised=[1, 0, 0, 0] * 16)
    new = groups()
    ((_, ours),), ((_, theirs),) = changes(new, old).items(), changes(old, new).items()
    assert (ours.kind, theirs.kind) == ("less", "more")
    assert ours.text == "leaks less: -50 [-55, -34]"


def test_a_row_without_attacks_has_nobody_who_recovers(folder: Folder, groups: Read) -> None:
    add(folder, "blind", lpips=[0.5, 0.5])
    (row,) = groups()[0].rows
    assert row.worst is None and row.strongest is None and row.recovery is None


def test_a_row_is_set_beside_as_many_controls_as_it_has_attacks(folder: Folder, groups: Read) -> None:
    for defense, strength, own in (("none", None, [1, 1, 1, 1]), ("smooth", 1.0, [1, 0, 1, 1])):
        for attack, seen in (
            ("inverter", own),
            ("blind", [1, 0, 1, 0]),
            ("blind[guess=noise]", [0, 0, 0, 0]),
            ("other_class", [0, 1, 0, 0]),
        ):
            add(folder, attack, defense, strength, lpips=[0.1] * 8, recognised=seen * 2)
    none, smooth = groups()[0].rows
    assert none.worst is not None and none.worst.attacks == 1
    assert none.normalised.mean == pytest.approx(1.0)
    own_floor, same_ceiling = 0.5, 1.0
    assert smooth.normalised.mean == pytest.approx((0.75 - own_floor) / (same_ceiling - own_floor))
    assert [e.name for e in smooth.attacks] == [
        "inverter/naive", "blind/naive", "blind[guess=noise]/naive", "other_class/naive",
    ]  # fmt: skip


def tables(folder: Folder, directory: Path, cards: Cards) -> dict[str, str]:
    results = read_results(folder.write(directory))
    groups = build(results, cards)
    return {
        "md": as_markdown(results, groups),
        "tex": as_latex(results, groups),
        "json": as_json(results, groups),
        "csv": leaderboard_csv(groups),
    }


def test_every_table_says_that_the_image_is_the_nearest(cards: Cards, tmp_path: Path) -> None:
    found = tables(by_class(seeds=2), tmp_path, cards)
    for name in ("md", "tex"):
        text = found[name]
        assert "pre-selected" in text and "earest-private LPIPS" in text and "labels ↑" not in text
    section = found["md"].split("## model")[1]
    heads = [line for line in section.splitlines() if "LPIPS ↓" in line and line.startswith("|")]
    assert len(heads) == 3 and all("nearest-private LPIPS ↓" in line for line in heads)
    assert "recovered ↑" in heads[1] and "re-identifiable" not in heads[1] and "success" not in section
    ranked = [line for line in section.splitlines() if "evaluator accuracy @1 ↑ %" in line]
    assert [line.split(" | ")[0] for line in ranked] == ["| defense", "| rank", "| defense"]
    assert f"hypervolume, {terms('model').guarded('recognised')}" in section
    assert f"leakage, by {terms('model').leaked('recognised')}" in section
    assert "(control)" in section and "(floor)" not in section
    document = json.loads(found["json"])
    (group,) = document["groups"]
    assert group["rank_metric"] == "recognised" and group["rows"][1]["normalised_leakage"] is not None
    assert all(row["normalised_leakage_ssim"] is None for row in group["rows"])
    assert group["reference"] == NEAREST_PRIVATE
    row = group["rows"][0]
    assert "identified" not in row["worst_case"]["scores"]
    best = max(
        (entry for entry in row["attacks"] if not entry["floor"]),
        key=lambda e: e["scores"]["recognised"]["mean"],
    )
    assert row["strongest_attack"] == best["attack"] + "/" + best["adversary"] == "inverter/naive"
    net = row["verdict"]["recovered"]["mean"]
    assert 0 < net < best["scores"]["recognised"]["mean"], "net of the control"
    frame = pd.read_csv(io.StringIO(found["csv"]))
    assert set(frame["reference"]) == {NEAREST_PRIVATE}
    worst = frame[frame["role"] == "worst case"]
    assert set(worst["strongest_attack"]) == {"inverter/naive"} and worst["feature_distance"].notna().all()
    assert frame[["identified", "success"]].isna().all(axis=None)


def test_other_channels_know_nothing_of_it(cards: Cards, tmp_path: Path) -> None:
    alone = tables(plausible(releases=2, seeds=1, checkpoints=("initial",)), tmp_path / "alone", cards)
    mixed = tables(
        by_class(seeds=1, folder=plausible(releases=2, seeds=1, checkpoints=("initial",))),
        tmp_path / "mixed",
        cards,
    )
    for word in (
        "nearest-private",
        "nearest private",
        "evaluator accuracy",
        "feature",
        "diversity",
        "generator_",
    ):
        assert word not in alone["md"] + alone["tex"] + alone["csv"] + cells_csv(
            read_results(tmp_path / "alone").cells
        )
    sections = [text for text in alone["md"].split("\n## ") if text.startswith("gradients")]
    assert len(sections) == 1 and all(text.strip() in mixed["md"] for text in sections)
    old, new = (json.loads(found["json"])["groups"] for found in (alone, mixed))
    assert [group for group in new if group["channel"] == "gradients"] == old


@pytest.mark.parametrize(
    ("changes", "flagged"),
    [
        ({}, False),
        ({"frechet": 0.02 * FAR}, False),
        ({"frechet": 0.02 * FAR + 0.01}, True),
        ({"confident": 0.9 * UNSURE + 0.001}, False),
        ({"confident": 0.9 * UNSURE - 0.001}, True),
        ({"frechet": None, "confident": None}, False),
    ],
    ids=str,
)
def test_a_poor_generator_is_flagged(
    folder: Folder, groups: Read, tmp_path: Path, changes: dict[str, float | None], flagged: bool
) -> None:
    for seed in (0, 1):
        add(folder, "inverter", lpips=[0.1] * 4, seed=seed, **quality(seed, **(changes if seed else {})))
    (row,) = groups()[0].rows
    assert row.attacks[0].flags == (("weak-generator",) if flagged else ())
    (prior,) = priors(read_results(tmp_path).cells)
    assert prior.weak is flagged and prior.seeds == (0, 1)


def test_a_generator_of_which_nothing_is_known_is_flagged(folder: Folder, groups: Read) -> None:
    add(folder, "inverter", lpips=[0.1] * 4)
    add(folder, "rival", lpips=[0.1] * 4)
    (row,) = groups()[0].rows
    assert [entry.flags for entry in row.attacks] == [("unknown-generator",), ()]


def test_a_prior_from_elsewhere_is_said_to_be_one(folder: Folder, tmp_path: Path) -> None:
    add(folder, "inverter", lpips=[0.1] * 4, **quality(0))
    ours = priors(read_results(folder.write(tmp_path)).cells)
    assert note(ours) == NOTE
    foreign = [replace(ours[0], kind="synthetic_faces"), *ours]
    assert "gan-face-generate 1.1.1" in note(foreign).removeprefix(NOTE)


def test_a_generator_counts_once_however_many_cells_search_it(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    for seed in (0, 1):
        for strength in (None, 1.0, 2.0):
            defense = "none" if strength is None else "smooth"
            part = quality(seed, frechet=0.2 + 0.2 * seed, diversity=None)
            add(folder, "inverter", defense, strength, lpips=[0.1] * 4, seed=seed, **part)
            add(folder, "blind", defense, strength, lpips=[0.5] * 4, seed=seed)
    results = read_results(folder.write(tmp_path))
    (row,) = priors(results.cells)
    frechet = row.values["frechet"]
    assert (frechet.mean, frechet.low, frechet.high, frechet.seeds) == pytest.approx((0.3, 0.2, 0.4, 2))
    text = as_markdown(results, build(results, cards)).split("## Generative priors")[1]
    assert "| digits | gan | 0, 1 | 0.30 [0.20, 0.40] | 0.02 [0.02, 0.02] | 55 [55, 55] |" in text
    assert "n/a" in text  # the diversity that nobody wrote down
    (same,) = json.loads(as_json(results, build(results, cards)))["generators"]
    ends = {name: same["frechet"][name] for name in ("mean", "low", "high")}
    assert ends == {"mean": 0.3, "low": 0.2, "high": 0.4} and same["diversity"]["mean"] is None


@pytest.mark.parametrize(
    ("metric", "bounds", "verdict"),
    [
        ("recognised", {"at_least": 0.5}, "reproduced"),
        ("recognised5", {"at_most": 0.5}, "not reproduced"),
        ("feature_distance", {"at_most": 2.5}, "reproduced"),
        ("lpips", {"at_least": 0.09, "at_most": 0.11}, "reproduced"),
    ],
)
def test_claims_may_ask_for_the_metrics_of_classes(
    folder: Folder, groups: Read, tmp_path: Path, metric: Any, bounds: dict[str, float], verdict: str
) -> None:
    for seed in range(8):
        seen = [1, 1, 1, 0] if seed % 2 else [1] * 4
        add(folder, "inverter", lpips=[0.1] * 4, recognised=seen, seed=seed)
    check = Check(claim=1, about="attack", metric=metric, channel="model", **bounds)
    read = groups()
    images = {int(str(k)): v for k, v in read_results(tmp_path).images.groupby("entry")}
    setting, measured, found, _ = judge_check("attack", "inverter", check, read, images)
    assert found == verdict and {"inverter/naive", "none,", "model,"} <= {*setting.split()}
    assert measured.startswith("nearest-private LPIPS:") is (metric == "lpips")


def test_a_comparison_knows_which_way_is_better(folder: Folder, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    for seed in range(4):
        gap = generator.uniform(1, 2, 16)
        add(folder, "inverter", lpips=gap / 9, feature_distance=gap, seed=seed)
        add(folder, "rival", lpips=gap / 9 + 0.1, feature_distance=gap + 1, seed=seed)
    folder.write(tmp_path)
    found = {
        m: compare_entries(tmp_path, "inverter", "rival", metric=m) for m in ("lpips", "feature_distance")
    }
    assert [item.differences[0].verdict for item in found.values()] == ["worse", "worse"]
    assert found["lpips"].nearest and not found["feature_distance"].nearest


def test_without_lpips_accuracy_decides_all_the_same(folder: Folder, groups: Read) -> None:
    add(folder, "inverter", lpips=[math.nan] * 4, recognised=[0, 1, 0, 0], psnr=[9.0] * 4)
    add(folder, "rival", lpips=[math.nan] * 4, recognised=[1, 0, 0, 0], psnr=[40.0] * 4)
    (group,) = groups()
    assert group.rank == "recognised" and group.terms.name("ssim") == "nearest-private SSIM"
    worst = group.rows[0].worst
    assert worst is not None and worst.best["value"].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("shown", "flagged"), [(0, True), (4, False)])
def test_a_second_evaluator_has_a_column_and_may_disagree(
    folder: Folder, cards: Cards, tmp_path: Path, shown: int, flagged: bool
) -> None:
    seen = [1] * shown + [0] * (4 - shown)
    means = {"identified": shown / 4, "recognised": 1.0}
    add(folder, "inverter", lpips=[0.1] * 4, recognised=[1] * 4, identified=seen, means=means)
    results = read_results(folder.write(tmp_path))
    (group,) = build(results, cards)
    (entry,) = group.rows[0].attacks
    assert "identified" in group.terms.metrics and "identified" in group.terms.optional
    assert entry.scores["identified"].mean == shown / 4
    assert ("evaluators-disagree" in entry.flags) is flagged
    assert "evaluators-disagree" in legend([group])
    assert group.terms.heads["identified"] in as_markdown(results, (group,))


def test_without_a_second_evaluator_nothing_speaks_of_one(folder: Folder, groups: Read) -> None:
    add(folder, "inverter", lpips=[0.1] * 4, recognised=[1] * 4)
    folder.add("strong", lpips=[0.1] * 4)  # images of another channel are identified in another sense
    (group,) = (item for item in groups() if item.channel == "model")
    assert "identified" not in group.terms.metrics and "evaluators-disagree" not in legend([group])
    assert not set(group.terms.notes) & set(group.terms.optional.values())
