"""Top-k sends the largest entries, keeps the rest, and loses nothing over the rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Defense, Gradients, HookContext
from bench.defenses.pruning.defense import Pruning
from bench.defenses.topk.defense import TopK
from bench.engine.matching import Euclidean, adaptive_loss
from bench.victims.clients import client_releases
from bench.victims.releases import release_gradients, signal
from bench.victims.splitfed import release_weight_gradients, train_splitfed
from bench.victims.training import SLOTS, Victim, train_victim
from tests.engine.observations import DIGITS, batches, drawn, observation, weights
from tests.victims.small import digits_source, few, same

CPU = torch.device("cpu")


def context(memory: dict[str, Tensor] | None = None) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(0), batch_size=1, memory=memory or {})


def normal(seed: int = 0, clients: int = 3) -> Gradients:
    chance = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (8, 20), "filter": (4, 2, 3, 3), "bias": (10,)}
    return {name: torch.randn(clients, *shape, generator=chance) for name, shape in shapes.items()}


def whole(gradients: Gradients) -> Tensor:
    return torch.cat([value.flatten(1) for value in gradients.values()], dim=1)


@pytest.mark.parametrize("scope", ["whole", "tensor"])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_k_entries_leave_and_none_of_the_others_is_larger(scope: str, share: float) -> None:
    plain = normal()
    sent = TopK(share=share, scope=scope).gradients(plain, context())
    together = [(whole(plain), whole(sent))]
    apart = [(plain[name].flatten(1), sent[name].flatten(1)) for name in plain]
    for mine, left in together if scope == "whole" else apart:
        gone = left != 0
        assert (gone.sum(1) == max(1, round(share * mine.shape[1]))).all()
        assert torch.equal(left[gone], mine[gone])
        least = mine.abs().masked_fill(~gone, torch.inf).amin(1)
        assert (mine.abs().masked_fill(gone, 0.0).amax(1) < least).all()


@pytest.mark.parametrize("scope", ["whole", "tensor"])
def test_what_was_sent_and_what_is_kept_are_all_gradients_together(scope: str) -> None:
    """``sum_t sent_t + m_T = sum_t g_t``, client by client: error feedback loses nothing."""
    defense, place = TopK(share=0.05, scope=scope), context()
    rounds = [normal(seed) for seed in range(6)]
    sent = [defense.gradients(each, place) for each in rounds]
    for name in rounds[0]:
        left = sum(each[name] for each in sent) + place.memory[name]
        torch.testing.assert_close(left, sum(each[name] for each in rounds))
        assert ((sent[-1][name] == 0) | (place.memory[name] == 0)).all()


def test_the_memory_decides_what_leaves() -> None:
    plain = {"w": torch.tensor([[1.0, 0.6, 0.2]])}
    defense, place = TopK(share=0.34), context()
    sent = [defense.gradients(plain, place)["w"][0].tolist() for _ in range(3)]
    expected = [[1.0, 0.0, 0.0], [0.0, 1.2, 0.0], [2.0, 0.0, 0.0]]
    assert sent == [pytest.approx(row) for row in expected]


def test_without_memory_tensor_by_tensor_it_is_pruning() -> None:
    plain, place = normal(), context({"matrix": torch.ones(3, 8, 20)})
    sent = TopK(share=0.25, scope="tensor", memory=False).gradients(plain, place)
    assert same(dict(sent), dict(Pruning(ratio=0.75).gradients(plain, context())))
    assert list(place.memory) == ["matrix"] and (place.memory["matrix"] == 1).all()


def test_clients_have_a_memory_each() -> None:
    defense, order = TopK(share=0.1), torch.tensor([2, 0, 1])
    first, second = normal(0), normal(1)
    mine, theirs = context(), context()
    defense.gradients(first, mine)
    defense.gradients({name: value[order] for name, value in first.items()}, theirs)
    sent = defense.gradients(second, mine)
    other = defense.gradients({name: value[order] for name, value in second.items()}, theirs)
    assert all(torch.equal(sent[name][order], other[name]) for name in sent)


def train(defense: Defense, batch_size: int = 4, **changes: Any) -> Victim:
    values: dict[str, Any] = {
        "model": "lenet", "splits": few(160), "num_classes": 10, "image_shape": DIGITS, "epochs": 1,
        "seed": 0, "device": CPU, "batch_size": batch_size, "defense": defense,
    }  # fmt: skip
    return (train_splitfed if "cut" in changes.get("model", "") else train_victim)(**values | changes)


class Loop(Defense):
    """Error feedback by hand: keeps the memory in itself, and notes it after every call."""

    def __init__(self) -> None:
        self.compressor, self.notes = TopK(memory=False), [{}]  # type: ignore[var-annotated]

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        owed = {name: self.notes[-1].get(name, 0.0) + value for name, value in gradients.items()}
        sent = self.compressor.gradients(owed, context)
        self.notes.append({name: owed[name] - sent[name] for name in owed})
        return sent


def test_a_training_advances_the_memory_once_a_round_and_stores_it() -> None:
    """The first and the last round are watched, for which the clients' batches are computed again."""
    found, loop = train(TopK(), epochs=0.6), Loop()
    plain = train(loop, epochs=0.6)
    assert found.rounds == len(loop.notes) - 1 == 3
    assert same(found.trained, plain.trained) and same(found.memory, loop.notes[-1])
    assert plain.memory == {}


def test_no_more_slots_are_stored_than_are_attacked() -> None:
    assert {len(value) for value in train(TopK(), batch_size=1, epochs=0.5).memory.values()} == {SLOTS}


