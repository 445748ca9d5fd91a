"""How Sphinx builds this folder as a site: ``make docs``, beside the published results."""

from __future__ import annotations

import re
from typing import Any

project = "inversion-bench"
author = "the inversion-bench authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "inversion-bench"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nb_execution_mode = "auto"  # notebooks are kept without outputs
nb_execution_raise_on_error = True
nb_execution_timeout = 300
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_url_schemes = {
    "http": None,
    "https": None,
    # Results are published one folder above these pages.
    "results": {"url": "{{path}}"},
}

_LINK = re.compile(r"(?<!!)(\[[^\]]*\])\((?P<up>(?:\.\./)+)(?P<path>[^)#]+)(?:#[^)]*)?\)")
_TABLES = re.compile(r"(leaderboard|README)\.md$")


def lead_out(app: Any, name: str, source: list[str]) -> None:
    """Links out of this folder lead to what is published of results/, or to a copy of the file."""
    up = "../" * (name.count("/") + 1)

    def target(found: re.Match[str]) -> str:
        if found["up"] != up:
            return found[0]
        place, _, rest = found["path"].partition("/")
        where = (
            f"results:{up}{_TABLES.sub('index.html', rest)}"
            if place == "results"
            else f"path:{up}{found['path']}"
        )
        return f"{found[1]}({where})"

    source[0] = _LINK.sub(target, source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", lead_out)
