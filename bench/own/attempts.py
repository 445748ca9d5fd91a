"""Runs attacks one after the other; one that fails takes nothing from the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bench.api.attack import Reconstruction
from bench.api.dataset import ImageSet
from bench.api.defense import DefenseView
from bench.api.errors import BenchError, IncompatibleError, UsageError
from bench.api.generator import ImageGenerator
from bench.api.threat import Adversary, Channel
from bench.own.attempt import Attempt, Outcome, strongest
from bench.own.choose import Chosen, ChosenDefense
from bench.own.leak import Leak
from bench.own.pace import Clock, Tell, alive
from bench.own.scoring import Scorer, Truth
from bench.victims.generator import assert_disjoint, load_generator, train_generator

BLIND = "blind guess"
UNKNOWN = "the originals are not given: nobody can say here whether an image is a private one"


@dataclass
class Prior:
    """What the attacker has learned from images of its own; generators are trained when first asked for.

    Attributes:
        auxiliary: images like the private ones; None if there are none.
        private: images that must not be among them.
        seed: of the training.
        tell: is told what takes long.
    """

    auxiliary: ImageSet | None
    private: tuple[ImageSet, ...]
    seed: int
    tell: Tell
    _trained: dict[str, ImageGenerator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses private images among the attacker's own, whatever attacks learn from them.

        Raises:
            UsageError: naming how many, and the first.
        """
        if self.auxiliary is None:
            return
        try:
            assert_disjoint(self.auxiliary, *self.private)
        except BenchError as error:
            raise UsageError(f"auxiliary: {error}") from None

    def given_up(self, truth: Truth | None) -> dict[str, str]:
        """Why attacks cannot be run, by the field of the card that says what they need."""
        reasons = dict[str, str]()
        if self.auxiliary is None:
            learn = "it learns from images of the same kind: give auxiliary="
            reasons |= {"needs_generator": learn, "needs_auxiliary": learn}
        if truth is None or not len(truth.distractors):
            reasons["receives_pool"] = "it chooses from a list: give images=, labels= and distractors="
        return reasons

    def passes_to(self, chosen: Chosen, view: DefenseView | None) -> bool:
        """Whether an attack is given the images: one that asks for them, or has to undo what clients do.

        Raises:
            IncompatibleError: it has to, and there are none.
        """
        undoes = view is not None and view.transform is not None
        if undoes and self.auxiliary is None:
            raise IncompatibleError("undoing what the defense does to images takes images: give auxiliary=")
        card = chosen.card
        return undoes or (card is not None and (card.needs_auxiliary or card.needs_generator))

    def seen(self, truth: Truth | None) -> Tensor | None:
        """Images that a blind guess may be the mean of; None if there are none."""
        if self.auxiliary is not None:
            return self.auxiliary.images
        return truth.distractors if truth is not None and len(truth.distractors) else None

    def generator(self, kind: str) -> ImageGenerator | None:
        """The generator of a kind; None without images.

        Raises:
            BenchError: too few images, a private one among them, or the training diverged.
        """
        if self.auxiliary is None:
            return None
        if kind not in self._trained:
            self.tell(f"training the generator {kind} on {len(self.auxiliary):,} auxiliary images (minutes)")
            shape = self.auxiliary.images.shape
            image_shape = (int(shape[1]), int(shape[2]), int(shape[3]))
            found = train_generator(
                kind, self.auxiliary, private=self.private, image_shape=image_shape, seed=self.seed
            )
            self._trained[kind] = load_generator(kind, found.state, image_shape)
        return self._trained[kind]


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What all attacks of one call share.

    Attributes:
        channel: what left.
        threat: what the attacker knows, in words.
        defense: of the call.
        observe: what an attack may see.
        explained: share of the released energy that a reconstruction explains; None where there is none.
        truth: the originals; None where they are not known.
        auxiliary: the attacker's own images ``[A, C, H, W]``, for the blind guess.
        releases: N.
        budget: evaluations of each release.
        seed: of the attacks.
        tell: is told of every attack.
        clock: how long all of them may take.
        warnings: what limits the answer whatever is found.
    """

    channel: Channel
    threat: dict[str, str]
    defense: ChosenDefense
    observe: Callable[[Chosen, Adversary], Any]
    explained: Callable[[Reconstruction], float] | None
    truth: Scorer | None
    auxiliary: Tensor | None
    releases: int
    budget: int
    seed: int
    tell: Tell
    clock: Clock
    warnings: tuple[str, ...] = ()

    def run(self, chosen: Sequence[Chosen]) -> Leak:
        """Runs all of them."""
        import pandas as pd

        attempts, frames = list[Attempt](), list[pd.DataFrame]()
        pictures, labels = dict[str, tuple[Tensor, Tensor | None]](), dict[str, Tensor | None]()
        # Bounds last: they try a whole list, whatever the budget.
        ordered = sorted(chosen, key=lambda item: item.bound)
        for number, item in enumerate(ordered, 1):
            left = sum(1 for other in ordered[number - 1 :] if other.attack and not other.bound)
            budget = self.clock.budget(self.budget, left) if item.attack and left else self.budget
            with alive(self.tell, item.name):
                attempt, found = self._attempt(item, budget)
            if found is not None:
                labels[attempt.name] = found.labels
            if found is not None and self.truth is not None:
                scored = self.truth.score(attempt, found)
                attempt = scored.attempt
                frames.append(scored.frame)
                pictures[attempt.name] = scored.images, scored.originals
            elif found is not None:
                pictures[attempt.name] = found.images, None
            attempts.append(attempt)
            self.tell(f"[{number}/{len(chosen)}] {_line(attempt)}")
        best = strongest(tuple(attempts))
        truth = self.truth
        images, originals = pictures[best.name] if best else (None, None)
        return Leak(
            channel=str(self.channel),
            threat=self.threat,
            attempts=tuple(attempts),
            floor=self._floor(labels.get(best.name) if best else None, images),
            chance=truth.chance if truth else None,
            listed=truth.listed if truth else 0,
            images=None if images is None else images.cpu(),
            originals=None if originals is None else originals.cpu(),
            frame=pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
            warnings=(*self.warnings, *_cut(attempts), *(truth.limits if truth else [UNKNOWN])),
        )

    def _attempt(self, item: Chosen, budget: int) -> tuple[Attempt, Reconstruction | None]:
        adversary = item.adversary(self.defense)
        attempt = Attempt(attack=item.name, adversary=str(adversary), bound=item.bound)
        reason = item.reason
        if item.bound and item.attack and self.truth:
            reason = self.clock.too_long(self.truth.listed / self.releases)
        if item.attack is None or reason:
            return replace(attempt, outcome=Outcome.NOT_APPLICABLE, reason=reason), None
        try:
            seen = self.observe(item, adversary)
            start = time.perf_counter()  # what was learned for several attacks is not this one's time
            found = item.attack.reconstruct(seen, budget=budget, seed=self.seed)
        except IncompatibleError as error:
            return replace(attempt, outcome=Outcome.NOT_APPLICABLE, reason=str(error)), None
        except Exception as error:  # hours of others must not be lost with it
            reason = f"{type(error).__name__}: {error}"
            return replace(attempt, outcome=Outcome.FAILED, reason=reason), None
        seconds = time.perf_counter() - start
        self.clock.spent(int(found.evaluations.max()), seconds)
        found = replace(found, images=found.images.detach().float().clamp(0, 1))
        share = self.explained(found) if self.explained and not attempt.bound else float("nan")
        spent = found.evaluations.double().mean().item()
        cut = f"only {budget} of {self.budget} evaluations fit in the time" if budget < self.budget else ""
        done = replace(attempt, reason=cut, explained=share, evaluations=spent, seconds=seconds)
        return done, found

    def _floor(self, labels: Tensor | None, images: Tensor | None) -> Attempt | None:
        """The strongest guess that sees no release; how much it explains is asked with the labels found."""
        if images is None:
            return None
        truth, blank = self.truth, Attempt(attack=BLIND, adversary="")
        guesses = truth.guesses(self.auxiliary) if truth else [self._constant(images)]
        nothing = torch.zeros(len(images), dtype=torch.int64)
        found = []
        for guess in guesses:
            made = Reconstruction(images=guess, cost=nothing.double(), evaluations=nothing, labels=labels)
            share = self.explained(made) if self.explained else float("nan")
            scored = truth.score(blank, replace(made, labels=None)).attempt if truth else blank
            found.append(replace(scored, explained=share))
        return strongest(tuple(found))

    def _constant(self, images: Tensor) -> Tensor:
        if self.auxiliary is None:
            return torch.full_like(images, 0.5)
        return self.auxiliary.mean(0).expand_as(images).clone()


def _cut(attempts: Sequence[Attempt]) -> list[str]:
    return [
        f"{item.name}: {item.reason}" for item in attempts if item.outcome is Outcome.DONE and item.reason
    ]


def _line(item: Attempt) -> str:
    if item.outcome is not Outcome.DONE:
        return f"{item.name}: {item.outcome} ({item.reason})"
    found = "" if item.found is None else f"{item.found} found, "
    near = "" if item.psnr != item.psnr else f"{item.psnr:.1f} dB, "
    cut = f" ({item.reason})" if item.reason else ""
    return f"{item.name}: {found}{near}{item.seconds:.1f} s{cut}"


def explained_share(released: dict[str, Tensor], made: dict[str, Tensor]) -> float:
    """Mean over releases of ``1 - |made - released|^2 / |released|^2``, no less than zero."""
    observed = torch.cat([value.flatten(1) for value in released.values()], dim=1).double()
    mine = torch.cat([made[name].detach().flatten(1) for name in released], dim=1).double()
    energy = observed.square().sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    gap = (mine - observed).square().sum(1) / energy
    return (1 - gap).nan_to_num(0.0).clamp(0, 1).mean().item()
