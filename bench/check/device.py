"""Device purity, on an accelerator that is pretended and on CUDA if there is one.

All that derives from the observation is moved there; what the plug-in makes has to be there as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.api import (
    BlackBoxObservation,
    Defense,
    GradientObservation,
    Gradients,
    HookContext,
    ImageGenerator,
    ImageSet,
    Query,
    Received,
    Reconstruction,
    Session,
    SmashedObservation,
)
from bench.api.defense import Clients as FederatedClients
from bench.check.card import build
from bench.check.elsewhere import FIX, Far, OneGenerator, elsewhere, far_network
from bench.check.findings import Broken
from bench.check.materials import material
from bench.check.materials.trial import GRADIENTS, Clients, Seen, Trial, run
from bench.check.place import Subject


@dataclass(frozen=True)
class _Place:
    """Somewhere else, and the way there and back."""

    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    network: Callable[[nn.Module], nn.Module]


def _near(value: Tensor) -> Tensor:
    return value.held if isinstance(value, Far) else value


def _cuda_network(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).cuda()


_FAR = _Place(Far, _near, far_network)
_CUDA = _Place(Tensor.cuda, Tensor.cpu, _cuda_network)


@dataclass(frozen=True)
class _Clients:
    """The clients of an active attacker, who are heard elsewhere."""

    session: Clients
    place: _Place

    def anew(self) -> _Clients:
        """Clients of round 0."""
        return replace(self, session=self.session.anew())

    def send(self) -> Tensor:
        return self.place.there(self.session.send())

    def answer(self, gradient: Tensor) -> None:
        self.session.answer(self.place.back(gradient))

    def release(self) -> Tensor:
        return self.place.there(self.session.release())

    def report(self, classify: Callable[[Tensor], Tensor]) -> None:
        self.session.report(lambda sent: self.place.back(classify(self.place.there(sent))))


def attack_stays(subject: Subject, trial: Trial = GRADIENTS) -> str:
    """It computes where the observation is, on a pretended accelerator and on CUDA if there is one."""
    tried = ["a pretended accelerator"]
    for seen in trial.cases(subject):
        with elsewhere():
            found = run(subject, _moved(seen, _FAR))
        _check_where(found)
        if torch.cuda.is_available():
            _check_cuda(run(subject, _moved(seen, _CUDA)))
    if torch.cuda.is_available():
        tried.append("CUDA")
    return f"stays on the observation's device ({' and '.join(tried)})"


def _moved(seen: Seen, place: _Place) -> Seen:
    """An observation all of whose tensors are elsewhere.

    The weights inside the architecture of a gradient's victim mean nothing, and stay where they are unless
    they go to a real device.
    """
    own = {item.name: _placed(getattr(seen, item.name), place) for item in fields(seen)}
    if isinstance(seen, GradientObservation) and place is _FAR:
        own["model"] = seen.model
    if isinstance(seen, SmashedObservation):
        own |= {"query": _asked(seen.query, place), "session": _heard(seen.session, place)}
    if isinstance(seen, BlackBoxObservation):
        own["query"] = _asked(seen.query, place)
    return replace(seen, **own)


def _asked(query: Query | None, place: _Place) -> Query | None:
    return None if query is None else lambda inputs: place.there(query(place.back(inputs)))


def _heard(session: Session | None, place: _Place) -> _Clients | None:
    return None if session is None else _Clients(cast("Clients", session), place)


def _placed(value: Any, place: _Place) -> Any:
    if isinstance(value, Tensor):
        return place.there(value)
    if isinstance(value, nn.Module):
        return place.network(value)
    if isinstance(value, Mapping):
        return {name: place.there(item) for name, item in value.items()}
    if isinstance(value, ImageSet):
        return ImageSet(place.there(value.images), place.there(value.labels))
    if isinstance(value, Received):
        labels = None if value.labels is None else place.there(value.labels)
        return Received(activations=place.there(value.activations), labels=labels)
    if isinstance(value, ImageGenerator):
        critic = None if value.critic is None else place.network(value.critic)
        return replace(value, decoder=place.network(value.decoder), critic=critic)
    return value


def _check_where(found: Reconstruction) -> None:
    for name in ("images", "cost", "evaluations", "labels"):
        value = getattr(found, name)
        if isinstance(value, Tensor) and not isinstance(value, Far):
            raise Broken(f"returns {name} on the CPU, the observation is elsewhere", FIX)


def _check_cuda(found: Reconstruction) -> None:
    for name in ("images", "cost", "evaluations", "labels"):
        value = getattr(found, name)
        if value is not None and value.device.type != "cuda":
            raise Broken(f"returns {name} on {value.device}, the observation is on CUDA", FIX)


def defense_stays(subject: Subject) -> str:
    """Its hooks compute where the gradients are, on a pretended accelerator and on CUDA if there is one."""
    hooks = cast("Defense", build(subject))
    released = material.release(Defense(), batch_size=1)
    generator = torch.Generator().manual_seed(0)
    with OneGenerator(generator):
        context = HookContext(generator=generator, batch_size=1)
        shown, named = hooks.inputs(Far(released.images), Far(released.labels), context)
        context = replace(context, clients=_far_clients(shown, named))
        sent = hooks.gradients({name: Far(value) for name, value in released.sent.items()}, context)
    _check_all([shown, *sent.values()])
    if not torch.cuda.is_available():
        return "stays on the gradients' device (a pretended accelerator)"
    own = material.clients(released.images.cuda(), released.labels.cuda())
    context = HookContext(generator=torch.Generator("cuda").manual_seed(0), batch_size=1, clients=own)
    moved = hooks.gradients({name: value.cuda() for name, value in released.sent.items()}, context)
    if any(value.device.type != "cuda" for value in moved.values()):
        raise Broken("gradients: returns tensors of the CPU for gradients on CUDA", FIX)
    return "stays on the gradients' device (a pretended accelerator and CUDA)"


def _far_clients(images: Tensor, labels: Tensor) -> FederatedClients:
    """The clients whose batches these are, on the pretended accelerator."""
    near = material.clients(_near(images), _near(labels))

    def gradients(rows: Tensor, named: Tensor) -> Gradients:
        return {name: Far(value) for name, value in near.gradients(_near(rows), _near(named)).items()}

    weights = {name: Far(value) for name, value in near.weights.items()}
    model = far_network(near.model)
    return FederatedClients(model=model, weights=weights, images=images, labels=labels, gradients=gradients)


def _check_all(values: Iterable[Any]) -> None:
    if not all(isinstance(value, Far) for value in values):
        raise Broken("returns tensors of the CPU for gradients elsewhere", FIX)
