"""The files that a reader opens: right, stable, complete and safe."""

import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.frames import read_results
from bench.report.write import write_report
from tests.report.classes import by_class

Folder = Any  # the class in conftest.py
TABLES = ["leaderboard.md", "leaderboard.csv", "leaderboard.tex", "cells.csv"]
ROW = ["checkpoint", "batch_size", "defense", "strength"]


def report(folder: Folder, directory: Path, cards: Cards, **options: Any) -> dict[str, str]:
    write_report(folder.write(directory, **options), final=False, cards=cards)
    return read(directory)


def read(directory: Path) -> dict[str, str]:
    return {name: (directory / name).read_text(encoding="utf-8") for name in TABLES}


def test_every_number_can_be_recomputed(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    report(matrix(batches=(2,), releases=3, seeds=2), tmp_path, cards)
    table = pd.read_csv(tmp_path / "leaderboard.csv").fillna({"strength": -1.0, "adversary": ""})
    images = pd.read_csv(tmp_path / "images.csv.gz").fillna({"strength": -1.0})
    images = images[images["status"] == "done"]

    keys = [*ROW, "attack", "adversary"]
    plain = images.groupby(keys)[["psnr", "ssim", "lpips", "identified", "recognised"]].mean().round(6)
    ours = table[(table["role"] != "worst case") & (table["cells_done"] > 0)].set_index(keys)
    assert len(plain) == len(ours)
    pd.testing.assert_frame_equal(ours[plain.columns].sort_index(), plain.sort_index(), atol=2e-6)

    seeing = images[images["attack"] != "blind"]
    best = (
        seeing.sort_values("lpips")
        .groupby([*ROW, "seed", "release", "image"])[["psnr", "ssim", "lpips"]]
        .first()
    )
    worst = table[table["role"] == "worst case"].set_index(ROW)
    expected = best.groupby(ROW).mean()
    pd.testing.assert_frame_equal(worst[expected.columns].sort_index(), expected.sort_index(), atol=2e-6)
    success = (
        images.dropna(subset=["psnr"])
        .assign(success=lambda d: d["psnr"] > 30)
        .groupby(keys)["success"]
        .mean()
    )
    pd.testing.assert_series_equal(ours["success"].sort_index(), success.sort_index(), atol=2e-6)
    for name in ("psnr", "lpips"):
        known = table.dropna(subset=[name])
        assert ((known[f"{name}_low"] <= known[name]) & (known[name] <= known[f"{name}_high"])).all()


def test_order_of_files_and_rows_does_not_matter(
    matrix: Callable[..., Folder], cards: Cards, tmp_path: Path
) -> None:
    folder = matrix(releases=2, seeds=2, checkpoints=("trained",))
    first = report(folder, tmp_path / "a", cards)
    assert first == report(folder, tmp_path / "b", cards, shuffle=1)
    write_report(tmp_path / "a", final=False, cards=cards)
    assert first == read(tmp_path / "a")
    assert not list(tmp_path.rglob("*.part"))


def test_times_are_in_cells_csv_alone(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    before = report(folder, tmp_path, cards)
    item = folder.records[0]
    item["provenance"]["finished"], item["seconds"]["victim"], item["peak_memory_mb"] = "2031", 77.0, 1.5
    after = report(folder, tmp_path, cards)
    assert [name for name in TABLES if before[name] != after[name]] == ["cells.csv"]
    cells = pd.read_csv(io.StringIO(after["cells.csv"]))
    wanted = {
        "utility": 0.9,
        "seconds_victim": 77.0,
        "peak_memory_mb": 1.5,
        "torch": "2.9.0",
        "converged": True,
    }
    assert cells.loc[0, list(wanted)].to_dict() == wanted


def test_failures_are_shown_with_their_reasons(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    folder.add("strong", adversary="adaptive", status="incompatible", reason="nothing to adapt to")
    for seed in (0, 1):
        folder.add("weak", seed=seed, status="oom", reason="out of memory")
    page = report(folder, tmp_path, cards)["leaderboard.md"]
    assert "4 cells: 1 done, 1 n/a (incompatible), 2 oom." in page
    assert "n/a (nothing to adapt to)" in page
    assert "oom (2): out of memory" in page
    table = pd.read_csv(tmp_path / "leaderboard.csv").set_index("attack")
    assert table.loc["weak", ["psnr", "lpips", "success"]].isna().all()
    assert table.loc["weak", "cells_done"] == 0


def test_an_empty_and_an_unfinished_folder_have_a_page(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    write_report(tmp_path / "new")
    assert "No cell is done yet" in (tmp_path / "new" / "leaderboard.md").read_text()
    folder.add("strong", status="failed", reason="boom")
    assert "failed (1): boom" in report(folder, tmp_path / "one", cards)["leaderboard.md"]
    folder.add("strong", "noise", 1.0, lpips=[0.4])
    folder.write(tmp_path / "two")
    (tmp_path / "two" / "images.csv.gz").unlink()  # not merged yet
    write_report(tmp_path / "two", cards=cards)
    assert "noise" in (tmp_path / "two" / "leaderboard.md").read_text()


def test_one_cluster_has_no_interval(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.25], psnr=[18.04])
    page = report(folder, tmp_path, cards)["leaderboard.md"]
    assert "0.250 [n/a]" in page and "18.0 [n/a]" in page and "1/1" in page


def test_what_is_corrupt_is_named_and_skipped(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    folder.add("weak", lpips=[0.3, 0.3])
    folder.write(tmp_path)
    broken = folder.records[1]
    (tmp_path / "records" / f"{broken['id']}.json").write_text(json.dumps(broken)[:300])
    (tmp_path / "records" / "list.json").write_text("[1, 2]")
    (tmp_path / "records" / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "records" / "cell.json").write_text(json.dumps({"status": "done", "cell": {"model": "x"}}))
    write_report(tmp_path, final=False, cards=cards)
    page = (tmp_path / "leaderboard.md").read_text()
    for name in (broken["id"], "list", "bytes", "cell"):
        assert f"records/{name}.json: " in page
    assert "1 cells" not in page.split("##")[0] or "1 done" in page
    assert "weak" not in (tmp_path / "leaderboard.csv").read_text()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"nonsense", lambda b: gzip.compress(b"a,b\n")]
)
def test_a_damaged_image_file_is_reported(
    folder: Folder, cards: Cards, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    folder.add("strong", lpips=[0.1] * 50)
    path = folder.write(tmp_path) / "images.csv.gz"
    path.write_bytes(damage(path.read_bytes()))
    write_report(tmp_path, final=False, cards=cards)
    page = (tmp_path / "leaderboard.md").read_text()
    assert "images.csv.gz: " in page and str(tmp_path) not in page


HOSTILE = (
    "a|b`c`\n<script>alert(1)</script> [x](http://evil) \\input{x} $y_1^2$ #5 % & ~ "
    '![i](j) \x00 é ∂ "q" **b**'
)


def test_foreign_text_stays_text(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add(f"strong[{HOSTILE}]", lpips=[0.1, 0.2])
    folder.add("weak", f"noise[{HOSTILE}]", 1.0, lpips=[0.1, 0.2], lpips_status=HOSTILE)
    folder.add("sly", status="failed", reason=HOSTILE)
    files = report(folder, tmp_path, cards)
    page = files["leaderboard.md"]
    assert "<script" not in page and "://" not in page and "\x00" not in page
    assert not re.search(r"(?<!\\)\]\(", page)
    assert tables_are_rectangular(page)
    check_latex(files["leaderboard.tex"])
    table = pd.read_csv(io.StringIO(files["leaderboard.csv"]))
    assert table["reason"].str.contains("a|b`c`", regex=False).any()
    write_report(tmp_path, cards=cards)  # the figures, too
    assert list((tmp_path / "figures").glob("*.svg"))


def test_page_answers_the_question_first(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    files = report(matrix(checkpoints=("initial",), releases=4), tmp_path, cards)
    page = files["leaderboard.md"]
    assert tables_are_rectangular(page)
    glance = page[page.index("## At a glance") : page.index("\n## gradients")]
    assert "at most 1 point of accuracy" in glance
    heads = [line for line in glance.splitlines() if line.startswith("| setting")]
    assert {line.count("|") for line in heads} == {7}, "six columns, that nobody has to scroll"
    for words in ("80 dB", "2,000 resamples", "Seeds 0, 1, 2", "attacker's", "torch 2.9.0", "Pareto"):
        assert words in page
    check_latex(files["leaderboard.tex"])


def tables_are_rectangular(page: str) -> bool:
    """Every run of table lines has one number of unescaped pipes."""
    blocks = re.split(r"\n(?!\|)", page)
    counts = [
        {len(re.findall(r"(?<!\\)\|", line)) for line in b.split("\n") if line.startswith("|")}
        for b in blocks
    ]
    return all(len(widths) <= 1 for widths in counts)


def test_latex_tells_ranks_ties_and_failures(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for defense, strength in (("none", None), ("clip", 1.0), ("noise", 1.0)):
        folder.add("weak", defense, strength, lpips=[0.1, 0.2, 0.3])
    folder.add("strong", "noise", 1.0, status="failed", reason="boom")
    text = report(by_class(seeds=2, folder=folder), tmp_path, cards)["leaderboard.tex"]
    check_latex(text)
    assert text.count(r"\begin{longtable}") == 2 and text.count(r"p{1.6cm}") == 6, "one of them is of classes"
    lines = {line.split(" & ")[0].strip("*"): line.split(" & ") for line in text.splitlines()}
    assert (
        lines["Defense"][-7:-5] == [r"Rank $\leq$ 1", r"Rank $\leq$ 5"] and lines["Defense"][-2] == "Failures"
    )
    assert lines["clip"][-7:-5] == ["1--2 (a)", "1--2 (a)"] == lines["noise"][-7:-5]
    assert (lines["clip"][-2], lines["noise"][-2]) == ("0", "1")
    assert lines["smooth"][-7] != "--" or lines["smooth"][-6] != "--"


def check_latex(text: str) -> None:
    """Balanced braces and environments, equal columns, nothing outside ASCII; pdfLaTeX itself where it is."""
    assert text.isascii()
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not set("#%~") & set(bare)
    for name in set(re.findall(r"\\begin\{(\w+\*?)\}", text)):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    tables = re.findall(r"\\begin\{longtable\}\{([^\n]*)\}\n(.*?)\\end\{longtable\}", text, re.DOTALL)
    assert tables
    for columns, body in tables:
        wanted = len(re.findall(r"[lrp]", re.sub(r">?\{[^}]*\}", "", columns)))
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(lines) > 2 and {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {wanted}
        assert f"\\multicolumn{{{wanted}}}" in body and body.count("continued") == 2
        assert lines[0] == lines[1], "the head is the same on every page"
    assert "\\input" not in text
    if compiler := shutil.which("pdflatex"):
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "check.tex")
            source.write_text(text, encoding="utf-8")
            command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "-draftmode", source.name]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=60)


def test_reports_need_no_torch(folder: Folder, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    folder.write(tmp_path)
    code = (
        "import sys, pathlib, bench.report as r; r.write_report(pathlib.Path(sys.argv[1])); "
        "sys.exit(' '.join({'torch', 'scipy.stats', 'lpips', 'torchvision'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_the_largest_of_two_answers_is_shown(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.9], budget=100)
    folder.add("strong", lpips=[0.1], budget=500)
    page = report(folder, tmp_path, cards)["leaderboard.md"]
    assert "budget 500" in page and "0.100" in page and "0.900" not in page
    assert "same question" not in page and "image rows" not in page
    folder.add("strong", lpips=[0.1, 0.2], budget=500)
    page = report(folder, tmp_path, cards)["leaderboard.md"]
    assert "budget 100" in page and "measured: 2 (the first" in page, "which rows are whose is unknown"


def test_a_row_on_which_every_attack_fails_is_flagged(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for defense, strength, leak in (("none", None, 0.1), ("noise", 1.0, 0.9)):
            folder.add("blind", defense, strength, lpips=[0.5, 0.51], seed=seed)
            folder.add("strong", defense, strength, lpips=[leak, leak + 0.01], seed=seed)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    assert {row.name: "below-prior" in row.flags for row in group.rows} == {"none": False, "noise = 1": True}


@pytest.mark.parametrize(
    "accuracies, shown, admitted",
    [
        ([0.894, 0.893, 0.892], "0.7 (≤ 0.9)", True),
        ([0.894, 0.893, 0.884], "1.0 (≤ 2.3)", False),
        ([0.894], "0.6 (≤ n/a)", True),
    ],
    ids=["certainly within", "perhaps within", "one seed alone"],
)
def test_a_defense_is_admitted_by_the_upper_limit_of_its_loss(
    folder: Folder, cards: Cards, tmp_path: Path, accuracies: list[float], shown: str, admitted: bool
) -> None:
    for seed, accuracy in enumerate(accuracies):
        folder.add("strong", lpips=[0.1, 0.2], seed=seed)
        folder.add("strong", "noise", 1.0, lpips=[0.6, 0.7], seed=seed, accuracy=accuracy)
    write_report(folder.write(tmp_path), cards=cards)
    text, page, data = (
        (tmp_path / name).read_text(encoding="utf-8")
        for name in ("leaderboard.md", "index.html", "leaderboard.json")
    )
    assert f"| {shown} |" in text and shown in re.sub(r"<[^>]*>", "", page)
    answers = json.loads(data)["groups"][0]["answers"]
    assert [item["defense"] for item in answers] == ["noise = 1" if admitted else None, "noise = 1"]


def test_shares_that_never_vary_are_not_certain(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1] * 33, psnr=[20.0] * 33)
    write_report(folder.write(tmp_path), cards=cards)
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| none | strong/naive |"))
    assert "| 100 [89, 100] |" in line and "| 0 [0, 11] |" in line
    assert "| 0.100 [0.100, 0.100] |" in line, "a distance is no share"


def test_where_nothing_was_tested_that_is_the_headline(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for defense, strength in (("none", None), ("clip", 1.0), ("noise", 1.0)):
        folder.add("weak", defense, strength, lpips=[0.1, 0.2, 0.3])
    write_report(folder.write(tmp_path), cards=cards)
    text, page, data = (
        (tmp_path / name).read_text(encoding="utf-8")
        for name in ("leaderboard.md", "index.html", "leaderboard.json")
    )
    assert text.count("| **not tested**; fewest: clip = 1 (tied with noise = 1) |") == 2
    assert page.count("<h4>not tested</h4>") == 2 and "<h4>clip" not in page
    assert "tied with noise = 1" in page
    assert {item["word"] for item in json.loads(data)["groups"][0]["answers"]} == {"not tested"}


def test_flags_of_the_strongest_attack_reach_the_headline(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    for defense, strength, lift in (("none", None, 0.0), ("noise", 1.0, 0.3)):
        folder.add("given", defense, strength, lpips=[0.1 + lift, 0.2 + lift])
        folder.add("blind", defense, strength, lpips=[0.8, 0.9])
        folder.add("weak", defense, strength, lpips=[0.5 + lift, 0.6 + lift], attack=overspent())
    write_report(folder.write(tmp_path), cards=cards)
    text, found, page, tex = (
        (tmp_path / name).read_text(encoding="utf-8")
        for name in ("leaderboard.md", "README.md", "index.html", "leaderboard.tex")
    )
    assert "noise = 1 `labels-given` |" in text
    assert "noise | 1 | 90.0 [n/a] | 0.0 (≤ n/a) |" in text and text.count("| `labels-given` |") >= 5
    assert "| noise = 1 `labels-given` |" in found
    board = page[page.index('id="board"') : page.index('id="settings"')]
    assert board.count("#flag-labels-given") == 2 and "#flag-budget" not in board
    card = page[page.index('class="card"') : page.index('id="board"')]
    assert "#flag-labels-given" in card
    assert tex.count("reported labels-given") == 2 and r"texttt{budget}" not in tex


def overspent() -> dict[str, float]:
    """What a record says of an attack that took more than it was given."""
    return {"evaluations_mean": 200.0, "evaluations_max": 200, "cost_mean": 0.1}


def test_defenses_with_few_strengths_are_named(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("weak", lpips=[0.1, 0.2])
    for defense, strengths in (("clip", (1.0, 2.0, 4.0)), ("noise", (1.0, 2.0))):
        for strength in strengths:
            folder.add("weak", defense, strength, lpips=[0.3, 0.4])
    text = report(folder, tmp_path, cards)["leaderboard.md"]
    assert "fewer than 3 strengths" in text and "B = 1: noise (2)." in text and "clip (3)" not in text
