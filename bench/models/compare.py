"""The one check of a network before it is attacked: is it, as the engine sees it, what its author has?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from bench.api.errors import NetworkError
from bench.api.observation import GradientObservation
from bench.api.threat import Adversary, BatchNorm, Channel, ThreatModel
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.matching import Euclidean
from bench.engine.normalisation import running_statistics, threat_of
from bench.engine.objective import Objective
from bench.engine.parametrise import Pixels
from bench.models.base import Shape, VictimModel, trainable
from bench.models.build import build_model
from bench.models.spec import parse_model
from bench.models.users.adopted import UserModel, copied
from bench.models.users.custom import build_author
from bench.models.users.probes import exact, near

_WORDS = {
    BatchNorm.NONE: "",
    BatchNorm.EVAL: "BatchNorm by public statistics",
    BatchNorm.TRAIN: "BatchNorm by the client's own batch",
    BatchNorm.KNOWN: "BatchNorm by the client's own batch, whose statistics leave with the gradient",
}


def compare_named(name: str, *, num_classes: int, image_shape: Shape, images: Tensor | None = None) -> str:
    """The same by a network's name, for commands and runs; see :func:`compare`.

    Args:
        name: what ``-m`` takes.
        num_classes: K.
        image_shape: (C, H, W).
        images: ``[M, C, H, W]``, of which four are used; None, or fewer: random ones.

    Raises:
        UsageError: it cannot be built, or see there.
    """
    spec, shape = parse_model(name), (num_classes, image_shape)
    model = build_model(name, num_classes=shape[0], image_shape=shape[1])
    author = model if spec.plain else build_author(spec, num_classes=shape[0], image_shape=shape[1])
    if spec.plain:
        model.initialise(torch.Generator().manual_seed(0))
    return compare(
        model, author, num_classes=num_classes, image_shape=image_shape, images=images, name=f"model {name!r}"
    )


def compare(
    model: VictimModel,
    author: nn.Module,
    *,
    num_classes: int,
    image_shape: Shape,
    images: Tensor | None = None,
    name: str = "the network",
) -> str:
    """Compares a network as the engine sees it with plain autograd on its author's module.

    Of two releases of two images each: the scores, the names of the weights that are trained, their
    gradients, and one evaluation of a real attack: the gradient in dummy images of their distance to the
    release, which runs through all second derivatives.

    Args:
        model: what :func:`~bench.models.users.adopted.adopt` or :func:`~bench.models.build.build_model` gave.
        author: the module itself, in the modes that its layers have in a client; it is not changed.
        num_classes: K.
        image_shape: (C, H, W).
        images: ``[M, C, H, W]``, of which four are used; None, or fewer: random ones.
        name: of the network, for the message.

    Returns:
        One line: what is trained, what BatchNorm and Dropout layers do, and that all else is equal.

    Raises:
        NetworkError: something differs, and by how much; or the attack's evaluation fails.
    """
    chance = torch.Generator().manual_seed(0)
    shown = torch.rand(4, *image_shape, generator=chance) if images is None or len(images) < 4 else images[:4]
    batches = shown.view(2, 2, *image_shape), torch.rand(2, 2, *image_shape, generator=chance)
    plain = copied(author, name)
    try:
        _compare(model, plain, *batches, num_classes, image_shape, name)
    except NetworkError:
        precise, dtype = exact(model, shown[:2], name)  # or was it the rounding?
        if dtype != torch.float64:
            raise
        _compare(precise, copied(author, name).double(), *batches, num_classes, image_shape, name)
    return _report(model, author)


def _compare(
    model: VictimModel,
    plain: nn.Module,
    shown: Tensor,
    dummies: Tensor,
    num_classes: int,
    image_shape: Shape,
    name: str,
) -> None:
    """Raises where a network differs from its author's, of which this is a copy, on ``[2, 2, C, H, W]``."""
    like = next(model.parameters())
    shown, dummies = shown.to(like), dummies.to(like)
    labels = torch.arange(4, device=like.device).remainder(num_classes).view(2, 2)
    own = (
        model.own_names if isinstance(model, UserModel) else {key: key for key, _ in model.named_parameters()}
    )
    _same_names([own[key] for key in trainable(model)], trainable(plain), name)
    _same_weights({own[key]: value for key, value in model.named_parameters()}, plain, name)
    with torch.no_grad(), _second_derivatives():
        for batch in shown:
            _differs("the scores", model(batch), plain(batch.clone()), name)
    seen = _observed(model, shown, labels, num_classes, image_shape)
    released = {own[key]: value for key, value in seen.gradients.items()}
    costs = []
    for number, batch in enumerate(shown):
        expected = _plain_gradients(plain, batch, labels[number])
        whole = torch.stack([value.norm() for value in expected.values()]).norm()
        for key, value in expected.items():
            _differs(f"the gradient of {key}", released[key][number], value, name, beside=whole)
        costs.append(_plain_cost_gradient(plain, dummies[number], labels[number], expected))
    _differs(
        "an attack's gradient in the images", _attack(seen, dummies, labels, name), torch.stack(costs), name
    )


