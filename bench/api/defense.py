"""The contract of a defense: hooks that run in training and at release alike."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet
from bench.api.gradients import ClientLoss, Gradients, Observed
from bench.api.threat import LocalTraining
from bench.api.transform import InputTransform


class Phase(StrEnum):
    """What a hook is called for."""

    TRAIN = "train"
    """A round of the training, or an attacked release of it: the client knows the labels."""
    TEST = "test"
    """The use of the trained victim: the labels are only there to be compared with its answers."""


@dataclass(frozen=True, kw_only=True)
class Clients:
    """What N clients of a federation have at hand when they send; each has its own rows alone.

    Attributes:
        model: the defended architecture.
        weights: the global weights by name.
        images: ``[N, B, ...]``, what ``inputs`` made of the private batches.
        labels: int64 ``[N, B]``.
        gradients: ``(images [M, B', ...], labels [M, B']) -> [M, ...]`` per weight: what the loss of other
            batches would give at the global weights, undefended.
        local: the steps behind what the hook is given, where they are more than one; then it is an update,
            and no gradient of these weights.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    images: Tensor
    labels: Tensor
    gradients: Callable[[Tensor, Tensor], Gradients]
    local: LocalTraining | None = None

    def of_examples(self) -> Gradients:
        """The gradient of every image alone, ``[N, B, ...]`` per weight."""
        size = self.labels.shape
        found = self.gradients(self.images.flatten(0, 1)[:, None], self.labels.flatten()[:, None])
        return {name: value.unflatten(0, size) for name, value in found.items()}


@dataclass(frozen=True, kw_only=True)
class FederatedTraining:
    """How often a federation has used its private images.

    Attributes:
        rounds: that were run.
        clients: of each round, whose releases the server averages.
        batch_size: B, images of a client and round.
        images: that are trained on; complete passes over them, each in a new order, fill the rounds.
        releases_of_one: in how many clients' releases one image is, at most; where a pass ends and the next
            begins in one release it may be there twice, which counts as four.
        rounds_of_one: the same of rounds.
    """

    rounds: int
    clients: int
    batch_size: int
    images: int
    releases_of_one: int
    rounds_of_one: int

    @classmethod
    def on(cls, batches: Tensor, images: int) -> Self:
        """Training on the batches ``[rounds, clients, B]``, indices of so many private images."""
        rounds, clients, batch_size = batches.shape
        return cls(
            rounds=rounds,
            clients=clients,
            batch_size=batch_size,
            images=images,
            releases_of_one=_most_squares(batches.flatten(0, 1), images),
            rounds_of_one=_most_squares(batches.flatten(1), images),
        )


def _most_squares(groups: Tensor, images: int) -> int:
    """Over the images, the largest sum of the squares of how often one is in each group ``[G, S]``."""
    offsets = images * torch.arange(len(groups), device=groups.device)[:, None]
    found, times = (groups + offsets).flatten().unique(return_counts=True)
    squares = times.new_zeros(images).index_add_(0, found % images, times.square())
    return int(squares.max())


@dataclass(frozen=True, kw_only=True)
class HookContext:
    """What a hook may use besides its tensors.

    Attributes:
        generator: the source of the defense's randomness, on the device of the tensors.
        batch_size: images per release.
        phase: what the hook is called for.
        model: the client's network as it stands; None in federated learning.
        progress: share of the training that is over, in [0, 1].
        clients: only for ``gradients``: whose they are.
        public: only for ``prepare`` of the owner of a classifier: labelled images that are not private, those
            of the auxiliary split.
        plain: only for ``details``, and only if the defense asks for it: the undefended victim of the same
            architecture, images and seed, trained in the same way.
        federated: only for ``details`` of federated training and SplitFed: what it was.
        memory: only for ``gradients``: what the N clients have kept of the rounds before, ``[N, ...]`` by
            names of the defense's choice. Empty at round 0; the hook changes it in place. The n-th client of
            a round remembers what the n-th one of the round before kept, whatever their batches.
    """

    generator: torch.Generator
    batch_size: int
    phase: Phase = Phase.TRAIN
    model: nn.Module | None = None
    progress: float = 1.0
    clients: Clients | None = None
    public: ImageSet | None = None
    plain: nn.Module | None = None
    federated: FederatedTraining | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DefenseView:
    """An adaptive attacker's model of a defense: all that Kerckhoffs' principle gives away.

    Attributes:
        parameters: the defense's parameters by name.
        negative_log_likelihood: ``(candidate, observed) -> [N]``: -log p(observed | true gradient =
            candidate) in nats up to a constant, differentiable in the candidate; None where the defense has
            no density.
        transmitted: ``observed -> {name: bool [N, ...]}``: which entries of the release carry information;
            None where all do.
        release: ``(activations, generator) -> activations``: what leaves in split learning, for an attacker
            who makes releases of its own to learn from; None where activations leave as they are.
        transform: how clients change images before their first layer; None where they do not.
        transmit: ``(candidate, observed) -> gradients``: what clients would send of a candidate, as far as it
            is known and differentiable, before it is compared with what was observed (clipped, say); None
            where candidates are compared as they are.
        compares_all: ``transmit`` says of entries that were not transmitted, too, what a candidate would have
            there, so that a search compares them as well.
        client_loss: ``observation -> loss``: what clients minimise, with what the attacker can tell of their
            draws; None where it is the cross-entropy of the model's scores.
        hooks: the defense itself, whose hooks an attacker may call on images of its own, with randomness of
            its own. Not for ``view`` to set: :meth:`Defense.known` does.

    On the channel ``smashed`` the two functions above get ``{"activations": [N, B, *Z]}``.
    """

    parameters: dict[str, object] = field(default_factory=dict)
    negative_log_likelihood: Callable[[Gradients, Gradients], Tensor] | None = None
    transmitted: Callable[[Gradients], Gradients] | None = None
    release: Callable[[Tensor, torch.Generator], Tensor] | None = None
    transform: InputTransform | None = None
    transmit: Callable[[Gradients, Gradients], Gradients] | None = None
    compares_all: bool = False
    client_loss: Callable[[Observed], ClientLoss] | None = None
    hooks: Defense | None = None


