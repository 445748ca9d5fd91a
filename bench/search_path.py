"""Where plug-ins live: the folders behind `bench.attacks`, `bench.defenses` and `bench.datasets`.

Plug-ins sit in folders named after their kind. Three places can hold them, the first match wins:

1. each entry of `$BENCH_PLUGIN_PATH`, in order (separated like `$PATH`);
2. the checkout, when `bench` is imported from one (editable install, or a source tree on the path);
3. the wheel, which carries the checkout's folders inside the `bench` package.

The shims `bench/<kind>/__init__.py` set their `__path__` to this list, so that one spelling,
`from bench.attacks.dlg.attack import ...`, works everywhere and plug-in classes pickle by name, without
top-level packages called `attacks` or `datasets`.
"""

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "BENCH_PLUGIN_PATH"

_PACKAGE = Path(__file__).resolve().parent
_PROJECT_LINE = 'name = "inversion-bench"'


def search_path(kind: str) -> list[str]:
    """Return the folders that may hold plug-ins of one kind, the one that wins first.

    Args:
        kind: `"attacks"`, `"defenses"` or `"datasets"`.

    Returns:
        Absolute paths. The last one is the folder in the `bench` package; all others exist.
    """
    entries = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    folders = [Path(entry).expanduser().absolute() / kind for entry in entries if entry]
    if _is_checkout(_PACKAGE.parent):
        folders.append(_PACKAGE.parent / kind)
    found = [folder for folder in folders if folder.is_dir()]
    return list(dict.fromkeys(str(folder) for folder in [*found, _PACKAGE / kind]))


def _is_checkout(folder: Path) -> bool:
    """Tell whether a folder is this project's source tree, not a stranger's with the package copied in."""
    try:
        lines = (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return _PROJECT_LINE in lines
