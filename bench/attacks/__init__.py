"""Attacks, one folder each; see `bench.search_path` for the places they are found in.

``bench.attacks.IDLG()(model, gradients)`` is one of them on a network of your own: see `bench.own.alone`.
"""

from importlib import import_module
from typing import Any

from bench.search_path import search_path

__path__ = search_path("attacks")


def __getattr__(name: str) -> Any:
    """An attack by the name of its class."""
    if not name[0].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # By its name: attacks stand below what runs them, and import nothing of it.
    return import_module("bench.own.alone").by_class_name(name)
