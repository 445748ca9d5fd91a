"""``bench new``: writes a plug-in that runs, with its contract explained."""

from __future__ import annotations

import datetime
import keyword
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from bench.api.errors import UsageError
from bench.search_path import channel_names

if TYPE_CHECKING:
    from bench.api.cards import Kind

_TEMPLATES = Path(__file__).with_name("templates")
_SHA256 = "20def7f70a702f0af9732fbba4375e147a7d54fe70d8c45569b8e7c1c7010c10"
"""Of the digits that the data set's template reads."""


@click.command(short_help="Write a plug-in that runs, to be changed.")
@click.argument("kind", type=click.Choice(["attack", "defense", "dataset"]))
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Put it into DIR/<kind>s/NAME.  [default: this checkout, else the working folder]",
)
@click.option(
    "--channel",
    type=click.Choice([*channel_names()]),
    default="gradients",
    show_default=True,
    help="What it attacks or defends.",
)
@click.option("--author", default="you", show_default=True, help="For card.toml.")
def new(*, kind: Kind, name: str, path: Path | None, channel: str, author: str) -> None:
    """Writes the folder of a new attack, defense or data set: code that runs and a filled card.

    The code explains its contract; change it into yours, then let bench check prove it.
    """
    from bench.plugins import FOLDERS

    root = path or _home()
    folder = root / FOLDERS[kind] / name
    _check_name(kind, name, folder)
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "classname": "".join(part[:1].upper() + part[1:] for part in name.split("_")),
        "author": author.replace("\\", "").replace('"', "'"),
        "year": str(datetime.date.today().year),
        "sha256": _SHA256,
    }
    code, card = _templates(kind, channel)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in ((folder / f"{kind}.py", code), (folder / "card.toml", card)):
        file.write_text(Template(text).substitute(words), encoding="utf-8")
        click.echo(f"wrote {_short(file)}")
    click.echo(_next_steps(kind, name, folder, root))


def _home() -> Path:
    """The checkout, if the user stands in it; the working folder otherwise."""
    from bench.search_path import checkout

    place, here = checkout(), Path.cwd()
    return place if place is not None and here.resolve().is_relative_to(place) else here


def _check_name(kind: Kind, name: str, folder: Path) -> None:
    from bench.plugins import discover

    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower() or name.startswith("_"):
        raise UsageError(f"{name!r}: write a name in small letters, digits and underscores, like my_{kind}")
    found = discover(kind)
    if name in found.plugins or name in found.broken:
        where = found.plugins[name].folder if name in found.plugins else "the plug-in path"
        raise UsageError(f"{kind} {name} is there already ({where}): choose another name")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: choose another name, or remove it")


def _templates(kind: Kind, channel: str) -> tuple[str, str]:
    """Code and card; attacks on all gradients have one card but for their channel."""
    leaked = channel == "client_gradients"
    if kind != "dataset" and channel == "malicious":
        raise UsageError(
            "--channel malicious: begin with a copy of attacks/imprint; defenses are those of gradients"
        )
    if kind == "defense" and leaked:
        raise UsageError(
            "--channel client_gradients: a defense of split learning is one set of hooks for all that its "
            "clients send: use --channel smashed, and name both channels in card.toml"
        )
    stem = kind if kind == "dataset" else f"{kind}.{channel}"
    carded = f"{kind}.gradients" if leaked else stem
    code = (_TEMPLATES / f"{stem}.py.txt").read_text(encoding="utf-8")
    card = (_TEMPLATES / f"{carded}.toml").read_text(encoding="utf-8")
    return code, card.replace('["gradients"]', f'["{channel}"]') if leaked else card


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _next_steps(kind: Kind, name: str, folder: Path, root: Path) -> str:
    from bench.search_path import search_path

    option = {"attack": "-a", "defense": "-d", "dataset": "-D"}[kind]
    lines = ["next:"]
    if str(folder.parent.absolute()) not in search_path(folder.parent.name):
        lines.append(f"  export BENCH_PLUGIN_PATH={root.absolute()}")
    lines += [
        f"  bench check {_short(folder)}",
        f"  bench run --matrix smoke {option} {name} --out runs/{name}",
    ]
    return "\n".join(lines)
