"""``bench check``: does a plug-in, or a model of the user, keep its contract?"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.check.findings import Checklist
    from bench.check.place import Subject


@click.command(short_help="Prove that a plug-in keeps its contract.")
@click.argument("targets", nargs=-1, required=True, metavar="NAME|PATH...")
@click.option("-D", "--data", default="", metavar="NAME", help="Images to try a model on; else digits.")
@click.option("--without", multiple=True, metavar="PROMISE", help="Leave a promise out, such as floor.")
@click.option("--json", "as_json", is_flag=True, help="Print the checklists as JSON.")
def check(targets: tuple[str, ...], data: str, without: tuple[str, ...], as_json: bool) -> None:
    """Tries every promise of a plug-in on small real data and prints a checklist with fixes.

    NAME is an attack, defense or data set that bench list shows, with parameters if need be: noise,
    'folder[path=photos]'. PATH is a plug-in's folder, which may lie anywhere. A model of your own is
    tried by the name that -m would take: nets:mlp, network.pt2, 'lenet[weights=start.pt]'.

    Exit codes: 0 all promises hold, 1 one is broken, 2 usage.
    """
    lists: list[Checklist] = []
    for target in targets:
        for found in _checked(target, data, without):
            lists.append(found)
            if not as_json:
                click.echo(printable(found.to_text()) + "\n")
    if as_json:
        click.echo(json.dumps([found.to_json() for found in lists], indent=2))
    click.get_current_context().exit(0 if all(found.sound for found in lists) else 1)


def printable(text: str) -> str:
    """Lines as they are, without control characters: messages come from other people's code."""
    return "".join(char for char in text if char == "\n" or unicodedata.category(char)[0] != "C")


def _checked(target: str, data: str, without: tuple[str, ...]) -> Iterator[Checklist]:
    from bench.api.errors import unknown
    from bench.check.place import at, subjects

    if _is_model(target):
        from bench.check.model import check_model

        yield check_model(target, data)
        return
    from bench.check.promises import plain, promises_of
    from bench.check.run import check as check_plugin

    with ExitStack() as stack:
        found: list[Subject] = (
            [stack.enter_context(at(Path(target)))] if is_path(target) else subjects(target)
        )
        known = {form for subject in found for name in promises_of(subject) for form in (name, plain(name))}
        for name in without:
            if name not in known:
                raise unknown("promise", name, known)
        for subject in found:
            yield check_plugin(subject, without=without, tell=tell)


def is_path(target: str) -> bool:
    """Whether the user names a folder rather than a plug-in."""
    if "[" in target:
        return False
    forms = ("attack.py", "defense.py", "dataset.py", "card.toml")
    return "/" in target or any(Path(target, form).is_file() for form in forms)


def _is_model(target: str) -> bool:
    from bench.models.names import MODELS

    head = target.partition("[")[0]
    return ":" in head or head.endswith(".pt2") or head in MODELS


def tell(promise: str) -> None:
    """Where a person watches, says what is being tried; the line is overwritten by the next."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K  trying {promise} ...\r", nl=False, err=True)
