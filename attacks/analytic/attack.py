"""Closed-form inversion, layer by layer (Zhu and Blaschko, R-GAP, ICLR 2021; Phong et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import conv2d

from bench.api import Attack, GradientObservation, Gradients, IncompatibleError, Reconstruction
from bench.attacks.analytic.chain import Step, chain, first_layer
from bench.engine import CGLS, Euclidean, Objective, Pixels

MARGIN = 1e-7


class Analytic(Attack):
    """Solves for the image instead of searching it; B = 1."""

    def __init__(self, *, tolerance: float = 1e-10, progress: float = 1e-2) -> None:
        """Sets when the least-squares solver stops: relative gradient, and progress in 40 iterations."""
        self.solver = CGLS(tolerance=tolerance, progress=progress)

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Reads the input of a linear first layer off its gradient, or walks back from the classifier.

        One iteration of the solver counts as one evaluation; all layers share the budget.

        Raises:
            IncompatibleError: B > 1, or a network that neither begins with a linear layer nor is a row of
                invertible ones.
        """
        if observation.batch_size != 1:
            raise IncompatibleError("the closed form holds for B = 1 only")
        own = observation.per_victim_weights
        some = {name: value[0] if own else value for name, value in observation.parameters.items()}
        gradients = {name: value.double() for name, value in observation.gradients.items()}
        first = first_layer(observation.model, some, observation.image_shape)
        if first is not None and {f"{first.name}.weight", f"{first.name}.bias"} <= gradients.keys():
            labels = _label(observation, gradients)
            seen = _outer(gradients[f"{first.name}.weight"], gradients[f"{first.name}.bias"])
            value, spent = (seen - first.shift) / first.scale, torch.zeros_like(observation.ids)
        else:
            steps = chain(observation.model, some, observation.image_shape)
            if not all(f"{step.name}.{kind}" in gradients for step in steps for kind in ("weight", "bias")):
                raise IncompatibleError("the closed form needs the gradients of all layers; some are frozen")
            labels = gradients[f"{steps[-1].name}.bias"].argmin(1, keepdim=True)
            walk = _Walk(observation, gradients, steps)
            value, spent = walk.back(budget - 1, self.solver), walk.spent
        images = value.view(-1, 1, *observation.image_shape).float().nan_to_num(0.5, 1.0, 0.0).clamp(0, 1)
        unknowns = Pixels.of(observation, labels)
        cost, _ = Objective(observation, unknowns, Euclidean())(images.flatten(1).to(observation.reference))
        return Reconstruction(images=images, cost=cost, evaluations=spent + 1, labels=labels)


def _label(observation: GradientObservation, gradients: Gradients) -> Tensor:
    """The one class whose score must rise, ``[N, 1]``: its bias gradient p - y is the only negative one."""
    of_classes = [
        value
        for value in gradients.values()
        if value.dim() == 2 and value.shape[1] == observation.num_classes
    ]
    if not of_classes:
        raise IncompatibleError("the closed form needs biases")
    return of_classes[-1].argmin(1, keepdim=True)


def _outer(weight: Tensor, bias: Tensor) -> Tensor:
    """The input of a linear layer, ``[N, D]``: with dW = d a' and db = d it is dW' d / |d|^2."""
    return torch.einsum("nko,nk->no", weight, bias) / bias.square().sum(1, keepdim=True)


def _pull(linear: Callable[[Tensor], Tensor], at: Tensor, rows: Tensor) -> Tensor:
    """The transpose of a linear map, applied to ``rows``."""
    pull: Callable[[Tensor], tuple[Tensor, ...]] = torch.func.vjp(linear, at)[1]
    return pull(rows)[0]


