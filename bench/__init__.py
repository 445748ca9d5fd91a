"""inversion-bench: what can the best attacker rebuild of the private images, and what did the defense cost?

This package imports nothing when it is imported: `bench --help` must answer before torch could be loaded.
"""

__version__: str


def __getattr__(name: str) -> str:
    """Look up `__version__` in the metadata of the installed distribution, only when somebody asks."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("inversion-bench")
    except PackageNotFoundError:  # a bare checkout on PYTHONPATH
        return "0+unknown"
