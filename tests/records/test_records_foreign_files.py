"""Folders of somebody else: pipes, links, bombs and missing rows stop nobody and carry nothing away."""

from __future__ import annotations

import errno
import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cache.keys import Identity
from bench.execute.folder.merge import merge
from bench.matrix import Cell
from bench.records import rows
from bench.records.files import DiskFullError, read_regular, write_atomic
from bench.records.outcome import Failure, Outcome, failed
from bench.records.record import Status
from bench.records.results import Results
from bench.report.frames import read_results

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def theirs(cells: list[Cell], tmp_path: Path) -> Path:
    """A results folder with a picture beside every record."""
    results = Results(tmp_path / "theirs")
    for cell in cells:
        failure = Failure(status=Status.FAILED, reason="it was so")
        outcome = failed(cell, Identity("cpu").keys(cell), failure, device="cpu")
        results.commit(Outcome(outcome.record, outcome.rows, PNG))
    results.fold()
    return results.folder


def _merged(theirs: Path) -> tuple[int, dict[str, bytes], list[str]]:
    told: list[str] = []
    out = theirs.parent / "ours"
    found = merge([theirs], out, warn=told.append)
    return found.added, {path.name: path.read_bytes() for path in out.glob("sheets/*")}, told


def _link(path: Path) -> None:
    secret = path.parents[1] / "secret.png"
    secret.write_bytes(PNG)
    path.unlink()
    path.symlink_to(secret)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _text(path: Path) -> None:
    path.write_bytes(b"no picture")


def _huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("spoil", [_link, _pipe, _text, _huge])
def test_what_is_no_picture_is_not_taken_along(spoil: Callable[[Path], None], theirs: Path) -> None:
    first, *others = sorted(theirs.glob("sheets/*.png"))
    spoil(first)
    added, sheets, told = _merged(theirs)
    assert added == len(others) + 1, "its record is sound"
    assert sheets.keys() == {path.name for path in others}
    assert len(told) == 1 and f"sheets/{first.name}: left out" in told[0]


@pytest.mark.parametrize("spoil", [_pipe, _huge])
@pytest.mark.parametrize("which", ["records/*.json", "images.csv.gz"])
def test_no_reader_waits_for_a_pipe_or_fills_the_memory(
    which: str, spoil: Callable[[Path], None], theirs: Path
) -> None:
    path = sorted(theirs.glob(which))[0]
    spoil(path)
    added, _, told = _merged(theirs)
    assert added == (0 if which == "images.csv.gz" else len(list(theirs.glob("records/*"))) - 1)
    assert any(text.startswith(str(path)) for text in told)
    assert path.name in read_results(theirs).problems[0]


def test_a_small_file_that_unpacks_to_more_than_any_memory_is_refused(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_BYTES", 1 << 20)
    text = gzip.decompress((theirs / "images.csv.gz").read_bytes())
    (theirs / "images.csv.gz").write_bytes(gzip.compress(text + b"\n" * (1 << 22)))
    added, _, told = _merged(theirs)
    assert added == 0 and "1048576" in told[0]
    problem, *_ = read_results(theirs).problems
    assert problem.startswith("images.csv.gz: ") and str(theirs) not in problem


def test_altered_rows_are_none(theirs: Path) -> None:
    text = gzip.decompress((theirs / "images.csv.gz").read_bytes())
    (theirs / "images.csv.gz").write_bytes(gzip.compress(text.replace(b"it was so", b"it was not", 1)))
    whole = len(list(theirs.glob("records/*.json"))) - 1
    added, _, (told,) = _merged(theirs)
    assert added == whole and told.startswith(f"{theirs / 'images.csv.gz'}: ")
    results = read_results(theirs)
    assert len(results.cells) == whole and len(results.problems) == 1


def test_a_link_to_a_results_file_is_followed_but_for_pictures(theirs: Path) -> None:
    """Tools that keep large files elsewhere put links in their place."""
    path = sorted(theirs.glob("records/*.json"))[0]
    moved = path.rename(theirs / "elsewhere.json")
    path.symlink_to(moved)
    assert _merged(theirs)[0] == len(list(theirs.glob("records/*.json")))


def test_a_regular_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="4 bytes"):
        read_regular(path, 4)
    with pytest.raises(OSError, match="regular"):
        read_regular(tmp_path, 4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 4)


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_is_named(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DiskFullError, match=re.escape(str(tmp_path))) as caught:
        write_atomic(path, b"new")
    assert caught.value.code == code
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
