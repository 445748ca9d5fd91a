"""The display for a terminal: a bar with the time left, and what is being computed under it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from bench.execute.progress.display import Progress, counted, duration, trainings
from bench.text import clean, clean_lines

_SHOWN = 8


class Bar:
    """A live region at the bottom; failures and messages scroll by above it."""

    def __init__(self) -> None:
        self._console = Console()
        columns: list[ProgressColumn] = [
            TextColumn("cells"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA {task.fields[eta]}"),
            TextColumn("{task.fields[failed]}", style="red"),
        ]
        self._bar = RichProgress(*columns, console=self._console)
        self._task = self._bar.add_task("cells", total=None, eta="?", failed="")
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def start(self, counts: Mapping[str, int], progress: Progress) -> None:
        """Says what there is, then draws the bar."""
        self._console.print(f"{counted(counts)}; {progress.total} to run", highlight=False)
        self._live.start()
        self.update(progress)

    def update(self, progress: Progress) -> None:
        """Redraws the bar and the running tasks."""
        failed = f"{progress.failed} failed" if progress.failed else ""
        self._bar.update(
            self._task,
            total=progress.total,
            completed=progress.done,
            eta=duration(progress.eta),
            failed=failed,
        )
        titles = trainings(progress)[:_SHOWN]
        running = [Text(f"  {title}", style="dim", no_wrap=True) for title in titles]
        self._live.update(Group(self._bar, *running))

    def finished(self, title: str, status: str, reason: str, seconds: float, progress: Progress) -> None:
        """Failures stay on the screen, the rest is the bar's business."""
        if status not in ("done", "incompatible"):
            # Rich's own texts let escape sequences through.
            self._console.print(Text(f"{status}: {clean(title)}: {clean(reason)}", style="red"))
        self.update(progress)

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(Text(clean_lines(text), style="yellow"))

    def finish(self, counts: Mapping[str, int], seconds: float) -> None:
        """Takes the bar away and leaves the summary."""
        self._live.stop()
        self._console.print(f"{counted(counts)} after {duration(seconds)}", highlight=False)

    def close(self) -> None:
        """Gives the terminal back."""
        self._live.stop()