def _second_derivatives() -> AbstractContextManager[None]:
    """Attention by the one kernel that has them."""
    kernels: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return kernels


def _same_names(engine: list[str], author: list[str], name: str) -> None:
    if engine != author:
        odd = sorted(set(engine) ^ set(author)) or engine
        raise NetworkError(
            f"{name}: other weights are trained than those with requires_grad: {', '.join(odd[:5])}"
        )


def _same_weights(engine: Mapping[str, Tensor], author: nn.Module, name: str) -> None:
    for key, value in author.named_parameters():
        if not torch.equal(engine[key], value):
            raise NetworkError(
                f"{name}: {key} differs between two builds with one seed: draw weights by torch's own "
                "generator, or give weights=FILE"
            )


def _differs(what: str, engine: Tensor, author: Tensor, name: str, beside: Tensor | None = None) -> None:
    """Raises where two tensors differ by more than rounding, also that of all values beside them."""
    if not near(engine, author, beside):
        by = (engine - author).norm() / author.norm().clamp_min(torch.finfo(author.dtype).tiny)
        raise NetworkError(
            f"{name}: {what}: off by {by:.2g} of the norm of what plain autograd has on your network; "
            "something in it depends on its mode, on earlier calls, or on how many images come at once"
        )


def _observed(
    model: VictimModel, images: Tensor, labels: Tensor, num_classes: int, image_shape: Shape
) -> GradientObservation:
    """What two clients release, as an attack on gradients sees it."""
    weights = {key: value.detach() for key, value in model.named_parameters()}
    mode = threat_of(model, shared=False)
    statistics = running_statistics(model) if mode is BatchNorm.EVAL else None
    gradients = gradient_map(
        model, weights, per_victim_weights=False, names=trainable(model), statistics=statistics
    )(images, one_hot(labels, num_classes, images.dtype))
    return GradientObservation(
        threat=ThreatModel(
            channel=Channel.GRADIENTS, adversary=Adversary.NAIVE, batch_size=2, batch_norm=mode
        ),
        model=model,
        parameters=weights,
        per_victim_weights=False,
        gradients={key: value.detach() for key, value in gradients.items()},
        image_shape=image_shape,
        num_classes=num_classes,
        ids=torch.arange(2, device=images.device),
        statistics=statistics,
    )


def _attack(seen: GradientObservation, dummies: Tensor, labels: Tensor, name: str) -> Tensor:
    """The gradient in dummy images ``[2, 2, C, H, W]`` of their relative squared distance to the release."""
    try:
        objective = Objective(seen, Pixels.of(seen, labels), Euclidean())
        return objective(dummies.flatten(1))[1].view(dummies.shape)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise NetworkError(
            f"{name}: an attack's evaluation fails: {type(error).__name__}: {first}"
        ) from error


def _plain_gradients(
    author: nn.Module, images: Tensor, labels: Tensor, *, further: bool = False
) -> dict[str, Tensor]:
    """Of the mean cross-entropy in the weights that are trained; zero where one is not used."""
    weights = {key: value for key, value in author.named_parameters() if value.requires_grad}
    with _second_derivatives():
        loss = cross_entropy(author(images.clone()), labels)
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=further, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def _plain_cost_gradient(
    author: nn.Module, images: Tensor, labels: Tensor, released: Mapping[str, Tensor]
) -> Tensor:
    shown = images.clone().requires_grad_()
    found = _plain_gradients(author, shown, labels, further=True)
    gap = torch.stack([(found[key] - value).square().sum() for key, value in released.items()]).sum()
    energy = torch.stack([value.square().sum() for value in released.values()]).sum()
    (gradient,) = torch.autograd.grad(gap / energy, shown)
    return gradient


def _report(model: VictimModel, author: nn.Module) -> str:
    parameters = dict(model.named_parameters())
    numbers = [parameters[key].numel() for key in trainable(model)]
    frozen = len(parameters) - len(numbers)
    parts = [f"{sum(numbers):,} weights in {len(numbers)} tensors are trained"]
    parts += [f"{frozen} tensors are frozen, public constants"] if frozen else []
    parts += [words] if (words := _WORDS[threat_of(model, shared=model.shares_statistics)]) else []
    drops = [key for key, layer in author.named_modules() if getattr(layer, "p", 0.0) and _is_dropout(layer)]
    parts += [f"Dropout is off in clients ({', '.join(drops[:3])})"] if drops else []
    parts += ["computed victim by victim, as vmap cannot batch it"] if model.one_by_one else []
    return "; ".join([*parts, "scores, gradients and an attack's evaluation are those of plain autograd"])


def _is_dropout(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.dropout._DropoutNd)
