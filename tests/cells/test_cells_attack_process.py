"""Attacks run in a process of their own: the same numbers, and nothing else in it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, Channel, Checkpoint, Dataset, IncompatibleError, PluginError
from bench.api.dataset import Data, ImageSet, Splits
from bench.cache.store import Store, Stored
from bench.cells import stages
from bench.cells.attack_process import AttackDied, AttackProcess, Measured
from bench.cells.context import Context
from bench.cells.failures import AttackFailed
from bench.cells.transfer import from_bytes, to_bytes
from bench.matrix.cells import Cell, Variant
from bench.models.generators import Critic, Decoder
from bench.plugins import discover, resolve
from bench.records.record import Status
from bench.search_path import search_path

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def process() -> Iterator[AttackProcess]:
    yield AttackProcess.served(CPU)
    gc.collect()


class Here:
    """Runs attacks in this process, as they would run without one of their own."""

    def run(self, function: Callable[..., Any], *arguments: Any, stays: object, last: bool) -> Measured:
        return Measured(function(*arguments), 0.0)


@cache
def data() -> Data:
    """All splits are views of one tensor, as those of many data sets are."""
    chance = torch.Generator().manual_seed(0)
    images, labels = torch.rand(400, *SHAPE, generator=chance), torch.arange(400) % 10
    parts = [ImageSet(images[a:b], labels[a:b]) for a, b in ((0, 200), (200, 260), (260, 400))]
    splits = Splits(private_train=parts[0], private_test=parts[1], auxiliary=parts[2])
    return Data(cast("Dataset", SimpleNamespace(num_classes=10, image_shape=SHAPE)), splits)


def variant(kind: Any, name: str, **parameters: Any) -> Variant:
    return Variant(name=name, parameters=tuple(resolve(kind, name, parameters).items()), label=name)


def cell(channel: str, model: str, attack: Variant, defense: Variant, adversary: Adversary) -> Cell:
    return Cell(
        dataset=attack,
        model=model,
        checkpoint=Checkpoint.TRAINED,
        channel=Channel(channel),
        batch_size=1,
        releases=3,
        epochs=0.3,
        defense=defense,
        attack=attack,
        adversary=adversary,
        seed=0,
        budget=12,
    )


def prior() -> Stored:
    chance = torch.Generator().manual_seed(0)
    networks: dict[str, nn.Module] = {
        "decoder": Decoder.build(SHAPE, 16, chance),
        "critic": Critic.build(SHAPE, 16, chance),
    }
    states = {f"{k}.{name}": v for k, one in networks.items() for name, v in one.state_dict().items()}
    return Stored(states, {"kind": "wgan_gp_short"})


CASES = {
    "noise": ("gradients", "lenet", "dlg", {}, "noise", {"sigma": 0.01}),
    "pruning": ("gradients", "lenet", "inverting_gradients", {}, "pruning", {}),
    "split": ("gradients", "split_lenet", "dlg", {}, "pgsl", {"surrogate_epochs": 1}),
    "weights": ("smashed", "splitnet", "rmle", {}, "activation_noise", {}),
    "query": ("smashed", "splitnet", "inverse_network", {}, "pgsl", {"surrogate_epochs": 1}),
    "session": ("smashed", "splitnet", "fsha", {}, "activation_noise", {}),
    "generator": ("model", "lenet", "gmi", {"generator": "wgan_gp_short"}, "none", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_one_process(name: str, process: AttackProcess) -> None:
    channel, model, attack, given, defense, strength = CASES[name]
    kept = {}
    adversary = Adversary.NAIVE if defense == "none" else Adversary.ADAPTIVE
    one = cell(
        channel, model, variant("attack", attack, **given), variant("defense", defense, **strength), adversary
    )
    victim = stages.victim(one, data(), CPU)
    release = stages.release(one, data(), CPU, victim)
    generator = prior() if "generator" in given else None
    for runner in (Here(), process):
        kept[runner] = stages.reconstruction(
            one, data(), CPU, victim, release, generator, cast("AttackProcess", runner)
        )
    here, there = kept.values()
    assert list(there.tensors) == list(here.tensors)
    assert all(value.equal(here.tensors[name]) for name, value in there.tensors.items())
    assert there.meta.pop("peak_memory_mb") > here.meta.pop("peak_memory_mb")
    assert there.meta == here.meta
    assert (there.meta["task_accuracy"] is not None) == (name == "session")


# --------------------------------------------------------------------------------------- what travels


def there_and_back(value: Any, *, trusting: bool = True) -> Any:
    return from_bytes(bytes(to_bytes(value, ())), lambda number: number, trusting=trusting)


@pytest.mark.parametrize(
    "value",
    [
        torch.rand(3, 4).T,
        torch.rand(2, 3, 5, 5).to(memory_format=torch.channels_last),
        torch.rand(6, 4)[1:, ::2],
        torch.rand(1, 4).expand(3, 4),
        torch.tensor(2.5, dtype=torch.float64),
        torch.tensor([True, False]),
        torch.empty(0, 3, dtype=torch.int64),
        torch.rand(4, requires_grad=True),
    ],
)
def test_tensors_arrive_bit_for_bit(value: Tensor) -> None:
    got = there_and_back(value, trusting=False)
    assert got.dtype == value.dtype and got.equal(value)
    assert got.stride() == value.detach().clone().stride()
    assert got.requires_grad == value.requires_grad
    assert got.data_ptr() % 64 == 0


def test_of_a_view_only_its_own_numbers_travel() -> None:
    private = torch.rand(1000, 10)
    assert len(to_bytes(private[:2], ())) < 400


def test_an_attack_sends_no_code() -> None:
    with pytest.raises(PluginError, match=r"sent posix\.system"):
        there_and_back(os.system, trusting=False)
    with pytest.raises(PluginError, match="has to travel into its process"):
        there_and_back(lambda: None)


# -------------------------------------------------------------------------------------- calls and ends


class Secret:
    """Stays with the worker."""

    def __init__(self) -> None:
        self._private = torch.arange(3)

    def scaled(self, by: Callable[[Tensor], Tensor]) -> Tensor:
        return by(self._private) + 1


def use(secret: Any, name: str) -> Any:
    return getattr(secret, name)(lambda value: value * 10)


def forges(secret: Any, method: str) -> Any:
    return secret._peer.call(secret._number, method)


def raises(error: BaseException) -> None:
    raise error


def leaves(code: int) -> None:
    os._exit(code)


def changes() -> int:
    torch.set_default_dtype(torch.float64)
    return os.getpid()


def test_what_stays_is_called_through_the_pipe(process: AttackProcess) -> None:
    secret = Secret()
    assert process.run(use, secret, "scaled", stays=(secret,)).value.tolist() == [1, 11, 21]
    with pytest.raises(AttackFailed, match="AttributeError: _private"):
        process.run(use, secret, "_private", stays=(secret,))
    assert process.run(os.getpid).value != os.getpid()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("broken"), Status.FAILED, "RuntimeError: broken"),
        (IncompatibleError("cannot"), Status.INCOMPATIBLE, "cannot"),
        (MemoryError(), Status.OOM, "MemoryError"),
        (SystemExit(3), Status.FAILED, "SystemExit: 3"),
    ],
)
def test_what_it_raises_is_told_as_ever(
    process: AttackProcess, error: BaseException, status: Status, reason: str
) -> None:
    with pytest.raises(AttackFailed) as caught:
        process.run(raises, error)
    assert (caught.value.failure.status, caught.value.failure.reason) == (status, reason)
    assert status is Status.INCOMPATIBLE or "in raises" in caught.value.failure.traceback
    assert not process.spoiled


def test_what_nobody_offers_is_not_called() -> None:
    own, secret = AttackProcess.served(CPU), Secret()
    with pytest.raises(PluginError, match="calls _private, which nobody offers it"):
        own.run(forges, secret, "_private", stays=(secret,))
    assert own.spoiled, "it still waits for its answer"


def test_it_knows_when_it_was_changed_or_left() -> None:
    own = AttackProcess.served(CPU)
    own.run(changes)
    assert own.spoiled
    other = AttackProcess.served(CPU)
    with pytest.raises(AttackDied, match="died with exit code 7") as caught:
        other.run(leaves, 7)
    assert caught.value.code == 7 and other.spoiled


OWNER = """
import sys
from multiprocessing import get_context
import torch
from bench.cells.attack_process import AttackProcess
from tests.cells.test_cells_attack_process import tells_and_hangs
if __name__ == "__main__":
    AttackProcess(get_context(sys.argv[1]), torch.device("cpu")).run(tells_and_hangs)
