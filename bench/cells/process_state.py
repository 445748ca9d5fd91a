"""What a plug-in may change of the process that it runs in and leave to the cells that follow; its end.

A process that was changed is not used again.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, parent_process
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

FoundT = TypeVar("FoundT")
_PR_SET_PDEATHSIG = 1

_WATCHED = ("builtins", "math", "numpy", "os", "random", "time", "torch", "torch.nn", "torch.nn.functional")
_LIMITS = tuple(sorted(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")))
_KINDS = (FunctionType, BuiltinFunctionType, type)


def process_state() -> dict[str, Any]:
    """The state of this process, to be compared with that of another moment.

    Returns:
        By name: torch's defaults, limits, signal handlers, environment, paths, and by module the functions
        and classes of the libraries that compute and of this project.
    """
    import torch

    mask = os.umask(0)
    os.umask(mask)
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "limits": [resource.getrlimit(number) for number in _LIMITS],
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": (id(sys.stdout), id(sys.stderr)),
        "umask": mask,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "modules": {name: _names(vars(module)) for name, module in _modules()},
        "tensors": {kind.__name__: _names(vars(kind)) for kind in (torch.Tensor, torch.nn.Module)},
    }


def _modules() -> list[tuple[str, ModuleType]]:
    own = [name for name in sys.modules if name.startswith("bench.") and not name.startswith(_PLUGINS)]
    known = ((name, sys.modules.get(name)) for name in (*_WATCHED, *own))
    return [(name, module) for name, module in known if isinstance(module, ModuleType)]


_PLUGINS = ("bench.attacks", "bench.defenses", "bench.datasets")


def _names(space: Any) -> dict[str, int]:
    return {name: id(value) for name, value in dict(space).items() if isinstance(value, _KINDS)}


def changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """What differs, by name; modules and names that have come since are no change."""
    found = [name for name in before if name not in ("modules", "tensors") and before[name] != after[name]]
    for part in ("modules", "tensors"):
        for module, names in before[part].items():
            now = after[part].get(module, {})
            found += [f"{module}.{name}" for name, value in names.items() if now.get(name) != value]
    return tuple(found)


def children() -> list[int]:
    """The processes that this one has started and that live, where the system tells."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found += [int(number) for number in path.read_text().split()]
        except OSError:
            continue
    return found


def left_by(run: Callable[[], FoundT]) -> tuple[FoundT, bool]:
    """What a function returns, and whether it leaves this process another one than it was.

    The processes that it leaves running are ended.
    """
    before, own = process_state(), children()
    found = run()
    left = [number for number in children() if number not in own]
    for number in left:
        with suppress(OSError):
            os.kill(number, signal.SIGKILL)
    return found, bool(left or changes(before, process_state()))


def live_and_die_with_the_parent() -> None:
    """Ctrl-C is the parent's business; its death, however sudden, is ours too, and that of all we started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):  # Linux: also when a plug-in never gives the interpreter back
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    group = os.getpgid(0)
    if group in (os.getpid(), parent.pid):  # else it is the group of somebody who did not start a worker
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)  # whatever a plug-in has started, and this process
    os._exit(1)