class Defense(ABC):  # noqa: B024 - every hook has a default, a defense overrides those it needs
    """Base class of all defenses; strengths are keyword-only constructor arguments.

    Every hook is the identity by default. The victim is trained WITH its hooks and releases through the
    same hooks, so that the accuracy and the leak of one row belong to the same victim.

    Attributes:
        compares_with_plain: ``details`` of a split-learning victim need the undefended one beside it, which
            is then trained, too.
    """

    compares_with_plain: bool = False

    def model(self, model: nn.Module) -> nn.Module:
        """Changes the architecture before training (e.g. adds a bottleneck)."""
        return model

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:  # noqa: B027
        """What is done before the training: helpers inside ``model`` are trained, added layers get weights.

        Clients do it before round 1, the owner of a classifier before the first step.

        Args:
            model: the defended network, to be changed in place; it is stored with the victim.
            private: the clients' or the owner's images.
            context: randomness.
        """

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        """Transforms what each client computes on.

        Args:
            images: ``[N, B, C, H, W]`` private batches of N clients, in [0, 1].
            labels: ``[N, B]`` int64.
            context: randomness and batch size.

        Returns:
            What the clients' networks take, ``[N, B, ...]``, and the labels.
        """
        return images, labels

    def perturbed(self, inputs: Tensor) -> Tensor:
        """The images ``[N, B, C, H, W]`` inside of what ``inputs`` made."""
        return inputs

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss | None:
        """What N clients of a federation minimise; None: the cross-entropy of the model's scores.

        It is asked for once in a release, and in every local step anew.

        Args:
            images: ``[N, B, ...]``, what the clients' networks take.
            context: randomness and batch size.
        """
        return None

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Transforms what leaves N clients in federated learning, and in SplitFed.

        Args:
            gradients: ``[N, ...]`` per parameter, each client's own; clients never mix.
            context: randomness and batch size.
        """
        return gradients

    def smashed(self, activations: Tensor, context: HookContext) -> Tensor:
        """Transforms what leaves N clients in split learning; differentiable.

        Args:
            activations: ``[N, B, *Z]``, each client's own; clients never mix.
            context: randomness and batch size.
        """
        return activations

    def loss(self, inputs: Tensor, activations: Tensor, context: HookContext) -> Tensor:
        """What split-learning clients minimise beside the task, a scalar.

        Args:
            inputs: ``[N, B, ...]``, what the clients' networks take.
            activations: ``[N, B, *Z]``, what leaves, differentiable in the clients' weights.
            context: randomness and batch size.
        """
        return activations.new_zeros(())

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """What the owner of a classifier minimises before it is released, a scalar.

        Args:
            model: the defended network, in training mode.
            images: ``[M, C, H, W]``.
            labels: int64 ``[M]``.
            context: randomness, and how far the training has come.
        """
        return nn.functional.cross_entropy(model(images), labels)

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """What else should be known of a trained victim, by name, at most 20 numbers; NaN: cannot be known.

        Args:
            model: the defended network with the trained weights.
            test: images that the victim was not trained on.
            context: randomness; of a federation, what its training was.
        """
        return {}

    def view(self) -> DefenseView | None:
        """What an adaptive attacker knows; None if there is nothing to adapt to."""
        return None

    def view_of(self, batch_size: int) -> DefenseView | None:
        """The view on releases of B images, where B decides what is sent, as with noise on a mean."""
        return self.view()

    def known(self, batch_size: int = 1) -> DefenseView | None:
        """The view on releases of B images with the defense itself in it."""
        seen = self.view_of(batch_size)
        return None if seen is None else replace(seen, hooks=self)
