"""The contract of a channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bench.api.threat import Adversary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.api.cards import AttackCard
    from bench.api.dataset import Data, ImageSet, Splits
    from bench.api.defense import Defense, DefenseView
    from bench.api.generator import ImageGenerator
    from bench.channels.shared.terms import Terms
    from bench.metrics.perceptual import Lpips
    from bench.victims.broadcast import ObedientClients
    from bench.victims.releases import Release, Source
    from bench.victims.session import HijackedTraining
    from bench.victims.training import Victim

KeptT = TypeVar("KeptT")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a victim is trained.

    Attributes:
        model: architecture.
        data: its private images are trained on.
        defense: its hooks run in the training.
        batch_size: B, private images of a client and round.
        epochs: passes over the private training split; None is the architecture's own schedule.
        seed: of weights, batches and noise.
        device: where to compute.
    """

    model: str
    data: Data
    defense: Defense
    batch_size: int
    epochs: float | None
    seed: int
    device: torch.device

    @property
    def shared(self) -> dict[str, Any]:
        """The arguments that all trainings take; the batch size is for federated ones."""
        return {
            "num_classes": self.data.dataset.num_classes,
            "image_shape": self.data.dataset.image_shape,
            "model": self.model,
            "splits": self.data.splits,
            "defense": self.defense,
            "epochs": self.epochs,
            "seed": self.seed,
            "device": self.device,
        }


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """Who attacks, and what the attacker brings.

    Attributes:
        card: decides what passes of all that follows.
        adversary: whether the defense is known.
        auxiliary: images of the same distribution.
        generator: what an attack whose card asks for it has learned from them.
        session: the clients of an active attacker; None for a passive one.
        pool: private images ``[P, C, H, W]``; passes only to bounds, whose card says ``receives_pool``.
    """

    card: AttackCard
    adversary: Adversary
    auxiliary: ImageSet
    generator: ImageGenerator | None = None
    session: HijackedTraining | ObedientClients | None = None
    pool: Tensor | None = None

    def view(self, defense: Defense, batch_size: int) -> DefenseView | None:
        """What is known of the defense of releases of B images: nothing, to the naive attacker."""
        return defense.known(batch_size) if self.adversary is Adversary.ADAPTIVE else None

    def receives_auxiliary(self, view: DefenseView | None) -> bool:
        """Whether the auxiliary images pass: to an attack that asks for them or for what was learned of them.

        And to an adaptive one that has to undo a change of the clients' images, which takes images to learn
        from.
        """
        to_undo = view is not None and view.transform is not None
        return self.card.needs_auxiliary or self.card.needs_generator or to_undo

    def common(self, source: Source, view: DefenseView | None) -> dict[str, Any]:
        """The fields that all observations of single batches have, but for their threat model."""
        import torch

        return {
            "image_shape": source.image_shape,
            "num_classes": source.num_classes,
            "ids": torch.arange(source.releases, device=source.device),
            "defense": view,
            "auxiliary": self.auxiliary if self.receives_auxiliary(view) else None,
            "generator": self.generator,
            "pool": self.pool if self.card.receives_pool else None,
        }


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What scores are computed from.

    Attributes:
        data: the data set and its splits.
        label: how tables call the data set.
        seed: of the pool.
        released: tensors of the release, with the originals.
        rebuilt: tensors of the reconstruction.
        evaluator: its weights.
        second: the name of a second evaluator that the data set's card asks for; empty for none.
        lpips: the metric; None where its weights are missing.
        remembered: ``(name, compute)``: what many cells of one data set and seed need, computed once.
        pool: among how many private images a reconstruction must find its original; None: as many as today.
        device: where to compute.
    """

    data: Data
    label: str
    seed: int
    released: Mapping[str, Tensor]
    rebuilt: Mapping[str, Tensor]
    evaluator: dict[str, Tensor]
    second: str
    lpips: Lpips | None
    remembered: Callable[[str, Callable[[], Any]], Any]
    pool: int | None
    device: torch.device

    @property
    def shape(self) -> dict[str, Any]:
        """What builds an evaluator."""
        return {
            "num_classes": self.data.dataset.num_classes,
            "image_shape": self.data.dataset.image_shape,
            "device": self.device,
        }


class ChannelKind(ABC):
    """Everything that differs by channel.

    Attributes:
        terms: its metrics, and the words for them.
        observes: what its attacker sees.
        public: what is known to everybody.
        needs_cut: only networks that are cut in two have it.
        refuses_cut: why a network that is cut has it not; empty if it has.
        gives_labels: the protocol gives the private labels to the attacker.
        federated: a server averages what clients send, so that they may take local steps.
        central: one owner trains on all private images, so that no batch size enters the training.
        trains_as: the channel whose victims serve this one, too; empty if it has its own.
    """

    terms: ClassVar[Terms]
    observes: ClassVar[str]
    public: ClassVar[str]
    needs_cut: ClassVar[bool] = False
    refuses_cut: ClassVar[str] = ""
    gives_labels: ClassVar[bool] = False
    federated: ClassVar[bool] = False
    central: ClassVar[bool] = False
    trains_as: ClassVar[str] = ""

    @abstractmethod
    def train(self, training: Training) -> Victim:
        """Trains the victim under its defense."""

    @abstractmethod
    def release(self, source: Source) -> Release:
        """What leaves the victim."""

    def session(
        self,
        source: Source,
        release: Release,
        card: AttackCard,
        *,
        initial: dict[str, Tensor],
        splits: Splits,
    ) -> HijackedTraining | ObedientClients | None:
        """The clients of an active attacker; None where an attacker cannot be one.

        Args:
            source: where the release comes from.
            release: the attacked batches.
            card: of the attack.
            initial: the weights of round 0.
            splits: the clients train on their private images.
        """
        return None

    @abstractmethod
    def observe(self, source: Source, release: Release, attacker: Attacker) -> Any:
        """What the attacker may see of a release, and nothing else."""

    @abstractmethod
    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Measures every image.

        Returns:
            The metrics ``[N, B]`` in the originals' order, and ``order`` itself; and further facts.
        """
