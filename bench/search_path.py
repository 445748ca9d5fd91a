"""Where plug-ins live: the folders behind `bench.attacks`, `bench.defenses` and `bench.datasets`.

Plug-ins sit in folders named after their kind. Five places can hold them, the first match wins:

1. each entry of `$BENCH_PLUGIN_PATH`, in order (separated like `$PATH`);
2. the checkout, when `bench` is imported from one (editable install, or a source tree on the path);
3. the wheel, which carries the checkout's folders inside the `bench` package;
4. packages that other installed distributions name in their entry points of the group `bench.attacks`,
   `bench.defenses` or `bench.datasets`: the folder of such a package holds plug-in folders;
5. the working folder, so that what `bench new` has written there is found by its name. It comes last: no
   folder that somebody happens to stand in replaces a plug-in that is installed.

The shims `bench/<kind>/__init__.py` set their `__path__` to this list, so that one spelling,
`from bench.attacks.dlg.attack import ...`, works everywhere and plug-in classes pickle by name, without
top-level packages called `attacks` or `datasets`.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ENVIRONMENT_VARIABLE = "BENCH_PLUGIN_PATH"

_PACKAGE = Path(__file__).resolve().parent
_PROJECT_LINE = 'name = "inversion-bench"'


def search_path(kind: str) -> list[str]:
    """Return the folders that may hold plug-ins of one kind, the one that wins first.

    Args:
        kind: `"attacks"`, `"defenses"` or `"datasets"`.

    Returns:
        Absolute paths. All exist, except perhaps the folder in the `bench` package.
    """
    here = working_folder(kind)
    return [*_named(kind), *([] if here is None else [str(here)])]


def working_folder(kind: str) -> Path | None:
    """Return the plug-in folder of the working folder, if there is one and nothing else leads there.

    What it holds may be anybody's: the user has only happened to stand there.

    Args:
        kind: `"attacks"`, `"defenses"` or `"datasets"`.
    """
    folder = Path.cwd() / kind
    return folder if folder.is_dir() and str(folder) not in _named(kind) else None


def _named(kind: str) -> list[str]:
    """Return the places that the user, the checkout, the wheel or an installed distribution names."""
    entries = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    folders = [Path(os.path.expanduser(entry)).absolute() / kind for entry in entries if entry]
    if (place := checkout()) is not None:
        folders.append(place / kind)
    found = [folder for folder in folders if folder.is_dir()]
    installed, _ = entry_folders(kind)
    return list(dict.fromkeys(str(folder) for folder in [*found, _PACKAGE / kind, *installed]))


@cache
def entry_folders(kind: str) -> tuple[tuple[Path, ...], dict[str, str]]:
    """Find the folders that installed distributions name, without importing anybody's code.

    Args:
        kind: `"attacks"`, `"defenses"` or `"datasets"`.

    Returns:
        The folders, sorted by the names of their entry points, and what is wrong with the others by name.
    """
    from importlib.metadata import entry_points  # late: `bench --help` must answer at once

    folders: list[Path] = []
    problems: dict[str, str] = {}
    for point in sorted(entry_points(group=f"bench.{kind}")):
        folder = _package_folder(point.value)
        if folder is not None:
            folders.append(folder)
        else:
            owner = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed distribution"
            problems[point.name] = (
                f"{owner}: entry point {point.name} of bench.{kind}: {point.value!r} is no package; name the "
                "package whose folder holds plug-in folders"
            )
    return tuple(folders), problems


def _package_folder(package: str) -> Path | None:
    """Return the folder of a package; only its top level is looked up, so that no code runs."""
    top, *rest = package.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location).joinpath(*rest)
        if folder.is_dir():
            return folder.absolute()
    return None


def checkout() -> Path | None:
    """Return this project's source tree, if `bench` is imported from one."""
    return _PACKAGE.parent if _is_checkout(_PACKAGE.parent) else None


def _is_checkout(folder: Path) -> bool:
    """Tell whether a folder is this project's source tree, not a stranger's with the package copied in."""
    try:
        lines = (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return _PROJECT_LINE in lines


def channel_folders() -> list[str]:
    """Return the folders that hold channels, one file each: of `$BENCH_PLUGIN_PATH`, then the package's."""
    entries = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    folders = [Path(os.path.expanduser(entry)).absolute() / "channels" for entry in entries if entry]
    return [str(folder) for folder in [*folders, _PACKAGE / "channels"] if folder.is_dir()]


def channel_names() -> tuple[str, ...]:
    """Return the names of all channels, sorted, without importing one."""
    return _channel_names(tuple(channel_folders()))


@cache
def _channel_names(folders: tuple[str, ...]) -> tuple[str, ...]:
    found = {path.stem for folder in folders for path in Path(folder).glob("[a-z]*.py")}
    return tuple(sorted(found))
