"""``bench doctor``: is this machine ready, and if not, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import click

from bench.cli.text import clean, clean_lines

Level = Literal["ok", "optional", "warn", "FAIL"]
_TOGETHER = "install both with one command: pip install 'torch>=2.9' 'torchvision>=0.24'"
_REPORT = "this is a bug of bench: report it with this line"
_MB = 1024**2
_TIGHT_MB, _FULL_MB = 2048, 100
_FIRST_RUN = "bench run --matrix smoke"
_AFTER_FIXES = "correct what says FAIL, then: bench doctor"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    level: Level
    what: str
    detail: str
    fix: str = ""


@click.command(short_help="Whether this machine is ready, and what to do if it is not.")
def doctor() -> None:
    """Checks Python, torch, devices, LPIPS weights, plug-ins, data sets and cache; exit code 1 on FAIL.

    What is optional, such as a data set whose files are not here, is no fault.
    """
    failed = False
    for section in (_python, _libraries, _devices, _lpips, _plugins, _datasets, _priors, _cache):
        checks = _guarded(section)
        failed |= any(check.level == "FAIL" for check in checks)
        for check in checks:
            click.echo(_line(check))
    click.echo(f"\nnext: {_AFTER_FIXES if failed else _FIRST_RUN}")
    click.get_current_context().exit(1 if failed else 0)


def _line(check: Check) -> str:
    indent = " " * 10
    lines = [
        f"{check.level:8}  {clean(check.what)}: {clean_lines(check.detail)}".replace("\n", f"\n{indent}")
    ]
    if check.fix:
        lines.append(f"{indent}fix: {clean(check.fix)}")
    return "\n".join(lines)


def _guarded(section: Callable[[], Iterator[Check]]) -> list[Check]:
    """A section's checks; one that breaks is a line too, not the end of the report."""
    checks: list[Check] = []
    try:
        checks.extend(section())
    except Exception as error:
        name = section.__name__.strip("_")
        checks.append(Check("FAIL", name, f"{type(error).__name__}: {error}", _REPORT))
    return checks


def _python() -> Iterator[Check]:
    yield Check("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def _libraries() -> Iterator[Check]:
    for name in ("torch", "torchvision"):
        try:
            module = import_module(name)
        except Exception as error:  # a broken binary raises whatever it likes
            yield Check("FAIL", name, f"does not import: {type(error).__name__}: {error}", _TOGETHER)
        else:
            yield Check("ok", name, str(module.__version__))


def _devices() -> Iterator[Check]:
    try:
        import torch
    except Exception:
        yield Check("warn", "devices", "unknown without torch")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory // _MB
        yield Check("ok", f"device cuda:{index}", f"{properties.name}, {memory} MB")
    if not count:
        yield Check("ok", "device cpu", "no CUDA device: everything runs on the CPU")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    omp = os.environ.get("OMP_NUM_THREADS", "not set")
    yield Check(
        "ok", "threads", f"{cores} cores, torch uses {torch.get_num_threads()}, OMP_NUM_THREADS {omp}"
    )


def _lpips() -> Iterator[Check]:
    from bench.metrics.lpips_weights import FIX, weights_status

    line = weights_status("alex")
    if line.startswith("lpips alex: ok"):
        yield Check("ok", "LPIPS weights", line)
    else:
        yield Check("warn", "LPIPS weights", f"{line}: the column will be n/a", FIX)


def _plugins() -> Iterator[Check]:
    from bench.plugins import FOLDERS, discover

    for kind, folder in FOLDERS.items():
        found = discover(kind)
        yield Check("ok", folder, f"{len(found.plugins)} found")
        for name, problem in sorted(found.broken.items()):
            yield Check("FAIL", f"{kind} {name}", problem, "correct the file, or remove the folder")


def _datasets() -> Iterator[Check]:
    from bench.api.errors import BenchError, DataMissing
    from bench.plugins import build_dataset, dataset_card, discover

    yield _data_folder()
    for name, plugin in sorted(discover("dataset").plugins.items()):
        card = dataset_card(name)
        if yours := [key for key, item in card.parameters.items() if item.path and not card.sha256]:
            named = ", ".join(f"{key}=..." for key in yours)
            yield Check("optional", f"dataset {name}", f"files of your own, with {name}[{named}]")
            continue
        try:
            splits = build_dataset(name, {}).splits(seed=0)
            sizes = [len(part) for part in (splits.private_train, splits.private_test, splits.auxiliary)]
        except DataMissing as error:
            yield Check("optional", f"dataset {name}", str(error))
        except BenchError as error:
            yield Check("FAIL", f"dataset {name}", str(error), f"see: bench show {name}")
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            yield Check("FAIL", f"dataset {name}", detail, f"correct {plugin.folder / 'dataset.py'}")
        else:
            parts = "{} private training, {} private test, {} auxiliary images".format(*sizes)
            yield Check("ok", f"dataset {name}", f"sha256 ok, {parts}")


def _priors() -> Iterator[Check]:
    from bench.models.weights import EMBEDDERS, GENERATORS, Shipped

    shipped: dict[str, tuple[Shipped, ...]]
    shipped = {f"generator {name}": (weights,) for name, weights in GENERATORS.items()}
    shipped |= {f"second evaluator {name}": files for name, files in EMBEDDERS.items()}
    for name, files in shipped.items():
        why = next((why for file in files if (why := file.missing())), "")
        yield Check("optional" if why else "ok", name, why or f"sha256 ok, {files[0].source}")


def _data_folder() -> Check:
    from bench.api.data import ENVIRONMENT_VARIABLE, data_folder
    from bench.api.errors import UsageError

    try:
        folder = data_folder()
    except UsageError as error:
        return Check(
            "FAIL", "data folder", str(error), f"set {ENVIRONMENT_VARIABLE} to a folder, or unset it"
        )
    if folder is None:
        return Check(
            "optional", "data folder", f"{ENVIRONMENT_VARIABLE} is not set: it may name a folder of data sets"
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return Check("ok", "data folder", f"{folder.absolute()}: {', '.join(names) or 'nothing'}")


def _cache() -> Iterator[Check]:
    from bench.records.files import default_cache

    folder = default_cache().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    fix = "set BENCH_CACHE to a folder that can be written and has room"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Check("FAIL", "cache", f"{folder}: {error.strerror or error}", fix)
        return
    yield _space(folder, existing, fix)


def _space(folder: Path, existing: Path, fix: str) -> Check:
    free = shutil.disk_usage(existing).free // _MB
    level: Level = "FAIL" if free < _FULL_MB else "warn" if free < _TIGHT_MB else "ok"
    return Check(level, "cache", f"{folder}: can be written, {free} MB free", "" if level == "ok" else fix)
