"""Two halves of the caller, attacked in one call."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bench.api.attack import Reconstruction, SmashedAttack
from bench.api.errors import IncompatibleError, UsageError
from bench.api.smashed import SmashedObservation
from bench.own.activations import attack_activations
from bench.own.attempt import Outcome

from .nets import IMAGE, blobs

SHOWN, LABELS = blobs(4)
OTHERS, _ = blobs(120, seed=1)
OWN, _ = blobs(80, seed=2)


def halves() -> tuple[nn.Module, nn.Module]:
    """A shallow client and its server."""
    torch.manual_seed(0)
    client = nn.Sequential(nn.Conv2d(1, 6, 3, 1, 1), nn.LeakyReLU(), nn.Conv2d(6, 6, 3, 2, 1))
    return client, nn.Sequential(nn.Flatten(), nn.Linear(6 * 36, 4))


GOOD: dict[str, Any] = {"images": SHOWN, "labels": LABELS}


def test_a_white_box_finds_every_image_and_both_halves_stay_as_they_are() -> None:
    client, server = halves()
    before = copy.deepcopy([*client.parameters(), *server.parameters()])
    leak = attack_activations(client, server, **GOOD, distractors=OTHERS, attacks=["rmle", "candidates"])
    assert leak.found == 4 and leak.strongest is not None and leak.strongest.explained > 0.999
    assert leak.attempts[1].bound and leak.attempts[1].found == 4
    assert all(a.equal(b) for a, b in zip(before, [*client.parameters(), *server.parameters()], strict=True))


def test_recorded_activations_give_what_computed_ones_give() -> None:
    client, server = halves()
    with torch.no_grad():
        sent = client(SHOWN)
    computed = attack_activations(client, server, **GOOD, batch_size=2, attacks=["rmle"])
    recorded = attack_activations(client, server, sent, batch_size=2, image_shape=IMAGE, attacks=["rmle"])
    scored = attack_activations(client, server, sent, **GOOD, batch_size=2, attacks=["rmle"])
    assert computed.images is not None and recorded.images is not None
    assert recorded.images.shape == (2, 2, *IMAGE) and recorded.found is None
    assert torch.allclose(computed.images, recorded.images, atol=0.02)
    assert scored.found == 4


@pytest.mark.parametrize("access", ["weights", "query", "architecture"])
def test_what_the_attacker_has_decides_which_attacks_run(access: Any) -> None:
    attacks = ["rmle", "inverse_network", "query_free", "fsha"]
    leak = attack_activations(
        *halves(), **GOOD, access=access, attacks=attacks, auxiliary=OWN, distractors=OTHERS, budget=40
    )
    done = {item.attack for item in leak.attempts if item.outcome is Outcome.DONE}
    needs = {"weights": {"rmle"}, "query": {"inverse_network"}, "architecture": {"query_free"}}
    order = ["weights", "query", "architecture"]
    assert done == set().union(*(needs[name] for name in order[order.index(access) :]))
    assert not any(item.outcome is Outcome.FAILED for item in leak.attempts), leak.attempts


class _Looks(SmashedAttack):
    """Keeps what it was given."""

    seen: SmashedObservation

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """Nothing."""
        self.seen = observation
        raise IncompatibleError("it only looks")


@pytest.mark.parametrize("access", ["weights", "query", "architecture"])
def test_an_architecture_holds_nothing_of_the_victim(access: Any) -> None:
    client, server = halves()
    client = nn.Sequential(client, nn.BatchNorm2d(6, affine=False))
    client(SHOWN)
    attack = _Looks()
    attack_activations(client.eval(), server, **GOOD, access=access, attacks=[attack])
    given = attack.seen.model.state_dict()
    own = {
        f"client.{name}": value for name, value in client.state_dict().items() if value.is_floating_point()
    }
    assert own and not any(given[name].equal(value) for name, value in own.items())
    assert attack.seen.labels is None and attack.seen.pool is None
    assert (attack.seen.client is not None) == (access == "weights")


def test_private_images_among_the_attackers_are_refused() -> None:
    with pytest.raises(UsageError, match="auxiliary"):
        attack_activations(
            *halves(), **GOOD, auxiliary=torch.cat([OWN, SHOWN[:1]]), attacks=["inverse_network"]
        )


class _Noise(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Another answer at every call."""
        return values + torch.randn_like(values)


@pytest.mark.parametrize("odd", [_Noise(), nn.BatchNorm2d(6), nn.Dropout(0.5)])
def test_answers_that_depend_on_more_than_the_image_are_refused(odd: nn.Module) -> None:
    client, server = halves()
    with pytest.raises(UsageError):
        attack_activations(nn.Sequential(client, odd), server, **GOOD, attacks=["rmle"])


def test_a_defense_of_the_client_is_applied() -> None:
    plain = attack_activations(*halves(), **GOOD, distractors=OTHERS, attacks=["rmle"])
    noisy = attack_activations(
        *halves(), **GOOD, distractors=OTHERS, attacks=["rmle"], defense="activation_noise[sigma=1.0]"
    )
    assert plain.strongest is not None and noisy.strongest is not None
    assert noisy.strongest.psnr < plain.strongest.psnr - 10
    assert noisy.strongest.adversary == "adaptive"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["activations"]),
        ({"labels": LABELS}, ["images are missing"]),
        ({**GOOD, "access": "all"}, ["architecture"]),
        ({"activations": torch.zeros(3, 6, 6, 5), "image_shape": IMAGE}, ["('M', 6, 6, 6)"]),
        ({**GOOD, "activations": torch.zeros(3, 6, 6, 6)}, ["3 releases"]),
        ({**GOOD, "batch_size": 0}, ["1 or more"]),
        ({**GOOD, "defense": "nopeek"}, ["trained with it"]),
        ({**GOOD, "defense": "noise"}, ["smashed"]),
        ({**GOOD, "defense": "pgsl"}, ["changes the network"]),
    ],
)
def test_what_does_not_fit_is_said_in_words(given: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        attack_activations(*halves(), **given)
    assert all(part in str(caught.value) for part in named), str(caught.value)