class _Walk:
    """The way back from the classifier to the image, for all victims at once, in float64."""

    def __init__(self, observation: GradientObservation, gradients: Gradients, steps: list[Step]) -> None:
        count, own = observation.victims, observation.per_victim_weights
        self.steps, self.gradients = steps, gradients
        self.parameters = {
            name: value.double() if own else value.double().expand(count, *value.shape)
            for name, value in observation.parameters.items()
        }
        self.spent = torch.zeros_like(observation.ids)

    def back(self, budget: int, solver: CGLS) -> Tensor:
        """The image of every victim, ``[N, C * H * W]``."""
        last, *before = self.steps[::-1]
        error = self.gradients[f"{last.name}.bias"]
        value = _outer(self.gradients[f"{last.name}.weight"], error)
        value_gradient = torch.einsum("nko,nk->no", self.parameters[f"{last.name}.weight"], error)
        for left, step in zip(range(len(before), 0, -1), before, strict=True):
            output, error = _undo(step.activation, value, value_gradient)
            system = _System(step, self.parameters, self.gradients, output, error)
            share = torch.full_like(self.spent, (budget - int(self.spent.max())) // left)
            zero = torch.zeros(len(output), prod(step.shape), dtype=output.dtype, device=output.device)
            found = solver.minimise(system, zero, evaluations=share)
            value, self.spent = found.point, self.spent + found.evaluations
            value_gradient = system.forward_adjoint(system.error)
        return value


def _undo(activation: nn.Module | None, value: Tensor, value_gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What went into the activation, and the loss's gradient there, from what came out."""
    if isinstance(activation, nn.Tanh):
        inside = value.clamp(-1 + MARGIN, 1 - MARGIN)
        return inside.atanh(), value_gradient * (1 - inside.square())
    inside = value.clamp(MARGIN, 1 - MARGIN)
    return inside.logit(), value_gradient * inside * (1 - inside)


class _System:
    """The equations for one layer's input a: what it put out, and what its weight gradient was.

    ``W a = output - bias`` and ``error (x) a = dW`` are both linear in a (R-GAP, Eq. 6 and 7). The second
    block is scaled so that both weigh alike.
    """

    def __init__(
        self,
        step: Step,
        parameters: dict[str, Tensor],
        gradients: Gradients,
        output: Tensor,
        error: Tensor,
    ) -> None:
        self._step = step
        self._weight = parameters[f"{step.name}.weight"]
        bias = parameters[f"{step.name}.bias"]
        gradient = gradients[f"{step.name}.weight"]
        zero = torch.zeros(len(output), *step.shape, dtype=output.dtype, device=output.device)
        self._shape = self._output(self._weight, zero).shape
        self.error = error.view(self._shape)
        norms = self.error.flatten(1).norm(dim=1).clamp_min(torch.finfo(error.dtype).tiny)
        self._scale = (self._weight.flatten(1).norm(dim=1) / norms).unsqueeze(1)
        wide = bias.view(*bias.shape, *(1,) * (len(self._shape) - 2))
        known = (output.view(self._shape) - wide).flatten(1)
        self.target = torch.cat([known, self._scale * gradient.flatten(1)], dim=1)

    def apply(self, value: Tensor) -> Tensor:
        """``[N, D] -> [N, M]``."""
        value = value.view(-1, *self._step.shape)
        forward = self._output(self._weight, value).flatten(1)
        outer = _pull(lambda weight: self._output(weight, value), self._weight, self.error)
        return torch.cat([forward, self._scale * outer.flatten(1)], dim=1)

    def adjoint(self, rows: Tensor) -> Tensor:
        """``[N, M] -> [N, D]``."""
        split = self._shape[1:].numel()
        forward = self.forward_adjoint(rows[:, :split].view(self._shape))
        weight = (self._scale * rows[:, split:]).view_as(self._weight)
        return forward + self._back(weight, self.error)

    def forward_adjoint(self, error: Tensor) -> Tensor:
        """The gradient at the layer's input, ``[N, D]``, from that at its output."""
        return self._back(self._weight, error.view(self._shape))

    def _back(self, weight: Tensor, error: Tensor) -> Tensor:
        zero = torch.zeros(len(error), *self._step.shape, dtype=error.dtype, device=error.device)
        return _pull(lambda value: self._output(weight, value), zero, error).flatten(1)

    def _output(self, weight: Tensor, value: Tensor) -> Tensor:
        """The layer without its bias, every victim with its own weights."""
        layer = self._step.layer
        if isinstance(layer, nn.Linear):
            return torch.einsum("noi,ni->no", weight, value.flatten(1))

        def one(weight: Tensor, value: Tensor) -> Tensor:
            return conv2d(
                value.unsqueeze(0), weight, None, layer.stride, layer.padding, layer.dilation
            ).squeeze(0)

        result: Tensor = vmap(one)(weight, value)
        return result