"""


def tells_and_hangs() -> None:
    os.write(2, f"{os.getpid()}\n".encode())
    time.sleep(3600)


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_it_does_not_outlive_who_started_it(start: str) -> None:
    command = [sys.executable, "-c", OWNER, start]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as owner:
        assert owner.stderr is not None
        number = int(owner.stderr.readline())
        owner.kill()
    limit = time.monotonic() + 60
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < limit, "it lives on"
        time.sleep(0.02)


# --------------------------------------------------------------------------------------- planted attacks

THIEF = '''
import gc
import sys

import torch
from torch import Tensor

from bench.api import BaseAttack, Reconstruction


class Thief(BaseAttack):
    """Takes private images where it finds some; else its reconstructions are black."""

    def __init__(self, *, act: str = "memory") -> None:
        self.act = act

    def reconstruct(self, observation, *, budget, seed):
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = torch.zeros(shape)
        for found in getattr(self, self.act)(observation):
            if isinstance(found, Tensor) and found.shape[-3:] == shape[2:] and len(found):
                images = found.reshape(-1, *shape[2:])[:1].expand(len(images), *shape[2:]).unsqueeze(1)
                break
        nothing = torch.zeros(len(images))
        return Reconstruction(images=images.contiguous(), cost=nothing, evaluations=nothing.long())

    def memory(self, observation):
        known = observation.auxiliary.images
        tensors = (x for x in gc.get_objects() if isinstance(x, Tensor) and x is not known)
        return (x for x in tensors if x.ndim == 5 and x.any())

    def frames(self, observation):
        frame = sys._getframe()
        while frame := frame.f_back:
            for value in frame.f_locals.values():
                yield getattr(value, "tensors", {}).get("images")
                yield getattr(value, "images", None)

    def storage(self, observation):
        known = observation.auxiliary.images
        whole = torch.empty(0).set_(known.untyped_storage())
        beyond = whole[: known.storage_offset()].view(-1, *observation.image_shape)
        return [beyond]

    def session(self, observation):
        return [vars(observation.session).get("_attacked", [None])[0]]
'''
THIEF_CARD = """
kind = "attack"
title = "thief"
paper = "none"
authors = "nobody"
year = 2026
notes = "for the tests"
channels = ["gradients", "smashed"]
adversaries = ["naive"]
access = "active"
needs_auxiliary = true
[parameters.act]
default = "memory"
description = "where it looks"
"""


@pytest.fixture(scope="module")
def thief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackProcess]:
    root = tmp_path_factory.mktemp("planted")
    folder = root / "attacks" / "thief"
    folder.mkdir(parents=True)
    (folder / "attack.py").write_text(THIEF)
    (folder / "card.toml").write_text(THIEF_CARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_PLUGIN_PATH", str(root))
        patch.setattr("bench.attacks.__path__", search_path("attacks"))
        discover.cache_clear()
        yield AttackProcess.served(CPU)
    discover.cache_clear()


@pytest.mark.parametrize("act", ["memory", "frames", "storage", "session"])
def test_private_images_are_not_where_attacks_run(act: str, thief: AttackProcess) -> None:
    channel, model = ("smashed", "splitnet") if act == "session" else ("gradients", "lenet")
    one = cell(
        channel, model, variant("attack", "thief", act=act), variant("defense", "none"), Adversary.NAIVE
    )
    victim = stages.victim(replace(one, epochs=0.1), data(), CPU)
    release = stages.release(one, data(), CPU, victim)
    private = {image.numpy().tobytes() for image in data().splits.private_train.images}

    def stolen(runner: Any) -> bool:
        found = stages.reconstruction(one, data(), CPU, victim, release, None, runner)
        return any(image.numpy().tobytes() in private for image in found.tensors["images"].flatten(0, 1))

    assert stolen(Here()), "it does find them where they are"
    assert not stolen(thief)


def test_where_a_list_of_private_images_was_no_other_attack_runs() -> None:
    one = cell(
        "gradients", "lenet", variant("attack", "candidates"), variant("defense", "none"), Adversary.NAIVE
    )
    victim = stages.victim(one, data(), CPU)
    release = stages.release(one, data(), CPU, victim)
    process = AttackProcess.served(CPU)
    context = Context(Store(Path("unused")), CPU, attacks=process)
    assert context.attacks is process and not context.spoiled
    stages.reconstruction(one, data(), CPU, victim, release, None, process)
    assert context.spoiled and context.attacks is not process
