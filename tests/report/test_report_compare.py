"""Paired comparisons: what they find in made-up numbers, and that they agree with scipy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, wilcoxon

from bench.api.errors import UsageError
from bench.report import compare as module
from bench.report.compare import Comparison, compare_entries, compare_folders, holm, signed_rank
from bench.report.frames import Results
from tests.world import bench

RELEASES, SEEDS = 12, 3


def _images(**offsets: float) -> pd.DataFrame:
    """Attacks on two defenses; an attack's LPIPS is that of the image plus its offset and some noise."""
    generator = np.random.default_rng(0)
    base = generator.uniform(0.3, 0.6, size=(SEEDS, RELEASES))
    rows = []
    for attack, offset in offsets.items():
        noise = np.random.default_rng(len(attack)).normal(0, 0.01, size=(2, SEEDS, RELEASES))
        for place, (defense, strength) in enumerate((("none", float("nan")), ("noise", 0.1))):
            for seed in range(SEEDS):
                for release in range(RELEASES):
                    lpips = base[seed, release] + offset + noise[place, seed, release] * (offset != 0)
                    rows.append(
                        {
                            **{"channel": "gradients", "dataset": "d", "model": "lenet"},
                            **{"checkpoint": "trained", "batch_size": 1, "adversary": "naive"},
                            **{"defense": defense, "strength": strength, "attack": attack},
                            **{"seed": seed, "release": release, "image": 0},
                            **{"lpips": lpips, "psnr": 20.0, "ssim": 0.5, "identified": 0.0},
                            **{"label_correct": 1.0, "recognised": 0.0},
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = {}

    def read(path: Path) -> Results:
        return Results(pd.DataFrame(), found[path.name], (f"{path.name}: torn",))

    monkeypatch.setattr(module, "read_results", read)
    return found


def _verdicts(found: Comparison) -> dict[str, str]:
    return {str(item.keys["attack"]): item.verdict for item in found.differences}


def test_folders_are_compared_entry_by_entry(folders: dict[str, pd.DataFrame]) -> None:
    folders["a"] = _images(same=0.0, better=0.1, worse=0.1, noisy=1e-9)
    folders["b"] = _images(same=0.0, better=0.05, worse=0.2, noisy=2e-9)
    folders["b"].loc[folders["b"]["attack"] == "noisy", "lpips"] += np.random.default_rng(5).normal(
        0, 0.1, size=2 * SEEDS * RELEASES
    )
    found = compare_folders(Path("a"), Path("b"))
    assert _verdicts(found) == {
        "same": "identical",
        "better": "better",
        "worse": "worse",
        "noisy": "indistinguishable",
    }
    assert (found.first_only, found.second_only, len(found.differences)) == (0, 0, 8)
    assert found.problems == tuple(f"{name}: {name}: torn" for name in "ab")
    first = next(item for item in found.differences if item.keys["attack"] == "worse")
    assert first.change.mean == pytest.approx(0.1, abs=0.002)
    assert first.change.mean == pytest.approx(first.second - first.first)
    assert first.change.low < 0.1 < first.change.high
    assert repr(compare_folders(Path("a"), Path("b"))) == repr(found), "the same numbers, the same intervals"
    turned = compare_folders(Path("b"), Path("a"))
    assert (turned.count("better"), turned.count("worse")) == (found.count("worse"), found.count("better"))


def test_images_that_one_side_lacks_are_counted_not_compared(folders: dict[str, pd.DataFrame]) -> None:
    folders["a"] = _images(one=0.1)
    folders["b"] = _images(one=0.2).iloc[: SEEDS * RELEASES + 2]
    folders["b"].loc[3, "lpips"] = np.nan
    found = compare_folders(Path("a"), Path("b"))
    assert (found.first_only, found.second_only) == (34, 0)
    sizes = [item.change.n_images for item in found.differences]
    assert sorted(sizes) == [2, SEEDS * RELEASES - 1]
    small = next(item for item in found.differences if item.change.n_images == 2)
    assert small.verdict == "indistinguishable", "two clusters prove nothing"
    folders["c"] = _images(one=0.2).assign(seed=9)
    with pytest.raises(UsageError, match="image"):
        compare_folders(Path("a"), Path("c"))
    with pytest.raises(UsageError, match=r"'lpipz'.*'lpips'"):
        compare_folders(Path("a"), Path("b"), metric="lpipz")


def test_attacks_and_defenses_of_one_folder(folders: dict[str, pd.DataFrame]) -> None:
    folders["a"] = _images(one=0.1, two=0.2)
    attacks = compare_entries(Path("a"), "one", "two/naive")
    assert [item.verdict for item in attacks.differences] == ["worse", "worse"]
    assert {item.keys["defense"] for item in attacks.differences} == {"none", "noise"}
    defenses = compare_entries(Path("a"), "none", "noise=0.1")
    assert {item.keys["attack"] for item in defenses.differences} == {"one", "two"}
    with pytest.raises(UsageError, match=r"'oone'.*'one'"):
        compare_entries(Path("a"), "oone", "two")
    for first, second in (("one", "none"), ("none", "noise=x"), ("one", "two/adaptive")):
        with pytest.raises(UsageError, match=f"{first} and {second}"):
            compare_entries(Path("a"), first, second)


def test_the_labels_of_tables_are_understood() -> None:
    label = "noise[distribution=laplace]"
    assert module._word(f"{label}=0.1") == label
    assert module._word(label) == label
    assert (module._word("dlg/naive"), module._word("none")) == ("dlg", "none")


def test_holm_is_the_textbook_s() -> None:
    values = [0.01, 0.04, 0.03, 0.005]
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    generator = np.random.default_rng(1)
    many = generator.uniform(0, 0.01, size=50).tolist()
    assert all(a >= b for a, b in zip(holm(many), false_discovery_control(many), strict=True))
    assert holm(many)[int(np.argmin(many))] == min(holm(many)) == pytest.approx(50 * min(many))


def test_signed_rank_is_scipy_s_and_has_an_answer_for_no_difference() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, size=20)
    assert signed_rank(values) == wilcoxon(values).pvalue
    assert signed_rank(np.zeros(5)) == 1.0


def test_the_command_tells_the_story(folders: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "records").mkdir(parents=True)
    folders["a"], folders["b"] = _images(same=0.0, good=0.2), _images(same=0.0, good=0.1)
    result = bench("compare", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["B", "is", "lpips", "A"]
    assert sum(line.startswith("better") for line in lines) == 2
    assert re.findall(r"\d+", lines[-1]) == ["4", "2", "0", "0", "2"]
    listed = bench("compare", tmp_path / "a", tmp_path / "b", "--all")
    assert sum(line.startswith("identical") for line in listed.stdout.splitlines()) == 2
    lost = bench("compare", "dlg", "idlg")
    assert (lost.exit_code, "--in DIR" in lost.stderr) == (2, True)
