"""A malicious server: what one broadcast of layers in front of the network shows of large batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, Defense, GradientObservation, IncompatibleError, PluginError, Reconstruction
from bench.channels import channel
from bench.channels.shared.contract import Attacker
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.broadcast import ObedientClients
from bench.victims.releases import Release, Source
from tests.engine.observations import digits, weights
from tests.victims.small import digits_source

CHANNEL = channel("malicious")
CARD = attack_card("imprint")
BINS = 400


def setting(model: str = "lenet", **changes: object) -> tuple[Source, Release]:
    place = digits_source(model, weights(model, 0), **changes)
    return place, CHANNEL.release(place)


def seen(place: Source, sent: Release, adversary: Adversary = Adversary.NAIVE) -> GradientObservation:
    clients = CHANNEL.session(place, sent, CARD, initial=place.parameters, splits=digits())
    found: GradientObservation = CHANNEL.observe(
        place, sent, Attacker(card=CARD, adversary=adversary, auxiliary=digits().auxiliary, session=clients)
    )
    return found


def found(observation: GradientObservation, **parameters: object) -> Reconstruction:
    attack = build_attack("imprint", {"bins": BINS, **parameters})
    result: Reconstruction = attack.reconstruct(observation, budget=1, seed=0)
    return result


def exact(result: Reconstruction, sent: Release) -> tuple[Tensor, Tensor]:
    """Which private images are there to the fourth digit, ``[N, B]``, and whether with their labels."""
    gaps = (result.images[:, None] - sent.images[:, :, None]).flatten(3).abs().amax(-1)
    assert result.labels is not None
    nearest = gaps.argmin(2)
    return gaps.amin(2) < 1e-3, result.labels.gather(1, nearest) == sent.labels


@pytest.mark.parametrize("model", ["lenet", "convnet"])
def test_most_images_of_large_batches_are_read_exactly_with_their_labels(model: str) -> None:
    place, sent = setting(model, batch_size=32, releases=2)
    images, labels = exact(found(seen(place, sent)), sent)
    assert images.float().mean() > 0.8
    assert labels[images].float().mean() > 0.9


def test_noise_of_a_fixed_size_is_drowned_by_an_attacker_who_knows_of_it() -> None:
    place, sent = setting(batch_size=8, releases=2, defense=build_defense("noise", {"sigma": 0.1}))
    naive, adaptive = (exact(found(seen(place, sent, who)), sent)[0] for who in Adversary)
    assert not naive.any() and adaptive.float().mean() > 0.8


def test_the_gain_changes_no_score_and_every_gradient_of_the_block() -> None:
    place, sent = setting(batch_size=4, releases=1)
    generator = torch.Generator().manual_seed(0)
    block = {
        "weight": torch.rand(5, 1024, generator=generator) / 1024, "bias": torch.rand(5, generator=generator),
        "back": torch.randn(1024, 5, generator=generator) / 5, "offset": torch.zeros(1024),
    }  # fmt: skip
    louder = block | {name: block[name] / 8 for name in ("weight", "bias")} | {"back": 8 * block["back"]}
    plain, loud = (
        ObedientClients(place, sent.images, sent.labels).release(**layers) for layers in (block, louder)
    )
    for name, value in plain.items():
        if name.startswith("network."):
            torch.testing.assert_close(loud[name], value, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(loud["front.in.weight"], 8 * plain["front.in.weight"], rtol=1e-3, atol=1e-7)


def test_an_image_that_shares_its_bin_is_shown_mixed_and_counted_as_missing() -> None:
    place, sent = setting(batch_size=4, releases=1)
    images = sent.images.clone()
    images[:, 1] = images[:, 0]
    result = found(seen(place, replace(sent, images=images)))
    assert result.cost.tolist() == [0.25]
    assert result.labels is not None and (result.labels == -1).sum() == 1


def test_without_clients_or_images_it_is_refused() -> None:
    observation = seen(*setting())
    for missing in ("session", "auxiliary"):
        with pytest.raises(IncompatibleError):
            found(replace(observation, **{missing: None}))  # type: ignore[arg-type]


def test_only_the_servers_question_is_answered() -> None:
    place, sent = setting(batch_size=2)
    observation = seen(place, sent)
    assert not observation.gradients and observation.victims == 4
    assert isinstance(observation.session, ObedientClients)
    assert observation.session.facts() == {}
    found(observation)
    facts = observation.session.facts()
    assert 0.5 <= facts["honest_share"] < facts["single_share"] <= 1
    with pytest.raises(PluginError, match="once"):
        found(observation)
    blind = CHANNEL.session(place, sent, attack_card("prior"), initial=place.parameters, splits=digits())
    assert blind is None and isinstance(place.defense, Defense)
