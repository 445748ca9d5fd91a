"""The contracts between the harness and its plug-ins.

A plug-in imports from here (and from :mod:`bench.engine` and :mod:`bench.models`) and from nowhere else in
the project. Tensors are batch-first: images are float32 ``[N, B, C, H, W]`` in [0, 1], where N counts
independent victims' releases and B the images of one release.

Names are imported when they are first used: cards and errors must be readable without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api.attack import Attack, Reconstruction, per_victim
    from bench.api.dataset import Dataset, ImageSet, Splits
    from bench.api.defense import Defense, DefenseView, HookContext
    from bench.api.errors import BenchError, IncompatibleError, PluginError, UsageError
    from bench.api.observation import GradientObservation, Gradients
    from bench.api.threat import Adversary, Channel, Checkpoint, ThreatModel

_HOME = {
    "Attack": "attack",
    "Reconstruction": "attack",
    "per_victim": "attack",
    "Dataset": "dataset",
    "ImageSet": "dataset",
    "Splits": "dataset",
    "Defense": "defense",
    "DefenseView": "defense",
    "HookContext": "defense",
    "BenchError": "errors",
    "IncompatibleError": "errors",
    "PluginError": "errors",
    "UsageError": "errors",
    "GradientObservation": "observation",
    "Gradients": "observation",
    "Adversary": "threat",
    "Channel": "threat",
    "Checkpoint": "threat",
    "ThreatModel": "threat",
}

__all__ = [
    "Adversary",
    "Attack",
    "BenchError",
    "Channel",
    "Checkpoint",
    "Dataset",
    "Defense",
    "DefenseView",
    "GradientObservation",
    "Gradients",
    "HookContext",
    "ImageSet",
    "IncompatibleError",
    "PluginError",
    "Reconstruction",
    "Splits",
    "ThreatModel",
    "UsageError",
    "per_victim",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
