"""What a plug-in's words may do to the terminal of who runs it: nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from bench.execute.plan import State
from bench.execute.progress import display
from bench.execute.progress.bar import Bar
from bench.execute.progress.display import Plain, Progress, trainings
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


def test_long_trainings_are_told_round_by_round(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shown = Plain()
    under_way = Progress(total=4, running=("victim a", "cell b"), rounds=((30, 120), None))
    shown.update(under_way)
    assert capsys.readouterr().out == "", "a short training says nothing"
    clock[0] += 20
    shown.update(under_way)
    shown.update(under_way)
    assert capsys.readouterr().out == "[0/4] training victim a: round 30 of 120 (25%), ETA ?\n"
    assert trainings(under_way) == ["victim a: round 30 of 120 (25%)", "cell b"]
    clock[0] += 20
    shown.update(replace(under_way, rounds=(None, None)))
    assert capsys.readouterr().out == ""


def test_what_is_not_applicable_has_no_place_in_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Plain()
    for _ in range(3):
        shown.finished("a", "incompatible", "why", 0.0, Progress(total=0))
    shown.finished("b", "done", "", 1.0, Progress(total=1, done=1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("n/a a") and lines[1].startswith("[1/1] done")


@pytest.fixture
def strange(cells: list[Cell]) -> Iterator[Cell]:
    yield replace(cells[0], attack=replace(cells[0].attack, label=EVIL), incompatible=EVIL)


def test_a_dry_run_shows_no_control_characters(strange: Cell) -> None:
    cost = Estimate(1.0, 1.0, None, (), 5, exact=True)
    for found in (None, cost):
        line = _line(strange, State.MISSING, found, as_json=False)
        assert not set(line) & HARMFUL and "\n" not in line
        assert json.loads(_line(strange, State.MISSING, found, as_json=True))["cell"] == strange.title
