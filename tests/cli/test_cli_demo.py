from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.matrix import expand, load_matrix
from tests.world import bench


@dataclass(frozen=True)
class Ended:
    exit_code: int


@pytest.mark.parametrize(
    ("code", "flags", "shown"), [(0, (), True), (1, (), True), (0, ("--no-open",), False)]
)
def test_it_runs_its_matrix_and_opens_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, flags: tuple[str, ...], shown: bool
) -> None:
    opened: list[str] = []

    def run(matrix: str, *, out: Path, **_: object) -> Ended:
        assert matrix == "demo" and out == tmp_path / "out"
        out.mkdir()
        (out / "index.html").write_text("page")
        return Ended(code)

    monkeypatch.setattr("bench.confirm.run_confirmed", run)
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    result = bench("demo", "--out", tmp_path / "out", *flags)
    assert result.exit_code == code
    page = tmp_path / "out" / "index.html"
    assert opened == ([page.as_uri()] if shown else [])
    assert str(page) in result.stdout.replace("\n", "")


def test_its_matrix_is_small_and_on_images_that_are_here() -> None:
    cells = expand(load_matrix("demo"))
    assert {cell.dataset.name for cell in cells} == {"mnist5k"}
    assert not any(cell.incompatible for cell in cells)
    assert {cell.defense.name for cell in cells} > {"none"} and len(cells) < 10
