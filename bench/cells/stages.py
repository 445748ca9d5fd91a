"""The stages of a cell, each a function of the results before it and of nothing else.

victim -> release -> reconstruction -> scores; beside them the evaluator and, where the attack searches one,
the generator. :mod:`bench.cells.cell` pushes the values through and keeps each result in the cache;
:mod:`bench.cache.keys` reads what each function here uses to name its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bench.api.dataset import Data
from bench.api.gradients import rows_of_each
from bench.api.threat import Checkpoint
from bench.cache.store import Stored
from bench.cells.attacks import job, run_attack
from bench.cells.generators import fidelity
from bench.channels import channel
from bench.channels.shared.contract import Attacker, Scoring, Training
from bench.channels.shared.observe import candidate_pool
from bench.matrix.cells import Cell
from bench.plugins import attack_card, build_defense, dataset_card
from bench.rounding import finite
from bench.seeds import derive_seed
from bench.victims.evaluator import load_evaluator, train_evaluator
from bench.victims.generator import SAMPLES, load_generator, sample, train_generator
from bench.victims.releases import Release, Source, signal

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.generator import ImageGenerator
    from bench.cells.attack_process import AttackProcess
    from bench.cells.context import Context

SHOWN = 64
"""Samples of a generator that are kept."""
DONE_TO_CLIENTS = ("task_accuracy", "single_share", "honest_share")
"""What is recorded of an active attacker's session; None for passive ones."""


def victim(cell: Cell, data: Data, device: torch.device) -> Stored:
    """Trains the victim under its defense: ``initial.*`` and ``trained.*`` weights, accuracy, curve.

    Where clients remember, there is also ``memory.*``.
    """
    result = channel(cell.channel).train(
        Training(
            model=cell.model,
            data=data,
            defense=build_defense(cell.defense.name, cell.defense.arguments()),
            batch_size=cell.batch_size,
            epochs=cell.epochs,
            seed=cell.seed,
            device=device,
        )
    )
    tensors = {f"initial.{name}": value for name, value in result.initial.items()}
    tensors |= {f"trained.{name}": value for name, value in result.trained.items()}
    tensors |= {f"memory.{name}": value for name, value in result.memory.items()}
    facts: dict[str, Any] = {
        "accuracy": round(result.accuracy, 6),
        "initial_accuracy": round(result.initial_accuracy, 6),
        "converged": result.converged,
        "rounds": result.rounds,
        "curve": result.curve,
        "details": {name: finite(value) for name, value in result.details.items()},
        "signal": result.signal,
    }
    return Stored(tensors, facts)


def evaluator(cell: Cell, data: Data, device: torch.device) -> Stored:
    """Trains the independent evaluator on the auxiliary split; ``accuracy`` is on ``private_test``."""
    shape: dict[str, Any] = {**_shape(data), "device": device}
    state = train_evaluator(data.splits.auxiliary, seed=cell.seed, **shape)
    test = data.splits.private_test
    with torch.no_grad():
        predicted = load_evaluator(state, **shape)(test.images).argmax(1)
    accuracy = (predicted == test.labels).double().mean().item()
    return Stored(state, {"accuracy": round(accuracy, 6)})


def generator(cell: Cell, data: Data, device: torch.device, kind: str, evaluator: Stored) -> Stored:
    """Trains the attacker's generator on the auxiliary split.

    Returns:
        ``decoder.*`` and ``critic.*`` weights, ``samples``, the curve, and how good it is.

    Raises:
        BenchError: a private image is in the split, or the generator collapsed.
    """
    splits, image_shape = data.splits, data.dataset.image_shape
    private = (splits.private_train, splits.private_test)
    trained = train_generator(
        kind, splits.auxiliary, private=private, image_shape=image_shape, seed=cell.seed
    )
    drawn = sample(load_generator(kind, trained.state, image_shape), SAMPLES, seed=cell.seed)
    quality = fidelity(kind, drawn, data, evaluator.tensors, device)
    tensors = {**trained.state, "samples": drawn[:SHOWN]}
    return Stored(tensors, {"kind": kind, "curve": trained.curve, **quality})


def release(cell: Cell, data: Data, device: torch.device, victim: Stored) -> Stored:
    """Draws private batches and releases them through the defense: images, labels, ``sent.*``."""
    kind, source = channel(cell.channel), _source(cell, data, device, victim)
    result = kind.release(source)
    ratios = signal(result, source, kind.release)
    tensors = {"images": result.images, "labels": result.labels, "indices": result.indices}
    if result.perturbed is not None:
        tensors["perturbed"] = result.perturbed
    tensors |= {f"sent.{name}": value for name, value in result.sent.items()}
    return Stored(tensors, {**_release_health(result), "signal": ratios})


