"""Every attack on a real GPU, on what `bench check` tries it on; the pretended one is in the contract."""

from __future__ import annotations

import copy

import pytest
from torch import Tensor, nn

from bench.api import Adversary
from bench.check.device import _moved, _Place
from bench.check.materials.released_material import RELEASED
from bench.check.materials.split_trial import SMASHED
from bench.check.materials.trial import GRADIENTS, Trial, card_of, run
from bench.check.place import Subject
from bench.plugins import attack_card, discover

DEVICE = "cuda"
TRIALS: dict[str, Trial] = {"gradients": GRADIENTS, "smashed": SMASHED, "model": RELEASED}
CASES = [
    (name, channel, adversary)
    for name in sorted(discover("attack").plugins)
    for channel in TRIALS
    for adversary in attack_card(name).adversaries
    if channel in attack_card(name).channels
]


def there(value: Tensor) -> Tensor:
    return value.to(DEVICE)


def network(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to(DEVICE)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "channel", "adversary"), CASES)
def test_an_attack_computes_where_its_observation_is(name: str, channel: str, adversary: Adversary) -> None:
    subject = Subject("attack", name, discover("attack").plugins[name].folder)
    trial = TRIALS[channel]
    views = [view for view in trial.views(card_of(subject)) if view[0] is adversary]
    if not views:
        pytest.skip("no defense of this channel can be adapted to")
    seen = trial.seen(subject, 1, *views[-1])
    found = run(subject, _moved(seen, _Place(there, Tensor.cpu, network)))
    assert found.images.isfinite().all()
    for value in (found.images, found.cost, found.evaluations, found.labels):
        assert value is None or value.device.type == DEVICE
