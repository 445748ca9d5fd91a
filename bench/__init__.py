"""inversion-bench: what can the best attacker rebuild of the private images, and what did the defense cost?

``from bench import attack_gradients`` asks what your own model gives away (:mod:`bench.own`), ``from bench
import run_matrix, load_records, Leaderboard`` gives the results of matrices (:mod:`bench.frames`). This
package imports nothing when it is imported: `bench --help` must answer before torch could be loaded.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.frames import Leaderboard, load_images, load_records, run_matrix
    from bench.own.activations import attack_activations
    from bench.own.classifier import attack_model
    from bench.own.gradients import attack_gradients
    from bench.own.leak import Leak

_PLACES = {
    "Leaderboard": "bench.frames",
    "load_images": "bench.frames",
    "load_records": "bench.frames",
    "run_matrix": "bench.frames",
    "Leak": "bench.own.leak",
    "attack_activations": "bench.own.activations",
    "attack_gradients": "bench.own.gradients",
    "attack_model": "bench.own.classifier",
}

__all__ = [
    "Leaderboard",
    "Leak",
    "attack_activations",
    "attack_gradients",
    "attack_model",
    "load_images",
    "load_records",
    "run_matrix",
]

__version__: str


def __getattr__(name: str) -> object:
    """Look up names of the Python API, and `__version__`, only when somebody asks."""
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    if name == "attacks":  # so that `import bench` is enough for bench.attacks.IDLG()
        from importlib import import_module

        return import_module("bench.attacks")
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bench.records.provenance import own_version

    return own_version()