def reconstruction(
    cell: Cell,
    data: Data,
    device: torch.device,
    victim: Stored,
    release: Stored,
    generator: Stored | None,
    attacks: AttackProcess,
) -> Stored:
    """Runs the attack on what it may observe: images, labels if recovered, what it spent."""
    sent = Release(
        images=release.tensors["images"],
        labels=release.tensors["labels"],
        indices=release.tensors["indices"],
        sent=release.group("sent"),
    )
    kind, card = channel(cell.channel), attack_card(cell.attack.name)
    source, initial = _source(cell, data, device, victim), victim.group("initial")
    attacker = Attacker(
        card=card,
        adversary=cell.adversary,
        auxiliary=data.splits.auxiliary,
        generator=None if generator is None else _loaded(generator, data),
        session=kind.session(source, sent, card, initial=initial, splits=data.splits),
        pool=candidate_pool(source, sent) if card.receives_pool else None,
    )
    seen, session = kind.observe(source, sent, attacker), attacker.session
    given = job(
        seen,
        cell.defense,
        attack=cell.attack,
        budget=cell.budget,
        seed=derive_seed(cell.seed, "attack"),
        device=device,
        shape=tuple(sent.images.shape),
    )
    # The clients' half stays with the clients, and so do all others that the attacker only talks to.
    # A bound is given a list of the private images, of which nothing may lie there when others search.
    found = attacks.run(
        run_attack, given, stays=(session, getattr(seen, "query", None)), last=card.receives_pool
    )
    tensors, spent = found.value
    done = session.facts() if session else {}
    facts = {name: finite(done[name]) if name in done else None for name in DONE_TO_CLIENTS}
    return Stored(tensors, {**spent, **facts, "peak_memory_mb": found.peak_memory_mb})


def scores(
    cell: Cell, data: Data, context: Context, release: Stored, reconstruction: Stored, evaluator: Stored
) -> Stored:
    """Measures every image: metrics ``[N, B]`` in the originals' order, and ``order`` itself."""
    lpips, lpips_status = context.lpips()
    tensors, facts = channel(cell.channel).score(
        Scoring(
            data=data,
            label=cell.dataset.label,
            seed=cell.seed,
            released=release.tensors,
            rebuilt=reconstruction.tensors,
            evaluator=evaluator.tensors,
            second=dataset_card(cell.dataset.name).second_evaluator,
            lpips=lpips,
            remembered=context.remembered,
            pool=context.pool,
            device=context.device,
        )
    )
    known = {"lpips_status": lpips_status, "evaluator_accuracy": evaluator.meta["accuracy"]}
    return Stored(tensors, {**facts, **known})


def _shape(data: Data) -> dict[str, Any]:
    return {"num_classes": data.dataset.num_classes, "image_shape": data.dataset.image_shape}


def _source(cell: Cell, data: Data, device: torch.device, victim: Stored) -> Source:
    return Source(
        model=cell.model,
        parameters=victim.group(cell.checkpoint),
        private=data.splits.private_train,
        num_classes=data.dataset.num_classes,
        image_shape=data.dataset.image_shape,
        defense=build_defense(cell.defense.name, cell.defense.arguments()),
        releases=cell.releases,
        batch_size=cell.batch_size,
        seed=cell.seed,
        device=device,
        memory=victim.group("memory") if cell.checkpoint == Checkpoint.TRAINED else {},
    )


def _loaded(stored: Stored, data: Data) -> ImageGenerator:
    state: dict[str, Tensor] = {name: value for name, value in stored.tensors.items() if name != "samples"}
    return load_generator(stored.meta["kind"], state, data.dataset.image_shape)


def _release_health(result: Release) -> dict[str, Any]:
    """How many releases carry nothing or nothing finite, and the mean norm of the others."""
    flat = torch.cat([rows_of_each(value) for value in result.sent.values()], dim=1).double()
    sound = flat.isfinite().all(1)
    norms = flat[sound].norm(dim=1)
    return {
        "zero": int((flat == 0).all(1).sum().item()),
        "nonfinite": int((~sound).sum().item()),
        "norm_mean": finite(norms.mean().item()) if len(norms) else None,
        "shared_labels": _shared_labels(result.labels) if result.labels.shape[1] > 1 else None,
    }


def _shared_labels(labels: Tensor) -> float:
    """Share of images whose label another image of their release has, of ``[N, B]``."""
    alike = (labels[:, :, None] == labels[:, None, :]).sum(-1)
    return round((alike > 1).double().mean().item(), 6)
