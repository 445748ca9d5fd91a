"""The site of ``docs/``: it builds without a warning, runs its notebook, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from bench.report.site.glossary import markdown

ROOT = Path(__file__).parents[1]
_LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
_STYLED = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")
_LINKS = re.compile(r"\bhref=\"([^\"]+)\"")


def test_the_glossary_is_that_of_the_results() -> None:
    page = ROOT / "docs" / "glossary.md"
    again = "write it again: python -m bench.report.site.glossary docs/glossary.md"
    assert page.read_text(encoding="utf-8") == markdown(), again


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason=f"{name} is not installed: make docs")
    site = tmp_path / "docs"
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [*build, ROOT / "docs", site], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = [*site.rglob("*.html")]
    sources = [page for kind in ("*.md", "*.ipynb") for page in (ROOT / "docs").rglob(kind)]
    assert len(pages) >= len(sources) > 10
    styles = [sheet for sheet in site.rglob("*.css") if _STYLED.search(sheet.read_text(encoding="utf-8"))]
    assert styles == [], "these load from another host"
    dead = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert [target for target in _LOADED.findall(text) if urlsplit(target).netloc] == [], page
        for target in map(urlsplit, _LINKS.findall(text)):
            if target.scheme or not target.path:
                continue
            place = (page.parent / unquote(target.path)).resolve()
            if not place.is_relative_to(site):  # one folder up lies what is published of results/
                place = ROOT / "results" / place.relative_to(tmp_path)
            if not place.exists():
                dead.append(f"{page.name}: {target.path}")
    assert dead == []
    notebook = (site / "notebooks" / "your-own-model.html").read_text(encoding="utf-8")
    assert notebook.count("<table") >= 2 and "<img" in notebook, "its outputs are shown"
