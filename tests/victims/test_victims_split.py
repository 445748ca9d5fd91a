"""Split learning: what passes the cut, and that nothing else is needed to train both halves."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import (
    Adversary,
    Channel,
    Defense,
    HookContext,
    ImageSet,
    IncompatibleError,
    Phase,
    Splits,
)
from bench.api.threat import Access
from bench.channels.shared.halves import observe_weight_gradients
from bench.engine.gradients import gradient_map, one_hot
from bench.matrix import Filters, Matrix, expand
from bench.models.build import schedule_of
from bench.models.names import ALIASES
from bench.models.split import SplitModel
from bench.plugins import attack_card, build_defense, defense_card, discover
from bench.victims.releases import Source, release_gradients
from bench.victims.server import learning_rate
from bench.victims.session import HijackedTraining
from bench.victims.split import Client, HonestServer, build_split, predicted, split_schedule, train_split
from bench.victims.split_releases import (
    CLIENT,
    SERVER,
    SplitLoss,
    release_activations,
)
from bench.victims.splitfed import release_weight_gradients
from bench.victims.training import stream
from tests.engine.observations import DIGITS, digits

from .small import digits_source, few

CPU = torch.device("cpu")
MODEL = "splitnet_deep"
SMASHED_DEFENSES = [
    name for name in sorted(discover("defense").plugins) if Channel.SMASHED in defense_card(name).channels
]


class Shifted(Defense):
    """Changes what the clients compute on and what leaves, so that both hooks are seen at work."""

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        return images * (0.5 if context.phase is Phase.TRAIN else 0.25), labels

    def smashed(self, activations: Tensor, context: HookContext) -> Tensor:
        noise = torch.randn(activations.shape, generator=context.generator)
        return activations + 0.1 * noise


def network(seed: int = 0, defense: Defense | None = None) -> SplitModel:
    built = build_split(MODEL, num_classes=10, image_shape=DIGITS, defense=defense or Defense())
    built.initialise(stream(seed, "weights", CPU))
    return built


def context(model: nn.Module, phase: Phase = Phase.TRAIN) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(0), batch_size=4, phase=phase, model=model)


def source(defense: Defense | None = None) -> Source:
    weights = dict(network().state_dict())
    return digits_source(MODEL, weights, defense=defense or Defense(), releases=3, batch_size=2)


def test_the_protocol_gives_both_halves_the_gradient_of_the_whole() -> None:
    """Two tensors pass the cut, and together they are back-propagation through the whole network."""
    split, images, labels = network(), digits().private_train.images[:4], digits().private_train.labels[:4]
    whole = {name: value.detach().clone().requires_grad_() for name, value in split.named_parameters()}
    loss = nn.functional.cross_entropy(functional_call(split, whole, (images,)), labels)
    wanted = dict(zip(whole, torch.autograd.grad(loss, list(whole.values())), strict=True))
    client = Client(split, Defense(), context(split), 0.0)
    server = HonestServer(split, 0.0)
    sent = client.send(images, labels)
    assert not sent.requires_grad and sent.grad_fn is None
    answer = server.answer(sent, labels, 0.0)
    assert not answer.requires_grad and answer.shape == sent.shape
    assert all(value.grad is None for value in split.client.parameters())
    client.receive(answer, 0.0)
    for name, value in split.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(value.grad, wanted[name], rtol=1e-4, atol=1e-6)


def test_a_client_steps_once_for_each_batch() -> None:
    split = network()
    client = Client(split, Defense(), context(split), 0.1)
    with pytest.raises(RuntimeError, match="sent"):
        client.receive(torch.zeros(1), 0.1)
    sent = client.send(digits().private_train.images[:2], digits().private_train.labels[:2])
    before = [value.clone() for value in split.server.parameters()]
    client.receive(torch.ones_like(sent), 0.1)
    assert all(map(torch.equal, before, split.server.parameters()))
    with pytest.raises(RuntimeError, match="sent"):
        client.receive(torch.ones_like(sent), 0.1)


def test_training_learns_and_repeats_itself() -> None:
    def train(seed: int) -> tuple[float, Tensor]:
        victim = train_split(
            model=MODEL, splits=digits(), num_classes=10, image_shape=DIGITS, defense=Defense(), epochs=1,
            seed=seed, device=CPU,
        )  # fmt: skip
        assert victim.curve[-1]["accuracy"] == victim.accuracy > victim.initial_accuracy + 0.3
        return victim.accuracy, victim.trained["client.0.weight"]

    first, again, other = train(0), train(0), train(1)
    assert first[0] == again[0] and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_an_architecture_made_for_sgd_learns_with_a_rate_of_adam() -> None:
    victim = train_split(
        model="convnet[cut=1]", splits=digits(), num_classes=10, image_shape=DIGITS, defense=Defense(),
        epochs=1, seed=0, device=CPU,
    )  # fmt: skip
    assert victim.accuracy > 0.8
    assert split_schedule("convnet[cut=1,learning_rate=0.1]").learning_rate == 0.1
    assert split_schedule(MODEL) == schedule_of(MODEL)


@pytest.mark.parametrize("model", sorted(ALIASES))
def test_training_is_that_of_the_whole_network_by_textbook_adam(model: str) -> None:
    """Neither the cut nor the order in memory changes the steps, and what is kept is in the usual order."""
    data, rate, rounds = digits(), schedule_of(model).learning_rate, 4
    victim = train_split(
        model=model, splits=data, num_classes=10, image_shape=DIGITS, defense=Defense(),
        epochs=(rounds + 0.5) * 32 / len(data.private_train), seed=0, device=CPU,
    )  # fmt: skip
    assert victim.rounds == rounds and all(value.is_contiguous() for value in victim.trained.values())
    whole = build_split(model, num_classes=10, image_shape=DIGITS, defense=Defense())
    whole.initialise(stream(0, "weights", CPU))
    steps = torch.optim.Adam(whole.parameters(), lr=rate, foreach=False)
    order = torch.randperm(len(data.private_train), generator=stream(0, "batches", CPU))
    for turn in range(rounds):
        index = order[32 * turn : 32 * (turn + 1)]
        steps.zero_grad()
        images, labels = data.private_train.images[index], data.private_train.labels[index]
        nn.functional.cross_entropy(whole(images), labels).backward()
        steps.param_groups[0]["lr"] = learning_rate(schedule_of(model), (turn + 1) / rounds)
        steps.step()
    kept = build_split(model, num_classes=10, image_shape=DIGITS, defense=Defense())
    kept.load_state_dict(victim.trained)
    shown = data.private_test.images[:50]
    torch.testing.assert_close(kept(shown), whole(shown), rtol=1e-3, atol=1e-3)


def test_a_network_in_one_piece_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="lenet"):
        build_split("lenet", num_classes=10, image_shape=DIGITS, defense=Defense())


def test_an_answer_does_not_depend_on_the_neighbours() -> None:
    split, test = network(), digits().private_test
    few = replace(test, images=test.images[:5], labels=test.labels[:5])
    alone = replace(test, images=test.images[3:4], labels=test.labels[3:4])
    scores = [predicted(split, data, defense=Defense(), context=context(split)) for data in (few, alone)]
    torch.testing.assert_close(scores[0][3:4], scores[1])


def test_releases_pass_the_hooks_and_show_what_the_clients_computed_on() -> None:
    plain, changed = release_activations(source()), release_activations(source(Shifted()))
    again = release_activations(source(Shifted()))
    assert torch.equal(plain.images, changed.images) and torch.equal(plain.indices, changed.indices)
    assert plain.perturbed is None
    assert changed.perturbed is not None and torch.equal(changed.perturbed, 0.5 * changed.images)
    assert torch.equal(changed.sent["activations"], again.sent["activations"])
    clean = network().client(0.5 * plain.images.flatten(0, 1)).unflatten(0, (3, 2))
    spread = (changed.sent["activations"] - clean).std()
    assert 0.09 < spread < 0.11


def test_both_channels_of_one_seed_release_the_same_images() -> None:
    lenet = release_gradients(replace(source(), model="splitnet_deep"))
    assert torch.equal(lenet.images, release_activations(source()).images)


@pytest.mark.parametrize("model", ["splitnet_deep", "split_lenet"])
@pytest.mark.parametrize("defense", ["none", "pgsl"])
def test_an_attackers_gradient_is_the_one_that_the_protocol_gives(defense: str, model: str) -> None:
    """One round of the protocol for each client against one batched call of the engine."""
    guard = build_defense(defense, {})
    split = build_split(model, num_classes=10, image_shape=DIGITS, defense=guard)
    split.initialise(stream(1, "weights", CPU))
    place = replace(source(guard), model=model, parameters=dict(split.state_dict()))
    both = release_weight_gradients(place, halves=(CLIENT, SERVER))
    part = release_weight_gradients(place, halves=(CLIENT,))
    assert set(part.sent) == {name for name in both.sent if name.startswith(CLIENT)}
    inputs, _ = guard.inputs(both.images, both.labels, place.context(split))
    known = {name: value for name, value in place.parameters.items() if name.startswith((CLIENT, SERVER))}
    for sent in (both.sent, part.sent):
        gradients = gradient_map(
            split, known, per_victim_weights=False, batch_loss=SplitLoss(split), names=tuple(sent)
        )
        made = gradients(inputs, one_hot(both.labels, 10))
        assert list(made) == list(sent)
        for name, value in sent.items():
            assert (made[name] - value).abs().max() <= 1e-4 * value.abs().max()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("mode", ["low_rank", "residual"])
def test_an_attacker_can_differentiate_what_the_protocol_withholds(mode: str, alone: bool) -> None:
    """Streams that return no gradient to the client still depend on its image."""
    guard = build_defense("pgsl", {"recovery": mode})
    split = build_split("split_lenet", num_classes=10, image_shape=(1, 8, 8), defense=guard).double()
    for value in split.parameters():
        nn.init.uniform_(value, -0.5, 0.5, generator=torch.Generator().manual_seed(value.numel()))
    known = {k: v.detach() for k, v in split.named_parameters() if k.startswith((CLIENT, SERVER))}
    names = ["client.0.weight", *(f"server.{stream}.3.bias" for stream in ("attacked", "recovered", "fused"))]
    gradients = gradient_map(
        split, known, per_victim_weights=False, batch_loss=SplitLoss(split), names=names, alone=alone
    )
    targets = one_hot(torch.tensor([[3]]), 10, torch.float64)
    images = torch.rand(1, 1, 5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_images(batch: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradients(batch, targets).values())

    assert torch.autograd.gradcheck(of_images, images.requires_grad_(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("channel", [Channel.GRADIENTS, Channel.CLIENT_GRADIENTS])
@pytest.mark.parametrize("adversary", list(Adversary))
def test_what_passes_the_door_of_weight_gradients(adversary: Adversary, channel: Channel) -> None:
    from bench.check.materials import material, split_material

    place = split_material.source(build_defense("pgsl", {}))
    halves = (CLIENT, SERVER) if channel == Channel.GRADIENTS else (CLIENT,)
    sent = release_weight_gradients(place, halves=halves)
    who = material.attacker(attack_card("dlg"), sent, adversary)
    seen = observe_weight_gradients(place, sent, who, channel)
    adaptive = adversary is Adversary.ADAPTIVE
    assert seen.threat.channel == channel and seen.threat.adversary is adversary and seen.labels is None
    assert (seen.defense is not None) == (seen.auxiliary is not None) == seen.threat.auxiliary == adaptive
    assert all(name.startswith(halves) for name in seen.gradients) and set(seen.gradients) == set(sent.sent)
    assert all(name.startswith((CLIENT, SERVER)) for name in seen.parameters)
    secret = {k: v for k, v in place.parameters.items() if k.startswith("surrogate") and v.std() > 0}
    values = [*seen.model.state_dict().values(), *seen.parameters.values()]
    assert secret
    assert not any(a.shape == b.shape and torch.equal(a, b) for a in values for b in secret.values())


def hijacked() -> HijackedTraining:
    private = digits().private_train
    return HijackedTraining(
        network(),
        private=private,
        test=digits().private_test,
        attacked=(private.images[:4, None], private.labels[:4, None]),
        defense=Defense(),
        rate=0.01,
        batch_size=8,
        seed=0,
    )


def test_hijacked_clients_obey_and_their_release_follows_their_weights() -> None:
    session = hijacked()
    before = session.release()
    assert before.shape[:2] == (4, 1) and not before.requires_grad
    sent = session.send()
    assert sent.shape[0] == 8 and not sent.requires_grad
    session.answer(torch.ones_like(sent))
    after = session.release()
    assert not torch.equal(before, after)
    assert after.mean() < before.mean(), "a step against a gradient of ones makes the activations smaller"


def test_the_task_is_measured_on_images_that_the_attacker_never_sees() -> None:
    session = hijacked()
    assert session.task_accuracy is None
    session.report(lambda activations: torch.nn.functional.one_hot(torch.full((len(activations),), 3), 10))
    share = (digits().private_test.labels == 3).double().mean().item()
    assert session.task_accuracy == pytest.approx(share)


SMASHED = [name for name, item in discover("attack").plugins.items() if Channel.SMASHED in item.card.channels]


@pytest.mark.parametrize("attack", SMASHED)
def test_only_the_declared_access_passes_the_door(attack: str) -> None:
    from bench.check.materials import split_material

    place = split_material.source(Defense())
    seen = split_material.observation(attack, place, split_material.released(place))
    card = attack_card(attack)
    access = card.access
    assert (seen.client is not None) == (access is Access.WEIGHTS)
    assert (seen.query is not None) == (access is Access.QUERY)
    assert (seen.received is not None) == (access is Access.PASSIVE)
    assert (seen.session is not None) == (access is Access.ACTIVE)
    assert (seen.auxiliary is not None) == (card.needs_auxiliary or card.needs_generator)
    assert (seen.generator is not None) == card.needs_generator
    assert (seen.labels is not None) == card.needs_labels and (seen.pool is not None) == card.receives_pool
    assert seen.defense is None and seen.threat.adversary is Adversary.NAIVE
    theirs = {name: value for name, value in place.parameters.items() if name.startswith("client")}
    blank = dict(seen.model.state_dict())
    assert not any(torch.equal(blank[name], value) for name, value in theirs.items() if "weight" in name)


@pytest.mark.parametrize("adversary", list(Adversary))
@pytest.mark.parametrize("attack", SMASHED)
def test_a_helper_that_the_client_keeps_is_not_within_reach(attack: str, adversary: Adversary) -> None:
    """PGSL's clients train a classifier of their own: not even the white box sees its weights."""
    from bench.check.materials import split_material

    place = split_material.source(build_defense("pgsl", {}))
    secret = {k: v for k, v in place.parameters.items() if k.startswith("surrogate") and v.std() > 0}
    assert secret
    sent = split_material.released(place)
    seen = split_material.observation(attack, place, sent, adversary=adversary)
    reached = [seen.model, seen.server, *([seen.client] if seen.client else [])]
    if seen.query is not None:
        reached += [cell.cell_contents for cell in inspect.unwrap(seen.query).__closure__ or ()]
    values = [value for module in reached for value in module.state_dict().values()]
    assert not any(a.shape == b.shape and torch.equal(a, b) for a in values for b in secret.values())


