"""The contracts between the harness and its plug-ins.

A plug-in imports from here (and from :mod:`bench.engine` and :mod:`bench.models`) and from nowhere else in
the project. Tensors are batch-first: images are float32 ``[N, B, C, H, W]`` in [0, 1], where N counts
independent victims' releases and B the images of one release.

Names are imported when they are first used: cards and errors must be readable without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api.access import ModelAccess
    from bench.api.attack import (
        Attack,
        BaseAttack,
        ModelAttack,
        Reconstruction,
        SmashedAttack,
        per_victim,
    )
    from bench.api.black_box import Answers, BlackBoxObservation
    from bench.api.broadcast import Broadcast
    from bench.api.data import data_folder, files_below, find_data, is_hidden, searched
    from bench.api.dataset import Dataset, ImageSet, Splits
    from bench.api.defense import Clients, Defense, DefenseView, FederatedTraining, HookContext, Phase
    from bench.api.errors import BenchError, DataMissing, IncompatibleError, PluginError, UsageError
    from bench.api.generator import ImageGenerator
    from bench.api.gradients import ClientLoss, CrossEntropy, Gradients, Observed
    from bench.api.observation import GradientObservation
    from bench.api.released import ModelObservation
    from bench.api.rows import (
        Bytes,
        as_splits,
        check_counts,
        check_digest,
        checked_prefix,
        ordered_rows,
        padded,
        parts_by_class,
        shuffled_parts,
    )
    from bench.api.smashed import Query, Received, Session, SmashedObservation
    from bench.api.threat import Access, Adversary, Channel, Checkpoint, ThreatModel
    from bench.api.transform import Imitation, InputTransform

_HOME = {
    "ModelAccess": "access",
    "Attack": "attack",
    "BaseAttack": "attack",
    "ModelAttack": "attack",
    "Reconstruction": "attack",
    "SmashedAttack": "attack",
    "per_victim": "attack",
    "Answers": "black_box",
    "BlackBoxObservation": "black_box",
    "data_folder": "data",
    "files_below": "data",
    "find_data": "data",
    "is_hidden": "data",
    "searched": "data",
    "Dataset": "dataset",
    "ImageSet": "dataset",
    "Splits": "dataset",
    "Broadcast": "broadcast",
    "Clients": "defense",
    "Defense": "defense",
    "DefenseView": "defense",
    "FederatedTraining": "defense",
    "HookContext": "defense",
    "Phase": "defense",
    "BenchError": "errors",
    "DataMissing": "errors",
    "IncompatibleError": "errors",
    "PluginError": "errors",
    "UsageError": "errors",
    "ImageGenerator": "generator",
    "GradientObservation": "observation",
    "ClientLoss": "gradients",
    "CrossEntropy": "gradients",
    "Observed": "gradients",
    "Gradients": "observation",
    "ModelObservation": "released",
    "Bytes": "rows",
    "as_splits": "rows",
    "check_counts": "rows",
    "check_digest": "rows",
    "checked_prefix": "rows",
    "ordered_rows": "rows",
    "padded": "rows",
    "parts_by_class": "rows",
    "shuffled_parts": "rows",
    "Query": "smashed",
    "Received": "smashed",
    "Session": "smashed",
    "SmashedObservation": "smashed",
    "Access": "threat",
    "Adversary": "threat",
    "Channel": "threat",
    "Checkpoint": "threat",
    "ThreatModel": "threat",
    "Imitation": "transform",
    "InputTransform": "transform",
}

__all__ = [
    "Access",
    "Adversary",
    "Answers",
    "Attack",
    "BaseAttack",
    "BenchError",
    "BlackBoxObservation",
    "Broadcast",
    "Bytes",
    "Channel",
    "Checkpoint",
    "ClientLoss",
    "Clients",
    "CrossEntropy",
    "DataMissing",
    "Dataset",
    "Defense",
    "DefenseView",
    "FederatedTraining",
    "GradientObservation",
    "Gradients",
    "HookContext",
    "ImageGenerator",
    "ImageSet",
    "Imitation",
    "IncompatibleError",
    "InputTransform",
    "ModelAccess",
    "ModelAttack",
    "ModelObservation",
    "Observed",
    "Phase",
    "PluginError",
    "Query",
    "Received",
    "Reconstruction",
    "Session",
    "SmashedAttack",
    "SmashedObservation",
    "Splits",
    "ThreatModel",
    "UsageError",
    "as_splits",
    "check_counts",
    "check_digest",
    "checked_prefix",
    "data_folder",
    "files_below",
    "find_data",
    "is_hidden",
    "ordered_rows",
    "padded",
    "parts_by_class",
    "per_victim",
    "searched",
    "shuffled_parts",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
