"""The documentation is true: its tutorials and examples are executed, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.report.analysis.verdict import Word

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block: its language, the file that it is, and its text."""

    language: str
    file: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    form = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in form.finditer(page.read_text(encoding="utf-8")):
        yield Block(*match.groups())


def shell(text: str, place: Path) -> str:
    """Runs commands with ``bench`` on the path; what they export is there for the next block."""
    (place / ".bin").mkdir(exist_ok=True)
    bench = place / ".bin" / "bench"
    bench.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bench.cli.main "$@"\n', encoding="utf-8")
    bench.chmod(0o755)
    script = f"set -e\n[ ! -f .exports ] || . ./.exports\n{text}\nexport -p > .exports\n"
    environment = {k: v for k, v in os.environ.items() if k != "BENCH_PLUGIN_PATH"}
    environment |= {"PATH": f"{place / '.bin'}{os.pathsep}{environment['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def readers_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all that a reader tries, as on the reader's own machine: generators are trained once."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    monkeypatch.setenv("BENCH_CACHE", str(place / "readers-cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("readers_cache")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_as_it_is_written(page: Path, tmp_path: Path) -> None:
    said = ""
    for block in blocks(page):
        if block.file:
            target = tmp_path / block.file
            assert target.is_file(), f"{block.file}: bench new did not write it"
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            said = shell(block.text, tmp_path)
        elif block.language == "text":
            for line in block.text.splitlines():
                assert words(line) in words(said), line


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_has_code_a_card_and_commands(page: Path) -> None:
    found = list(blocks(page))
    assert {"python", "toml"} <= {block.language for block in found if block.file}
    lines = [line for block in found if block.language == "bash" for line in block.text.splitlines()]
    commands = [line.split()[1] for line in lines if line.startswith("bench ")]
    assert commands[:2] == ["new", "check"] and {"run", "audit"} & set(commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("results/"):  # those are written by a run
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
@pytest.mark.usefixtures("readers_cache")
def test_the_example_audits_a_users_own_defense(tmp_path: Path) -> None:
    said = shell(f'"{sys.executable}" "{ROOT / "examples" / "audit_my_defense.py"}"', tmp_path)
    assert re.search(r"^\d+ cells, 0 ", said, re.MULTILINE)
    row = {"lenet", "initial", "1", "my_defense", "0.3"}
    assert any(row <= {*line.split()} for line in said.splitlines())
    assert re.search(rf"^my_defense.*{Word.NOT_TESTED}.*\b72\b", said, re.MULTILINE)


def published() -> list[str]:
    """All lines of the published tables."""
    folders = ("faces", "federated", "full", "generative", "medical", "mednist", "paper")
    pages = [ROOT / "results" / folder for folder in folders]
    texts = [
        (page / name).read_text(encoding="utf-8")
        for page in pages
        for name in ("leaderboard.md", "README.md")
    ]
    return "\n".join(texts).splitlines()


def test_the_readme_quotes_published_tables_word_for_word() -> None:
    lines = {*published()}
    results = (ROOT / "README.md").read_text(encoding="utf-8").partition("## I want to")[0]
    quoted = [line for line in results.splitlines() if line.startswith("|")]
    assert len(quoted) > 5
    assert [line for line in quoted if line not in lines] == []


@pytest.mark.parametrize("page", ["README.md", "docs/findings.md"])
def test_counts_in_prose_stand_in_a_published_table(page: str) -> None:
    form = re.compile(r"\b(\d+) of (?:the )?(\d+)\b")
    known = {pair for line in published() for pair in form.findall(line)}
    for line in published():  # crosses: what each attack recovered, the number of images in the last count
        if (total := form.search(line)) and line.startswith("| "):
            cells = [re.fullmatch(r"(\d+)(?: \((\d+)\))?", cell) for cell in line.strip("| ").split(" | ")]
            known |= {(count, total[2]) for cell in cells if cell for count in cell.groups() if count}
    told = [
        line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if not line.startswith("|")
    ]
    counts = form.findall(" ".join(told))
    assert counts, "a page without a number tells nothing"
    assert [pair for pair in counts if pair not in known] == []


def test_the_readme_is_read_in_a_few_minutes() -> None:
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert sum(any(sign.isalnum() for sign in word) for word in words) <= 700
