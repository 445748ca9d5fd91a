"""What should be known of a trained PGSL network: how its accuracy depends on who chooses the map's label."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from bench.api import ImageSet
from bench.defenses.pgsl.downsample import attacked_of
from bench.defenses.pgsl.fusion import decision
from bench.defenses.pgsl.maps import MapRule, chosen_labels
from bench.defenses.pgsl.network import PGSLNetwork

AT_ONCE = 250
SMALLEST_MSE = 1e-10
"""An image without a map counts as 100 dB."""
PLAIN = "plain_"
"""Before the name of what a plain network reaches on the same attacked images."""

Measured = dict[str, Tensor]
"""One number for each image, ``[M]``, by name."""


def measured(
    network: PGSLNetwork,
    test: ImageSet,
    *,
    rule: MapRule,
    source: str,
    training_label: str,
    generator: torch.Generator,
    plain: nn.Module | None = None,
) -> dict[str, float]:
    """Accuracies (shares of the images) and the size of the perturbation, by name.

    ``absent``, ``predicted``, ``true_label``, ``random_label`` and ``wrong_map`` are those of the decision
    where there is no map, or one for the classifier's guess, for the true label, for any class, for another
    class; ``wrong_says_wrong`` is the share of decisions for that other class. ``stream_*`` belong to guessed
    labels. ``surrogate`` is the classifier's accuracy on the images, ``surrogate_attacked`` on those attacked
    with their true labels. ``psnr`` in dB compares images with those attacked as in the training. With a
    plain network, ``plain_*`` are its accuracies on the very images x^ that the name after it speaks of.
    """
    # Draws of its own: all other numbers are what they are without it.
    any_class = torch.Generator(generator.device).manual_seed(generator.initial_seed() ^ 1)
    classify = network.map_source(source)

    def attacked_by(
        choice: str, images: Tensor, labels: Tensor, chance: torch.Generator = generator
    ) -> tuple[Tensor, Tensor]:
        named = chosen_labels(choice, classify, images, labels, chance)
        return rule.carriers(classify, images, named), named

    @torch.no_grad()
    def part(images: Tensor, labels: Tensor) -> Measured:
        true, _ = attacked_by("true", images, labels)
        wrong, other = attacked_by("wrong", images, labels)
        shown, _ = attacked_by(training_label, images, labels)
        guessed, _ = attacked_by("predicted", images, labels)
        drawn, _ = attacked_by("random", images, labels, any_class)
        carriers = {
            "absent": network.embed(images),
            "true_label": true,
            "random_label": drawn,
            "wrong_map": wrong,
        }
        says = {name: network(item).argmax(1) for name, item in carriers.items()}
        found = {name: answers == labels for name, answers in says.items()}
        return {
            **_by_guess(network, guessed, labels),
            **found,
            "wrong_says_wrong": says["wrong_map"] == other,
            "surrogate": classify(images).argmax(1) == labels,
            "surrogate_attacked": classify(attacked_of(true)).argmax(1) == labels,
            "psnr": _psnr(attacked_of(shown), images),
            **dict(_by_plain(plain, carriers | {"predicted": guessed}, labels)),
        }

    parts = [
        part(images, labels)
        for images, labels in zip(test.images.split(AT_ONCE), test.labels.split(AT_ONCE), strict=True)
    ]
    return {name: torch.cat([item[name] for item in parts]).double().mean().item() for name in parts[0]}


def _by_plain(
    plain: nn.Module | None, carriers: dict[str, Tensor], labels: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Which answers of a plain network to the images inside of carriers are right."""
    if plain is not None:
        for name, item in carriers.items():
            yield f"{PLAIN}{name}", plain(attacked_of(item)).argmax(1) == labels


def _by_guess(network: PGSLNetwork, carriers: Tensor, labels: Tensor) -> Measured:
    """Which decisions of the server, and of each stream, are right."""
    streams = network.server.streams(network.client(carriers))
    right = {f"stream_{name}": scores.argmax(1) == labels for name, scores in streams._asdict().items()}
    return {"predicted": decision(streams).argmax(1) == labels} | right


def _psnr(shown: Tensor, images: Tensor) -> Tensor:
    """PSNR ``[M]`` in dB."""
    error = mse_loss(shown, images, reduction="none").flatten(1).mean(1)
    return -10 * error.clamp_min(SMALLEST_MSE).log10()
