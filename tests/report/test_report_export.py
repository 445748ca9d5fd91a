"""What papers take from a results folder: tabulars, figures, references."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import Leaderboard
from bench.api.errors import UsageError
from bench.plugins import attack_card as installed_attack
from bench.plugins import defense_card as installed_defense
from bench.plugins import discover
from bench.records.files import write_atomic
from bench.report.analysis.entries import SCORES, Group
from bench.report.cards import Cards
from bench.report.export.choice import SIZES, Choice, split
from bench.report.export.references import bibtex, references
from bench.report.export.write import exported as export
from bench.report.export.write import latex
from bench.report.findings.confirmation import build_confirmed
from bench.report.frames import read_results
from bench.report.writers import json_table
from tests.report.conftest import FakeCards, attack_card, defense_card, plausible
from tests.world import bench

COLUMNS = ("row", "accuracy", "loss_upper", "count", "recovered", "naive", "drop", "verdict")


@dataclass(frozen=True)
class Exported:
    """A small results folder, its published tables, and what was exported of it."""

    cards: Cards
    groups: tuple[Group, ...]
    published: dict[str, Any]
    out: Path
    unknown: list[str]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root, cards = tmp_path_factory.mktemp("export"), FakeCards()
    cards.defenses["prune"] = defense_card(title="Pruning", paper="P & P: 50% less (A 2020)", authors="Öz")
    folder = plausible(seeds=2, releases=3, checkpoints=("initial",), defenses=("none", "noise", "prune"))
    results = read_results(folder.write(root))
    groups = build_confirmed(root, results, cards)
    (published,) = json.loads(json_table.render(results, groups))["groups"]
    files, unknown = export(groups, Choice(), cards)
    for name, content in files.items():
        write_atomic(root / name, content)
    return Exported(cards, groups, published, root, unknown)


def lines(text: str) -> list[list[str]]:
    """The cells of a tabular as the plain text that they print."""
    rows = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r" \\")]
    signs = {"$-$": "-", r"$\leq$": "≤", "--": "–", "{[}": "[", "{]}": "]", r"\%": "%", r"\_": "_"}
    for sign, plain in signs.items():
        rows = [[cell.replace(sign, plain) for cell in row] for row in rows]
    return rows


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", cell)]


def test_the_numbers_of_a_tabular_are_those_of_the_leaderboard(exported: Exported) -> None:
    group = exported.published
    _, *rows = lines(latex(exported.groups, Choice(columns=COLUMNS), "text", exported.cards))
    assert len(rows) == len(group["rows"]) > 5
    for cells, wanted in zip(rows, group["rows"], strict=True):
        shown, verdict = dict(zip(COLUMNS, cells, strict=True)), wanted["verdict"]
        strength = "" if wanted["strength"] is None else f" = {wanted['strength']:g}"
        assert shown["row"] == wanted["defense"] + strength
        assert shown["verdict"] == (verdict["word"] or "–")
        accuracy = [100 * wanted["accuracy"][name] for name in ("mean", "low", "high")]
        assert numbers(shown["accuracy"]) == pytest.approx(accuracy, abs=0.051)
        images = verdict["recovered"]["images"]
        assert numbers(shown["count"]) == [round(verdict["recovered"]["mean"] * images), images]
        for name in ("recovered", "naive", *([] if wanted["undefended"] else ["drop"])):
            value = verdict[name]
            wanted_ends = [100 * value[end] for end in ("mean", "low", "high")] if value else []
            assert numbers(shown[name]) == pytest.approx(wanted_ends, abs=0.51), (shown["row"], name)
        if not wanted["undefended"]:
            loss = [wanted["loss_points"][name] for name in ("mean", "upper")]
            assert numbers(shown["loss_upper"]) == pytest.approx(loss, abs=0.051)


def test_tabulars_can_be_input(exported: Exported, tmp_path: Path) -> None:
    tables = sorted((exported.out / "tables").iterdir())
    assert [path.stem.rsplit("-", 1)[1] for path in tables] == ["column", "text"]
    for path in tables:
        text = path.read_text()
        assert text.isascii() and "documentclass" not in text
        code = [line for line in text.splitlines() if not line.startswith("%")]
        bare = re.sub(r"\\[\\{}$&#%_]", "", "\n".join(code))
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        (aligned,) = re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
        assert {len(row) for row in lines(text)} == {len(aligned)}
        assert [code.count(rf"\{rule}") for rule in ("toprule", "bottomrule")] == [1, 1]
        width = float(re.findall(r"([\d.]+) in wide", text)[0])
        assert 1 < width <= SIZES[path.stem.rsplit("-", 1)[1]]
    compiler = shutil.which("pdflatex") or shutil.which("tectonic")
    if compiler is None:
        pytest.skip("neither pdflatex nor tectonic is on this machine: nothing was compiled")
    boxes = "".join(
        rf"\setbox0=\hbox{{\input{{{path}}}\unskip}}\ifdim\wd0>{SIZES[path.stem.rsplit('-', 1)[1]]}in"
        rf"\errmessage{{too wide}}\fi\box0\par{chr(10)}"
        for path in tables
    )
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{boxes}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document)
    flags = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in compiler else []
    subprocess.run([compiler, *flags, "paper.tex"], cwd=tmp_path, check=True, timeout=300)


def test_figures_have_their_width_and_a_table_of_what_they_draw(exported: Exported) -> None:
    figures = exported.out / "figures"
    group = exported.published
    for kind in ("tradeoff", "adaptive"):
        (data,) = figures.glob(f"{kind}-*.csv")
        for size, width in SIZES.items():
            svg = ElementTree.parse(figures / f"{data.stem}-{size}.svg").getroot()
            assert float(str(svg.get("width")).removesuffix("pt")) == pytest.approx(72 * width)
            pdf = (figures / f"{data.stem}-{size}.pdf").read_bytes()
            (box,) = re.findall(rb"/MediaBox \[ ([^\]]*) \]", pdf)
            assert [float(end) for end in box.split()][2] == pytest.approx(72 * width)
            assert b"CreationDate" not in pdf and b"/Type3" not in pdf
        frame = pd.read_csv(data)
        drawn = frame[~frame["defense"].isin(["undefended", "blind guess"])]
        rows = [row for row in group["rows"] if not row["undefended"]]
        assert list(drawn["defense"]) == [row["defense"] for row in rows]
        wanted = [100 * row["verdict"]["recovered"]["mean"] for row in rows]
        assert list(drawn["recovered"]) == pytest.approx(wanted, abs=1e-3)
        if kind == "tradeoff":
            assert list(drawn["loss"]) == pytest.approx([row["loss_points"]["mean"] for row in rows])
            assert (drawn["loss_high"] - drawn["loss"]).to_list() == pytest.approx(
                (drawn["loss"] - drawn["loss_low"]).to_list(), abs=1e-5
            )
        levels = frame.set_index("defense")["recovered"]
        (base,) = [row for row in group["rows"] if row["undefended"]]
        assert levels["undefended"] == pytest.approx(100 * base["verdict"]["recovered"]["mean"], abs=1e-3)
        above = group["undefended_above_blind_guesses"]["mean"]
        assert levels["undefended"] - levels["blind guess"] == pytest.approx(100 * above, abs=1e-3)


def test_the_same_records_give_the_same_bytes(exported: Exported) -> None:
    again, _ = export(exported.groups, Choice(), exported.cards)
    assert again == {name: (exported.out / name).read_bytes() for name in again}
    assert len(again) == 2 + 2 * (1 + 2 * 2) + 1


def parsed(text: str) -> dict[str, dict[str, str]]:
    """A reader of BibTeX that counts braces as BibTeX does, escaped ones too."""
    entries: dict[str, dict[str, str]] = {}
    for start in re.finditer(r"@(\w+)\{([^,\s{}]+),", text):
        place, fields = start.end(), {}
        while name := re.compile(r"\s*(\w+)\s*=\s*\{").match(text, place):
            depth, place = 1, name.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[place], 0)
                place += 1
            fields[name[1]] = text[name.end() : place - 1]
            place += text[place] == ","
        assert re.compile(r"\s*\}").match(text, place), "the entry ends"
        assert start[2] not in entries, "keys are there once"
        entries[start[2]] = fields
    return entries


def test_references_are_those_that_the_tables_cite(exported: Exported) -> None:
    found = parsed((exported.out / "references.bib").read_text())
    cited = {
        key
        for path in (exported.out / "tables").iterdir()
        for key in re.findall(r"\\cite\{(\w+)\}", path.read_text())
    }
    assert cited == {*found}
    assert found["oz2020pp"]["title"] == r"{P \& P: 50\% less}"
    assert found["oz2020pp"]["author"] == r"{\"{O}}z"
    assert "noise" in exported.unknown and "blind" not in exported.unknown, "a blind guess is no attack"


def test_papers_of_all_cards_are_valid_entries() -> None:
    cards = {name: installed_attack(name) for name in discover("attack").plugins}
    cards |= {name: installed_defense(name) for name in discover("defense").plugins}
    papers = references(cards)
    text = bibtex(papers)
    found = parsed(text)
    assert {*found} == {paper.key for paper in papers.values()} and text.isascii()
    for name, card in cards.items():
        fields = found[papers[name].key]
        assert fields["year"] == str(card.year) and fields["title"] and fields["author"]
        assert not re.search(r"(?<!\\)[#%&_$]", fields["title"] + fields["author"])
        if card.kind == "defense" or card.observes_release:  # blind guesses have no paper, and are not cited
            assert papers[name] == references({name: card})[name], "its key does not depend on the others"
    assert papers["dlg"].key == papers["noise"].key, "one paper is one entry"


@pytest.mark.parametrize(
    ("paper", "authors", "fields"),
    [
        ("A (B) C (J 1(2), 2020), Section 3", "X, Y and Z", ("{A (B) C}", "X and Y and Z", "J 1(2)")),
        ("Only words {", "de la X", (r"{Only words \textbraceleft{}}", "{de la X}", None)),
        (
            "First (V 2020); later: Second (W 2021)",
            "Küpçü; Q",
            ("{First}", 'K{\\"{u}}p{\\c{c}}{\\"{u}}', "V"),
        ),
    ],
)
def test_the_parts_of_a_paper(paper: str, authors: str, fields: tuple[str | None, ...]) -> None:
    (entry,) = parsed(bibtex(references({"a": attack_card(paper=paper, authors=authors)}))).values()
    assert tuple(entry.get(name) for name in ("title", "author", "howpublished")) == fields


def test_rows_and_columns_are_chosen_in_order(exported: Exported) -> None:
    choice = Choice(rows=["prune", "noise = 0.01"], columns=["verdict", "row"])
    _, *rows = lines(latex(exported.groups, choice, "column", exported.cards))
    assert [row[1] for row in rows] == ["prune = 0.5", "prune = 0.9", "prune = 0.99", "noise = 0.01"]
    assert split(["a,b[c=1,d=2]", " e "]) == ("a", "b[c=1,d=2]", "e")


@pytest.mark.parametrize(
    ("choice", "near"),
    [
        ({"rows": ["none", "noise=0.1"]}, "'noise=0.01'"),
        ({"settings": ["gradients-digits-lenet-inital-1"]}, "'gradients-digits-lenet-initial-1'"),
        ({"settings": ["smashed-*"]}, "gradients-digits-lenet-initial-1"),
        ({"columns": ["attack", "accuracy", "recovered", "union", "naive", "drop", *SCORES]}, "6.75 in"),
        ({"columns": ["row", "verdcit"]}, "'verdict'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    exported: Exported, choice: dict[str, list[str]], near: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(near)) as caught:
        export(exported.groups, Choice(**choice), exported.cards)
    assert "\n" not in str(caught.value)


def test_the_command_writes_what_the_api_returns(tmp_path: Path, folder: Any) -> None:
    source, out = folder.write(tmp_path / "toy"), tmp_path / "out"
    assert bench("export", tmp_path, "--out", out).exit_code == 2
    result = bench("export", source, "--out", out, "--columns", "row,verdcit")
    assert result.exit_code == 2 and "'verdict'" in result.stderr and result.stderr.count("\n") == 1
    assert bench("export", source, "--out", out).exit_code == 2, "no cell is done"
    assert not out.exists()
    for defense, strength in (("none", None), ("noise", 0.1), ("alien", 1.0)):
        folder.add("dlg", defense, strength, lpips=[0.1, 0.5])
    folder.write(source)
    result = bench("export", source, "--out", out, "--rows", "none,alien", "--columns", "row,recovered")
    assert result.exit_code == 0, result.output
    assert "alien" in result.stderr and "noise" not in result.stderr
    (table,) = (out / "tables").glob("*-column.tex")
    board = Leaderboard(source)
    found = board.to_latex(rows=["none", "alien"], columns=["row", "recovered"], size="column")
    assert found == table.read_text()
    with pytest.raises(UsageError, match="'column'"):
        board.to_latex(size="colum")
