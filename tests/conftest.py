"""Shared by all tests: one thread per process, lasting plug-ins, and no `gpu` tests where there is no GPU."""

import os
import sys
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.api.plugin_folders", "tests.world"]

# Before anything imports torch: pytest-xdist already gives every core a process of its own.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Containers set it; every process that a test starts would compile all of the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold torch, once a test has loaded it, to one thread; skip what needs a GPU on a machine without."""
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


LONGEST = "test_docs.py"
"""Its tutorials take minutes; begun last, they leave one of two workers alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests; all others keep their order."""
    items.sort(key=lambda item: item.path.name != LONGEST)


PLUGINS = ("bench.attacks.", "bench.defenses.", "bench.datasets.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Keep the plug-ins that were imported: a test of `bench check` imports them anew.

    Classes and constants that other test modules took from the first import would then be strangers to the
    plug-ins that they build, and which tests share a process changes with the machine.
    """
    before = {name: module for name, module in sys.modules.items() if name.startswith(PLUGINS)}
    result = yield
    sys.modules.update(before)
    return result
