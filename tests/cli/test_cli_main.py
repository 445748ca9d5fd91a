from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import click
import pytest
from click.testing import Result

from bench import __version__
from bench.api.errors import BenchError, PluginError, UsageError
from tests.api.plugin_folders import Folders
from tests.world import bench

COMMANDS = ["doctor", "list", "report", "run", "show", "status"]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """What `bench run` prints when the run raises this."""

    def run_matrix(*_: object, **__: object) -> None:
        raise error

    module = ModuleType("bench.confirm")
    module.run_confirmed = run_matrix  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.confirm", module)
    return bench("run", "--matrix", "mine", "--out", "here")


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'pandas', 'rich', 'numpy', 'pydantic', 'matplotlib', 'scipy', 'jinja2'}"
    code = (
        "import sys; from bench.cli.main import main; main(['--help'], standalone_mode=False); "
        f"print({heavy} & set(sys.modules), file=sys.stderr)"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("what", ["attacks", "defenses", "datasets", "models", "matrices"])
def test_listing_loads_no_torch(folders: Folders, what: str) -> None:
    code = (
        "import sys; from bench.cli.main import main; main(['list', sys.argv[1]], standalone_mode=False); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    assert python("-c", code, what).stderr == "False\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = bench(command, "-h")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


def test_the_version_is_that_of_the_distribution() -> None:
    assert bench("--version").output == f"bench {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("thing"), 2), (PluginError("thing"), 2), (BenchError("thing"), 1)],
)
def test_the_project_s_own_errors_are_one_message(
    error: BenchError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = failing(error, monkeypatch)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "error: thing\n")


def test_an_error_of_several_lines_keeps_them_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing(UsageError("a: \x1b[31mred\x07\n\nb:\u202e\ttab\r"), monkeypatch)
    assert result.stderr == "error: a: [31mred\nb: tab\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_130(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing(error, monkeypatch)
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing(ZeroDivisionError("a bug"), monkeypatch)
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run"], ["list", "cats"], ["show"]])
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_usage_error_of_a_real_process_has_no_traceback() -> None:
    done = python("-m", "bench.cli.main", "run", "--matrix", "no-such-matrix")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "'no-such-matrix'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_of_a_real_process_is_130() -> None:
    code = """
import sys, time, types
run = sys.modules["bench.confirm"] = types.ModuleType("bench.confirm")
run.run_confirmed = lambda *_, **__: (print("ready", flush=True), time.sleep(30))
from bench.cli.main import main
main(["run", "--matrix", "mine", "--out", "there"])
"""
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_a_terminal_without_utf_8_is_no_reason_to_crash(folders: Folders) -> None:
    folders.add("attack", "guess", {"title": "Digits 数"})
    done = python("-m", "bench.cli.main", "show", "guess", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert "Digits ?" in done.stdout


def test_a_pipe_that_closes_early_is_no_traceback() -> None:
    arguments = [sys.executable, "-m", "bench.cli.main", "list", "models"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
