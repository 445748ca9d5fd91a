"""Clients who compute on what a malicious server sends."""

from __future__ import annotations

import pytest
import torch

from bench.api import IncompatibleError, PluginError
from bench.channels import channel
from bench.models.build import build_model
from bench.victims.broadcast import FRONT, Fronted, ObedientClients, largest_share
from bench.victims.clients import soft_cross_entropy
from tests.engine.observations import DIGITS, weights

from .small import digits_source


def test_clients_send_the_gradients_of_the_network_with_the_layers_in_front() -> None:
    place = digits_source("lenet", weights("lenet", 0), batch_size=3, releases=2)
    sent = channel("gradients").release(place)
    generator = torch.Generator().manual_seed(0)
    block = [torch.randn(*size, generator=generator) / 30 for size in ((6, 1024), (6,), (1024, 6), (1024,))]
    names = ("weight", "bias", "back", "offset")
    released = ObedientClients(place, sent.images, sent.labels).release(
        **dict(zip(names, block, strict=True))
    )
    model = Fronted(build_model("lenet", num_classes=10, image_shape=DIGITS), 6, 1024)
    own = dict(zip(FRONT, block, strict=True)) | {f"network.{k}": v for k, v in place.parameters.items()}
    model.load_state_dict(own)
    for client in range(2):
        loss = soft_cross_entropy(model(sent.images[client]), sent.labels[client])
        expected = torch.autograd.grad(loss, list(model.parameters()))
        for (name, _), value in zip(model.named_parameters(), expected, strict=True):
            torch.testing.assert_close(released[name][client], value, rtol=1e-4, atol=1e-6)


def test_layers_that_do_not_fit_and_clients_of_several_steps_are_refused() -> None:
    place = digits_source("lenet", weights("lenet", 0))
    sent = channel("gradients").release(place)
    short = {
        "weight": torch.zeros(2, 9),
        "bias": torch.zeros(2),
        "back": torch.zeros(9, 2),
        "offset": torch.zeros(9),
    }
    with pytest.raises(PluginError, match="1024 pixels"):
        ObedientClients(place, sent.images, sent.labels).release(**short)
    steps = digits_source("lenet[local_epochs=5]", weights("lenet", 0), batch_size=2)
    with pytest.raises(IncompatibleError, match="several steps"):
        ObedientClients(steps, sent.images, sent.labels).release(**short)


def test_the_share_of_one_image_lies_between_that_of_equals_and_one() -> None:
    alike, alone = torch.ones(2, 1, 4), torch.eye(4)[:1, None]
    assert largest_share(alike).tolist() == [0.25]
    assert largest_share(torch.cat([alike, alone])).tolist() == [1.0]
    assert largest_share(torch.zeros(1, 1, 4)).tolist() == [0.0]
