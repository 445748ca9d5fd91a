"""What a plug-in's words may do to the terminal of who runs it: nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from bench.execute.plan import State
from bench.execute.progress import display
from bench.execute.progress.bar import Bar
from bench.execute.progress.display import Progress
from bench.execute.progress.dry_run import _line
from bench.execute.progress.forecast import Estimate
from bench.matrix import Cell
from tests.cli.test_cli_catalogue import EVIL

HARMFUL = set("\x1b\x07\x9b\u202e\r")
AT = Progress(total=2, done=1, failed=1, running=(EVIL,), eta=3.0)


def _shown(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    shown = display(name)
    shown.start({"missing": 2}, AT)
    shown.update(AT)
    shown.finished(EVIL, "failed", EVIL, 1.0, AT)
    shown.message(f"{EVIL}\nsecond")
    shown.finish({"failed": 2}, 2.0)
    shown.close()
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize("name", ["plain", "json", "rich"])
def test_words_of_plugins_cannot_reach_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = _shown(name, capsys)
    assert not set(text) & HARMFUL
    assert text.count("[31mred") >= 3, "what it says is shown"
    if name == "plain":
        assert text.splitlines()[-2:] == ["second", "2 failed after 0:02"] or "\nsecond\n" in text


def test_a_bar_on_a_terminal_emits_no_sequence_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar()
    with bar._console.capture() as caught:
        bar.finished(EVIL, "failed", EVIL, 1.0, AT)
        bar.message(EVIL)
    assert not set(caught.get()) & HARMFUL
    monkeypatch.setattr(bar, "_console", Console(force_terminal=True, width=200))
    with bar._console.capture() as caught:
        bar.finished(EVIL, "failed", EVIL, 1.0, AT)
        bar.message(EVIL)
    assert "]0;title" in caught.get() and "\x1b]" not in caught.get(), "no sequence that sets a title"
    assert "\x07" not in caught.get() and "\u202e" not in caught.get() and "\x9b" not in caught.get()


@pytest.fixture
def strange(cells: list[Cell]) -> Iterator[Cell]:
    yield replace(cells[0], attack=replace(cells[0].attack, label=EVIL), incompatible=EVIL)


def test_a_dry_run_shows_no_control_characters(strange: Cell) -> None:
    cost = Estimate(1.0, 1.0, None, (), 5, exact=True)
    for found in (None, cost):
        line = _line(strange, State.MISSING, found, as_json=False)
        assert not set(line) & HARMFUL and "\n" not in line
        assert json.loads(_line(strange, State.MISSING, found, as_json=True))["cell"] == strange.title
