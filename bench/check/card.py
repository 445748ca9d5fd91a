"""What can be said of a plug-in from its files: its card, its imports, its constructor."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.api.errors import PluginError
from bench.check.findings import Broken, Note, Skipped
from bench.check.place import Subject
from bench.plugins import FOLDERS, build_attack, build_dataset, build_defense, find
from bench.search_path import ENVIRONMENT_VARIABLE

_ALLOWED = ("api", "engine", "models")
_BUILD = {"attack": build_attack, "defense": build_defense, "dataset": build_dataset}
_TEMPLATE = "written by bench new"
_PATIENCE = 120
_IMPORT = """
import random, sys
import numpy, torch
before = (torch.random.get_rng_state().clone(), random.getstate(), numpy.random.get_state()[1].tobytes())
import importlib
importlib.import_module(sys.argv[1])
after = (torch.random.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tobytes())
if not torch.equal(before[0], after[0]) or before[1:] != after[1:]:
    sys.exit("MOVED")
if torch.cuda.is_initialized():
    sys.exit("CUDA")
"""


def build(subject: Subject) -> Any:
    """The plug-in, constructed."""
    return _BUILD[subject.kind](subject.name, subject.parameters)


def valid_card(subject: Subject) -> str:
    """card.toml is complete and every field is valid."""
    try:
        card = find(subject.kind, subject.name).card
    except PluginError as error:
        raise Broken(str(error), "docs/cards.md says what each field of a card means") from None
    if _TEMPLATE in card.notes or _TEMPLATE in card.paper:
        raise Note(
            "valid, but it still holds the words of the template",
            "say in card.toml which paper this is and how it deviates from it",
        )
    return f"valid: {card.title} ({card.year})"


def imports(subject: Subject) -> str:
    """It imports in a fresh process, from nothing but the contracts, and changes nothing by that."""
    for file in sorted(subject.folder.rglob("*.py")):
        _check_imports(file, subject)
    module = f"bench.{FOLDERS[subject.kind]}.{subject.name}.{subject.kind}"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", ENVIRONMENT_VARIABLE: _path()}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _IMPORT, module],
            capture_output=True, text=True, env=environment, timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Broken(
            f"importing it takes more than {_PATIENCE} seconds", "do the work inside the methods"
        ) from None
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    if last == "MOVED":
        raise Broken(
            "importing it draws from global random state", "draw inside the methods, from their seed"
        )
    if last == "CUDA":
        raise Broken("importing it starts CUDA", "create tensors inside the methods, on the given device")
    if done.returncode:
        raise Broken(f"importing it alone fails: {last}", "import what it uses, and install what it imports")
    if done.stdout.strip():
        raise Broken(
            f"importing it prints {done.stdout.strip()[:60]!r}", "remove print from the module level"
        )
    return "imports alone, from the contracts only"


def _path() -> str:
    return os.environ.get(ENVIRONMENT_VARIABLE, "")


def _check_imports(path: Path, subject: Subject) -> None:
    """Refuses what one file imports of the harness."""
    file = path.relative_to(subject.folder)
    package = ".".join(("bench", FOLDERS[subject.kind], subject.name, *file.parent.parts))
    for line, module in _imported(path, package):
        parts = module.split(".")
        if parts[0] == "bench" and len(parts) > 1 and parts[1] not in (*_ALLOWED, FOLDERS[subject.kind]):
            raise Broken(
                f"{file}, line {line}, imports {module}",
                "a plug-in imports bench.api, bench.engine and bench.models; what it needs of the harness is "
                "in its arguments",
            )


def _imported(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports which lies in ``package``."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise Broken(f"{path}, line {error.lineno}: {error.msg}", "correct the syntax") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            source = ".".join([*above, node.module] if node.module else above)
            inner = (f"{source}.{item.name}" for item in node.names)
            yield from ((node.lineno, name) for name in (inner if source == "bench" else (source,)))


def constructor(subject: Subject) -> str:
    """One class, whose keyword-only arguments are the card's parameters with the same defaults."""
    try:
        built = build(subject)
    except PluginError as error:
        raise Broken(str(error), "see the contract in bench.api") from None
    arguments = inspect.signature(type(built)).parameters
    loose = [name for name, item in arguments.items() if item.kind is not inspect.Parameter.KEYWORD_ONLY]
    if loose:
        raise Broken(
            f"{type(built).__name__}: {', '.join(loose)} can be given by position",
            "write them after a bare *: def __init__(self, *, ...)",
        )
    declared = {key: item.default for key, item in find(subject.kind, subject.name).card.parameters.items()}
    own = {name: item.default for name, item in arguments.items()}
    for key in sorted({*declared, *own}):
        if (key in declared) != (key in own):
            where = "card.toml declares" if key in declared else f"{subject.kind}.py takes"
            raise Broken(f"only {where} the parameter {key}", "declare it in both, with the same default")
        if (type(own[key]), own[key]) != (type(declared[key]), declared[key]):
            raise Broken(
                f"{key} is {own[key]!r} in {subject.kind}.py and {declared[key]!r} in card.toml",
                "give both the same default",
            )
    return f"{len(own)} keyword-only parameters, as the card declares them" if own else "takes no parameters"


def every_value(subject: Subject) -> str:
    """It can be built with every choice, and at both ends of every declared range."""
    card, tried = find(subject.kind, subject.name).card, 0
    if not card.parameters:
        raise Skipped("has no parameters")
    for key, item in card.parameters.items():
        ends = [type(item.default)(end) for end in (item.minimum, item.maximum) if end is not None]
        for value in [] if item.path else [*item.choices, *ends]:
            try:
                _BUILD[subject.kind](subject.name, {**subject.parameters, key: value})
            except Exception as error:
                raise Broken(
                    f"cannot be built with {key}={value!r}, which the card allows: {error}",
                    "narrow minimum, maximum or choices in card.toml, or accept the value",
                ) from None
            tried += 1
    return f"built with {tried} declared values"
