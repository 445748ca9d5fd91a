"""Shared by all tests: one thread per process, and `gpu` tests skipped where there is no GPU."""

import os
import sys

import pytest

# Before anything imports torch: pytest-xdist already gives every core a process of its own.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold torch, once a test has loaded it, to one thread; skip what needs a GPU on a machine without."""
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
