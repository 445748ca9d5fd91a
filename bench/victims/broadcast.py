"""Clients of a federation whose server is the attacker: they compute on whatever model it sends."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from bench.api.errors import IncompatibleError, PluginError
from bench.api.gradients import Gradients
from bench.models.build import build_model, schedule_of
from bench.victims.clients import client_releases, clients_of
from bench.victims.releases import Source

FRONT = ("front.in.weight", "front.in.bias", "front.out.weight", "front.out.bias")
_MOST_UNITS = 4096
_TOGETHER = 2**24
"""Numbers of the gradients of single images that are held at once."""


class Fronted(nn.Module):
    """A network behind two fully connected layers that give it an image again (Fowl et al. 2022, Fig. 1)."""

    def __init__(self, network: nn.Module, units: int, pixels: int) -> None:
        """Puts ``units`` ReLU units between the pixels and the network."""
        super().__init__()
        sizes = {"in": (pixels, units), "out": (units, pixels)}
        self.front = nn.ModuleDict({name: skip_init(nn.Linear, *size) for name, size in sizes.items()})
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``[B, K]`` of images ``[B, C, H, W]``."""
        seen = self.front["out"](torch.relu(self.front["in"](images.flatten(1))))
        scores: Tensor = self.network(seen.view_as(images))
        return scores


class ObedientClients:
    """The clients whose batches are attacked; what they compute leaves through their defense, and no more.

    They answer once: the noise of a second answer would be the same, and vanish in the difference. What they
    remember is of the network that they knew, and is left out.
    """

    def __init__(self, source: Source, images: Tensor, labels: Tensor) -> None:
        """Gathers them.

        Args:
            source: the victim, and where its defense's randomness comes from.
            images: ``[N, B, C, H, W]``, the attacked private batches.
            labels: ``[N, B]``.
        """
        self._source, self._images, self._labels = source, images, labels
        self._single_share: float | None = None

    def release(self, *, weight: Tensor, bias: Tensor, back: Tensor, offset: Tensor) -> Gradients:
        """See :class:`~bench.api.broadcast.Broadcast`.

        Raises:
            PluginError: the layers do not fit the images, or this is a second question.
        """
        if self._single_share is not None:
            raise PluginError("the clients of a malicious server answer once, and are asked again")
        if schedule_of(self._source.model).local.steps(self._labels.shape[1]) > 1:
            raise IncompatibleError(
                "clients of a malicious server send gradients, no updates of several steps"
            )
        network, weights = self._defended()
        units, pixels = len(bias), self._images[0, 0].numel()
        shapes = [tuple(value.shape) for value in (weight, bias, back, offset)]
        if shapes != [(units, pixels), (units,), (pixels, units), (pixels,)] or units > _MOST_UNITS:
            raise PluginError(f"the layers in front have shapes {shapes}; there are {pixels} pixels")
        model = Fronted(network, units, pixels).to(self._source.device)
        sent = dict(zip(FRONT, (weight, bias, back, offset), strict=True))
        sent = {name: value.to(self._source.device, torch.float32) for name, value in sent.items()}
        sent |= {f"network.{name}": value for name, value in weights.items()}
        self._single_share = self._largest_share(model, sent)
        gradients = client_releases(
            model, sent, self._images, self._labels,
            defense=self._source.defense, context=replace(self._source.context(), memory={}),
            num_classes=self._source.num_classes,
        )  # fmt: skip
        return {name: value.detach() for name, value in gradients.items()}

    def facts(self) -> dict[str, float]:
        """What clients could notice, beside the same under an honest server; empty if nothing was sent."""
        if self._single_share is None:
            return {}
        return {"single_share": self._single_share, "honest_share": self._largest_share(*self._defended())}

    def _defended(self) -> tuple[nn.Module, dict[str, Tensor]]:
        plain = build_model(
            self._source.model, num_classes=self._source.num_classes, image_shape=self._source.image_shape
        )
        network = self._source.defense.model(plain).to(self._source.device)
        return network, {k: v.to(self._source.device) for k, v in self._source.parameters.items()}

    def _largest_share(self, model: nn.Module, weights: dict[str, Tensor]) -> float:
        images, labels = self._source.defense.inputs(self._images, self._labels, self._source.context())
        clients = clients_of(model, weights, images, labels, num_classes=self._source.num_classes)
        size = sum(value.numel() for value in weights.values())
        rows, named = images.flatten(0, 1), labels.flatten()
        norms: dict[str, list[Tensor]] = {}
        for part in torch.arange(len(rows), device=rows.device).split(max(1, _TOGETHER // size)):
            for name, value in clients.gradients(rows[part, None], named[part, None]).items():
                if value.dim() > 2:  # a matrix or kernels: of biases the paper makes no use
                    norms.setdefault(name, []).append(value.flatten(1).norm(dim=1))
        each = torch.stack([torch.cat(parts) for parts in norms.values()])
        return largest_share(each.view(len(each), *labels.shape)).median().item()


def largest_share(norms: Tensor) -> Tensor:
    """How much of a batch's gradient can come from one image, in the layer where that is most.

    After the disaggregation signal-to-noise ratio of Garov et al. (ICLR 2024): of each layer the largest norm
    of a single image's gradient, over the sum of those of all images of the batch; of these the largest. One
    for a batch of one, and where all others give nothing; 1 / B where all give the same.

    Args:
        norms: ``[L, N, B]``, of the gradients of L layers for each image of N batches.

    Returns:
        ``[N]`` in [1 / B, 1].
    """
    total = norms.sum(-1)
    shares = norms.amax(-1) / total.clamp_min(torch.finfo(norms.dtype).tiny)
    found: Tensor = shares.amax(0)
    return found