def test_a_matrix_says_why_a_channel_does_not_fit() -> None:
    matrix = Matrix.model_validate(
        {
            "name": "mixed",
            "version": 1,
            "description": "x",
            "seeds": [0],
            "block": [
                {
                    "channel": "smashed",
                    "datasets": ["mnist5k"],
                    "models": ["lenet", MODEL],
                    "checkpoints": ["trained"],
                    "batch_sizes": [1],
                    "releases": 2,
                    "budget": 10,
                    "attacks": ["prior", "dlg"],
                    "adversaries": ["naive"],
                    "defenses": ["none", "pruning"],
                },
                {
                    "datasets": ["mnist5k"],
                    "models": [MODEL],
                    "checkpoints": ["trained"],
                    "batch_sizes": [1],
                    "releases": 2,
                    "budget": 10,
                    "attacks": ["idlg"],
                    "adversaries": ["naive"],
                    "defenses": ["none", "pruning", "pgsl"],
                },
            ],
        }
    )
    reasons = {
        (cell.model, cell.attack.name, cell.defense.name): cell.incompatible
        for cell in expand(matrix, Filters())
    }
    assert reasons[MODEL, "prior", "none"] == ""
    assert "lenet" in reasons["lenet", "prior", "none"]
    made = "gradients and client_gradients"
    assert all(fact in reasons[MODEL, "dlg", "none"] for fact in ("dlg", made))
    assert all(fact in reasons[MODEL, "prior", "pruning"] for fact in ("pruning", made))
    assert MODEL in ALIASES
    assert reasons[MODEL, "idlg", "none"] == reasons[MODEL, "idlg", "pgsl"] == ""
    assert reasons[MODEL, "idlg", "pruning"] == ""
    optioned = next(iter(expand(matrix, Filters(models=("cnn[cut=2,epochs=1]",)))))
    assert "epochs=1" in optioned.incompatible


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMASHED_DEFENSES)
def test_both_halves_train_on_a_gpu_and_the_client_releases_there(name: str) -> None:
    place, defense = torch.device("cuda"), build_defense(name, {})
    victim = train_split(
        model=MODEL, splits=few(200), defense=defense, epochs=1, seed=0, device=place, num_classes=10,
        image_shape=DIGITS,
    )  # fmt: skip
    assert all(value.isfinite().all() for value in victim.trained.values())
    source = digits_source(MODEL, victim.trained, defense=defense, releases=2, batch_size=2, device=place)
    sent = release_activations(source).sent
    assert all(value.device.type == place.type and value.isfinite().all() for value in sent.values())


class Compared(Defense):
    """Asks for the undefended victim, and remembers it."""

    compares_with_plain = True
    plain: nn.Module | None = None

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        self.plain = context.plain
        return {}


def test_a_defense_that_asks_for_it_meets_the_undefended_victim_of_its_seed() -> None:
    parts = digits()
    splits = Splits(
        private_train=ImageSet(parts.private_train.images[:320], parts.private_train.labels[:320]),
        private_test=ImageSet(parts.private_test.images[:50], parts.private_test.labels[:50]),
        auxiliary=parts.auxiliary,
    )
    common: dict[str, Any] = {
        "model": "split_lenet", "splits": splits, "num_classes": 10, "image_shape": DIGITS, "epochs": 1,
        "device": CPU,
    }  # fmt: skip
    plain = train_split(defense=Defense(), seed=3, **common)
    first, again, other = Compared(), Compared(), Compared()
    for defense, seed in ((first, 3), (again, 3), (other, 4)):
        train_split(defense=defense, seed=seed, **common)
    assert first.plain is not None and not first.plain.training
    found = first.plain.state_dict()
    assert found.keys() == plain.trained.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.trained.items())
    assert again.plain is first.plain, "the strengths of one seed share it"
    assert other.plain is not first.plain
