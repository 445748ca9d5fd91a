"""What a user can do wrong around the program: one line that says where and what helps, and exit code 2."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import Result

from bench.api.errors import UsageError
from bench.execute.writable import make_writable
from bench.records.files import DiskFullError
from tests.api.plugin_folders import Folders
from tests.cli.test_cli_main import failing, python
from tests.world import bench


def refused(result: Result, *facts: str) -> None:
    assert result.exit_code == 2, result.output
    assert re.fullmatch(r"error: .*\n", result.stderr), result.stderr
    assert all(fact in result.stderr for fact in facts), result.stderr


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["rnu"], ["'run'"]),
        (["run", "--sedes", "0"], ["bench run", "'--seeds'"]),
        (["run", "--matrix", "smoke", "--limit", "none"], ["bench run", "--limit"]),
        (["run"], ["bench run", "--matrix"]),
        (["data", "lits"], ["bench data", "'list'"]),
        (["--verison"], ["'--version'"]),
        (["audit", "noise=0.1"], ["--strength"]),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], facts: list[str]) -> None:
    refused(bench(*arguments), *facts)


def test_without_arguments_there_is_help() -> None:
    assert "Commands:" in bench().output


@pytest.mark.parametrize("place", ["out", "cache"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_where_a_folder_should_be(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, below: str
) -> None:
    (tmp_path / "file").touch()
    wrong, out = tmp_path / "file" / below, tmp_path / "out"
    if place == "cache":
        monkeypatch.setenv("BENCH_CACHE", str(wrong))
    else:
        out = wrong
    result = bench("run", "--matrix", folders.matrix(), "--out", out, "--dry-run", "--device", "cpu")
    refused(result, str(tmp_path / "file"), "BENCH_CACHE" if place == "cache" else "--out")


def test_a_name_that_no_file_system_takes(folders: Folders, tmp_path: Path) -> None:
    result = bench("run", "--matrix", folders.matrix(), "--out", tmp_path / ("a" * 300), "--dry-run")
    refused(result, "--out")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_folder_that_cannot_be_made_is_said_before_anything_runs(folders: Folders, tmp_path: Path) -> None:
    result = bench("run", "--matrix", folders.matrix(), "--out", "/proc/none/here", "--device", "cpu")
    refused(result, "/proc/none/here", "--out")
    refused(bench("new", "attack", "mine", "--path", "/proc/none"), "/proc/none")


def test_a_folder_that_an_earlier_run_has_left_unwritable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    (tmp_path / "out" / "records").mkdir(parents=True)
    codes, real = [errno.EACCES], tempfile.TemporaryFile

    def attempted(*, dir: Path) -> object:
        if dir.name == "records":
            raise OSError(codes[0], os.strerror(codes[0]))
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", attempted)
    with pytest.raises(UsageError, match="records cannot be written"):
        make_writable(tmp_path / "out", tmp_path / "cache")
    codes[0] = errno.ENOSPC
    with pytest.raises(DiskFullError, match="no space"):
        make_writable(tmp_path / "out", tmp_path / "cache")
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize(
    ("error", "code", "fact"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 2, "rights"),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), 2, "/data/x"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/x"), 2, "/data/x"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "free space"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "free space"),
        (DiskFullError.at(Path("/data/x"), errno.EROFS), 2, "read-only"),
        (DiskFullError.at(Path("/data/x"), errno.ENOSPC), 1, "free space"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, code: int, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = failing(error, monkeypatch)
    assert result.exit_code == code
    assert re.fullmatch(r"error: .*\n", result.stderr) and fact in result.stderr


def test_a_file_of_ours_that_is_missing_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.cli

    gone = Path(bench.cli.__file__).with_name("gone.txt")
    result = failing(FileNotFoundError(errno.ENOENT, "No such file or directory", str(gone)), monkeypatch)
    assert isinstance(result.exception, FileNotFoundError)


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"\xff.toml")
    refused(bench("run", "--matrix", odd), "argument 3", r"\udcff")
    monkeypatch.setenv("BENCH_CACHE", odd)
    refused(bench("list", "models"), "$BENCH_CACHE")
    monkeypatch.delenv("BENCH_CACHE")
    folder = tmp_path / os.fsdecode(b"\xfe")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    monkeypatch.chdir(folder)
    refused(bench("list", "models"), "working folder")


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    refused(bench("list", "models"), "working folder")


def test_without_a_home_folder_a_path_below_it_is_refused_where_it_is_needed(folders: Folders) -> None:
    arguments = ("-m", "bench.cli.main", "run", "--matrix", str(folders.matrix()), "--dry-run")
    found = python(*arguments, BENCH_CACHE="~nobody-of-that-name/x")
    assert found.returncode == 2
    assert re.fullmatch(r"error: .*~nobody-of-that-name/x.*BENCH_CACHE.*\n", found.stderr)
    listed = python("-m", "bench.cli.main", "list", "models", BENCH_PLUGIN_PATH="~nobody-of-that-name/x")
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_matrix_file_may_begin_with_a_byte_order_mark(folders: Folders, tmp_path: Path) -> None:
    text = folders.matrix().read_bytes()
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "utf16.toml").write_bytes(text.decode().encode("utf-16"))
    assert bench("show", tmp_path / "marked.toml").exit_code == 0
    refused(bench("show", tmp_path / "utf16.toml"), "utf16.toml", "UTF-8")
    (tmp_path / "folder.toml").mkdir()
    refused(bench("show", tmp_path / "folder.toml"), "folder.toml")


def test_records_that_may_not_be_read_are_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    records.mkdir()

    there = os.listdir

    def listed(path: Path) -> list[str]:
        if Path(path) != records:  # the patch reaches every module
            return there(path)
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("bench.records.results.os.listdir", listed)
    refused(bench("report", tmp_path), str(records), "rights")
    refused(bench("status", tmp_path, "--matrix", "smoke", "--device", "cpu"), str(records), "rights")
