"""The one page that shows everything, ``index.html``: self-contained, offline, readable without scripts."""

from bench.report.page.render import render
from bench.report.page.view import Source

__all__ = ["Source", "render"]
