"""An attacker of a black box has its answers, and neither the weights nor a gradient of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from multiprocessing import Pipe
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    Adversary,
    BlackBoxObservation,
    Defense,
    IncompatibleError,
    ModelAccess,
    ModelObservation,
    PluginError,
)
from bench.api.cards import AttackCard
from bench.cells.remote import Lost, Peer, Remote
from bench.cells.transfer import to_bytes
from bench.channels.model import CHANNEL
from bench.channels.shared.black_box import BlackBox
from bench.channels.shared.contract import Attacker
from bench.plugins import attack_card, build_attack, discover
from bench.victims.owner import release_classifier
from bench.victims.releases import Source
from tests.engine.observations import DIGITS, digits, drawn

BLACK = [ModelAccess.SCORE, ModelAccess.LABEL]


@cache
def source() -> Source:
    return Source(
        model="lenet", parameters=dict(drawn("lenet", 0).state_dict()), private=digits().private_train,
        num_classes=10, image_shape=DIGITS, defense=Defense(), releases=4, batch_size=2, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip


def seen_by(access: ModelAccess) -> ModelObservation:
    card: Any = SimpleNamespace(
        needs_auxiliary=True, needs_generator=False, receives_pool=False, classifier_access=access
    )
    attacker = Attacker(card=card, adversary=Adversary.NAIVE, auxiliary=digits().auxiliary)
    return CHANNEL.observe(source(), release_classifier(source()), attacker)


def black(access: ModelAccess) -> BlackBoxObservation:
    seen = seen_by(access)
    assert isinstance(seen, BlackBoxObservation)
    return seen


def test_the_default_is_the_white_box() -> None:
    seen = seen_by(ModelAccess.WHITE)
    assert type(seen) is ModelObservation and not hasattr(seen, "query")
    assert any(True for _ in seen.model.parameters())


@pytest.mark.parametrize("access", BLACK)
def test_answers_are_those_of_the_released_network(access: ModelAccess) -> None:
    white, seen, images = seen_by(ModelAccess.WHITE), black(access), digits().auxiliary.images[:300]
    scores = white.model(images)
    answers = seen.query(images)
    if access is ModelAccess.LABEL:
        assert answers.dtype == torch.int64 and torch.equal(answers, scores.argmax(1))
    else:
        assert torch.allclose(answers, scores.softmax(1), atol=1e-6)
        assert torch.equal(seen.query(images.double()[:3]), answers[:3].double())
    assert replace(seen, targets=seen.targets[:1]).query is seen.query


@pytest.mark.parametrize("access", BLACK)
def test_no_gradient_passes(access: ModelAccess) -> None:
    images = digits().auxiliary.images[:3].clone().requires_grad_()
    answers = black(access).query(images)
    assert not answers.requires_grad and answers.grad_fn is None and images.grad is None


@pytest.mark.parametrize("access", BLACK)
def test_every_image_that_is_asked_is_counted(access: ModelAccess) -> None:
    query = black(access).query
    assert isinstance(query, BlackBox) and query.asked == 0
    for count in (300, 1, 7):
        query(digits().auxiliary.images[:count])
    assert query.asked == 308


@pytest.mark.parametrize("access", BLACK)
def test_where_a_model_was_nothing_answers(access: ModelAccess) -> None:
    seen = black(access)
    assert list(seen.model.parameters()) == list(seen.model.buffers()) == []
    with pytest.raises(IncompatibleError, match="only ask"):
        seen.model(digits().auxiliary.images[:1])


@pytest.mark.parametrize("access", BLACK)
def test_no_weight_travels_to_where_an_attack_runs(access: ModelAccess) -> None:
    """Of the box itself they would: it stays, as all do that an observation names ``query``."""
    seen, weights = black(access), [value for value in source().parameters.values() if value.numel() > 20]

    def held(data: memoryview) -> bool:
        return any(value.contiguous().numpy().tobytes() in bytes(data) for value in weights)

    assert held(to_bytes(seen.query._network.state_dict(), {}))  # type: ignore[attr-defined]
    assert not held(to_bytes(seen, {id(seen.query)}))


def test_the_far_end_of_the_pipe_can_ask_and_nothing_else() -> None:
    """What it is sent is no network, and what it asks the near end for, the network included, is refused."""
    ours, theirs = Pipe()
    near, far = Peer(ours, trusting=False), Peer(theirs, trusting=True)
    seen, failed = black(ModelAccess.LABEL), list[BaseException]()

    def serve() -> None:
        near.offer(seen.query)
        near.send("run", seen)
        try:
            near.wait()
        except PluginError as error:
            failed.append(error)
            ours.close()

    server = Thread(target=serve)
    server.start()
    _, got = far.wait()
    images = digits().auxiliary.images[:5]
    assert isinstance(got.query, Remote) and not isinstance(got.query, nn.Module)
    answers: Tensor = got.query(images)
    assert torch.equal(answers, seen_by(ModelAccess.WHITE).model(images).argmax(1))
    with pytest.raises(AttributeError):
        got.query._network  # noqa: B018
    with pytest.raises(Lost):
        far.call(got.query._number, "_network")
    server.join(10)
    assert failed and "_network" in str(failed[0])


def test_white_box_attacks_refuse_a_black_box() -> None:
    seen = replace(black(ModelAccess.LABEL), generator=None)
    for name in ("gmi", "kedmi", "ppa"):
        with pytest.raises(IncompatibleError):
            build_attack(name, {}).reconstruct(seen, budget=4, seed=0)


def test_a_card_asks_for_less_than_the_weights_on_this_channel_alone() -> None:
    own = attack_card("gmi").model_dump() | {"classifier_access": "label"}
    assert AttackCard.model_validate(own).classifier_access is ModelAccess.LABEL
    with pytest.raises(ValueError, match="classifier_access"):
        AttackCard.model_validate(own | {"channels": ["gradients"]})
    with pytest.raises(ValueError, match="classifier_access"):
        AttackCard.model_validate(own | {"classifier_access": "weights"})


def test_keys_of_attacks_that_always_had_the_weights_stay() -> None:
    """The field counts where it says something, so that results of the time before it are found again."""
    from bench.cache.keys import _asked_for

    plain = attack_card("gmi")
    fields = {
        *("kind", "observes_release", "needs_auxiliary", "needs_labels", "needs_generator"),
        *("needs_linear_input", "receives_pool", "access"),
    }
    for name in discover("attack").plugins:
        card = attack_card(name)
        black = card.classifier_access is not ModelAccess.WHITE
        assert set(_asked_for(card)) == fields | ({"classifier_access"} if black else set())
    asked = plain.model_copy(update={"classifier_access": ModelAccess.SCORE})
    assert _asked_for(asked) == _asked_for(plain) | {"classifier_access": "score"}