def test_attacked_clients_have_the_memory_of_slots_that_the_seed_chose() -> None:
    victim, defense = train(TopK()), TopK()
    place = digits_source(
        "lenet", victim.trained, defense=defense, batch_size=4, releases=11, memory=victim.memory
    )
    released, again = release_gradients(place), release_gradients(place)
    assert same(released.sent, again.sent), "a release advances no memory but its own"
    kept = place.context().memory
    slots = {tuple(row[:50].tolist()) for row in victim.memory["classifier.weight"].flatten(1)}
    held = [tuple(row[:50].tolist()) for row in kept["classifier.weight"].flatten(1)]
    assert set(held[:8]) == slots and len(held) == 11
    assert [*kept["classifier.weight"][0].flatten()] != [
        *replace(place, seed=1).context().memory["classifier.weight"][0].flatten()
    ]
    owed = {
        name: kept[name] + value
        for name, value in release_gradients(replace(place, defense=Defense())).sent.items()
    }
    assert same(released.sent, dict(TopK(memory=False).gradients(owed, context())))
    assert not same(released.sent, release_gradients(replace(place, memory={})).sent)
    assert signal(released, place, release_gradients) is not None


def test_local_steps_send_an_update_that_is_compressed() -> None:
    model = "lenet[local_epochs=2,local_batch=2]"
    victim = train(TopK(), model=model)
    place = digits_source(model, victim.trained, defense=Defense(), batch_size=4, releases=3)
    sent = release_gradients(replace(place, defense=TopK(), memory=victim.memory)).sent
    kept = replace(place, memory=victim.memory).context().memory
    owed = {name: kept[name] + value for name, value in release_gradients(place).sent.items()}
    assert same(sent, dict(TopK(memory=False).gradients(owed, context())))


def test_both_halves_of_a_cut_network_are_one_update() -> None:
    model = "lenet[cut=2]"
    victim = train(TopK(share=0.05), model=model, epochs=0.5)
    place = digits_source(model, victim.trained, defense=TopK(share=0.05), memory=victim.memory)
    both, one = (
        release_weight_gradients(place, halves=part).sent for part in (("client", "server"), ("client",))
    )
    assert same({name: both[name] for name in one}, one)
    share = (whole(both) != 0).float().mean()
    assert share == pytest.approx(0.05, abs=1e-3)
    assert not same(
        both, release_weight_gradients(replace(place, memory={}), halves=("client", "server")).sent
    )


def test_the_view_tells_all_and_masks_what_was_not_sent() -> None:
    defense = TopK(share=0.1)
    view = defense.known()
    assert view is not None and view.transmitted is not None and view.hooks is defense
    assert view.parameters == {"share": 0.1, "scope": "whole", "memory": True}
    sent = defense.gradients(normal(), context())
    assert same(dict(view.transmitted(sent)), {name: value != 0 for name, value in sent.items()})


@pytest.mark.parametrize("scope", ["whole", "tensor"])
def test_the_truth_is_sent_as_it_was_and_what_would_have_been_sent_is_not(scope: str) -> None:
    defense, plain = TopK(share=0.1, scope=scope), normal()
    sent, view = defense.gradients(plain, context()), defense.view()
    assert view is not None and view.transmit is not None and view.compares_all
    assert same(dict(view.transmit(plain, sent)), dict(sent))
    assert all(
        not value.any() for value in view.transmit(plain, {k: 0 * v for k, v in plain.items()}).values()
    )
    leaf = {name: (3 * value).requires_grad_() for name, value in plain.items()}
    for name, value in view.transmit(leaf, sent).items():
        known = sent[name] != 0
        least = sent[name].abs().masked_fill(~known, torch.inf).flatten(1).amin(1)
        least = (
            least if scope == "tensor" else whole(sent).abs().masked_fill(whole(sent) == 0, torch.inf).amin(1)
        )
        above = (leaf[name].abs() - least.view(-1, *[1] * (value.dim() - 1))).clamp_min(0) * leaf[name].sign()
        torch.testing.assert_close(value, torch.where(known, leaf[name], above))
        (moved,) = torch.autograd.grad(value.sum(), leaf[name])
        assert torch.equal(moved != 0, known | (above != 0))


def test_a_loss_that_compares_all_entries_sees_more_than_those_that_were_transmitted() -> None:
    defense, plain = TopK(share=0.1), normal()
    sent = defense.gradients(plain, context())
    seen = replace(observation("lenet", *batches(3, 1)), defense=defense.known())
    bare = replace(seen, defense=replace(defense.known(), compares_all=False))
    louder = {name: value + 2 * (sent[name] == 0) for name, value in plain.items()}
    both = [adaptive_loss(each, Euclidean)(louder, sent) for each in (seen, bare)]
    assert (both[0] > 0.1).all() and both[1].abs().max() < 1e-6
    assert adaptive_loss(seen, Euclidean)(plain, sent).abs().max() < 1e-6


def test_a_client_is_not_told_what_others_remember() -> None:
    """Released alone, with the memory of its slot, a client sends what it sends among others."""
    images, labels = batches(3, 2)
    memory = normal_memory()

    def sent(rows: Tensor) -> Gradients:
        own = context({name: value[rows] for name, value in memory.items()})
        return client_releases(
            drawn("lenet", 7), weights("lenet", 7), images[rows], labels[rows],
            defense=TopK(share=0.02), context=replace(own, batch_size=2), num_classes=10,
        )  # fmt: skip

    together, alone = sent(torch.arange(3)), sent(torch.tensor([1]))
    for name, value in together.items():
        torch.testing.assert_close(value[1:2], alone[name], rtol=1e-4, atol=1e-6)


def normal_memory() -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(3)
    return {
        name: 0.1 * torch.randn(3, *value.shape, generator=chance)
        for name, value in weights("lenet", 7).items()
    }
