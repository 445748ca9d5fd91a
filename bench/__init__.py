"""inversion-bench: what can the best attacker rebuild of the private images, and what did the defense cost?

``from bench import run_matrix, load_records, Leaderboard`` is the Python API; see :mod:`bench.frames`. This
package imports nothing when it is imported: `bench --help` must answer before torch could be loaded.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.frames import Leaderboard, load_images, load_records, run_matrix

__all__ = ["Leaderboard", "load_images", "load_records", "run_matrix"]

__version__: str


def __getattr__(name: str) -> object:
    """Look up names of the Python API, and `__version__`, only when somebody asks."""
    if name in __all__:
        import bench.frames

        return getattr(bench.frames, name)
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bench.records.provenance import own_version

    return own_version()
