"""The one page that shows everything, ``index.html``: self-contained, offline, readable without scripts."""

from bench.report.page.render import Source, render

__all__ = ["Source", "render"]
