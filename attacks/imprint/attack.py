"""Robbing the Fed (Fowl, Geiping, Czaja, Goldblum, Goldstein, ICLR 2022): a block that sorts images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from bench.api import Attack, GradientObservation, Gradients, IncompatibleError, Reconstruction
from bench.engine.labels import UNKNOWN


class Imprint(Attack):
    """Every image lands in a bin of its own, from whose gradients it is read (Eqs. 4 to 6)."""

    def __init__(
        self, *, bins: int = 1000, measure: str = "brightness", gain: float = 1e10, least: float = 1e-4
    ) -> None:
        """Sets the block's size, what it measures of an image, and what it counts as a signal."""
        self.bins, self.measure, self.gain, self.least = bins, measure, gain, least

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One broadcast: the clients answer once, and every bin that one image alone has reached shows it.

        Raises:
            IncompatibleError: there are no clients to send a model to, or no images to choose bins by.
        """
        if observation.session is None or observation.auxiliary is None:
            raise IncompatibleError("needs the clients of a malicious server, and auxiliary images")
        owned = observation.auxiliary.images.to(observation.ids.device).flatten(1)
        generator = torch.Generator().manual_seed(seed)
        direction = self._direction(owned, generator)
        cuts = _quantiles(owned @ direction, self.bins)
        # Smaller weights before the ReLU and larger ones behind it change no score, but every gradient:
        # what a defense adds to those does not grow with them.
        gain = 1.0 if observation.defense is None else self.gain
        pattern = torch.randn(owned.shape[1], generator=generator).to(owned)
        spread = (cuts[-1] - cuts[0]).clamp_min(1e-6)
        column = gain * pattern / (self.bins * spread)
        block = {
            "weight": (direction / gain).expand(self.bins, -1).contiguous(),
            "bias": -cuts / gain,
            "back": column[:, None].expand(-1, self.bins).contiguous(),
            "offset": owned.mean(0),
        }
        sent = observation.session.release(**block)
        found, signal, filled = self._read(observation, sent, owned.mean(0))
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        images = found.view(shape).clamp(0, 1)
        return Reconstruction(
            images=images.float(),
            cost=1 - filled.float().mean(1),
            evaluations=torch.ones_like(observation.ids),
            labels=torch.where(filled, _labels(observation, images, block, signal), UNKNOWN),
        )

    def _direction(self, owned: Tensor, generator: torch.Generator) -> Tensor:
        """What is measured of an image: its brightness, or its part along a random direction."""
        pixels = owned.shape[1]
        if self.measure == "brightness":
            return owned.new_full((pixels,), 1 / pixels)
        drawn = torch.randn(pixels, generator=generator).to(owned)
        result: Tensor = drawn / drawn.norm()
        return result

    def _read(
        self, observation: GradientObservation, sent: Gradients, blank: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The images ``[N, B, D]`` of the strongest bins, each bin's signal, and where there was one (Eq. 6).

        A unit sees all images above its cut, so that the difference of two neighbours sees those between.
        """
        weight, bias = sent["front.in.weight"], sent["front.in.bias"]
        seen = torch.ones_like(weight, dtype=torch.bool)
        view = observation.defense
        if view is not None and view.transmitted is not None:
            seen = view.transmitted(sent)["front.in.weight"]
        signal, gap = _between(bias), _between(weight)
        whole = seen & torch.cat([seen[:, 1:], torch.ones_like(seen[:, :1])], dim=1)
        strength = signal.abs()
        chosen = strength.topk(observation.batch_size, dim=1).indices
        rows = chosen[..., None].expand(-1, -1, gap.shape[-1])
        strength, signal = strength.gather(1, chosen), signal.gather(1, chosen)
        filled = strength > self.least * strength.amax(1, keepdim=True)
        images = gap.gather(1, rows) / torch.where(filled, signal, torch.ones_like(signal))[..., None]
        shown = whole.gather(1, rows) & filled[..., None]
        return torch.where(shown, images, blank), signal, filled


def _between(units: Tensor) -> Tensor:
    """What the images between two neighbouring cuts add, ``[N, M, ...]``; above the last one, its own."""
    return units - torch.cat([units[:, 1:], torch.zeros_like(units[:, :1])], dim=1)


def _quantiles(measured: Tensor, bins: int) -> Tensor:
    """Cuts ``[M]`` between which equal shares of images are expected; the first lies below all of them."""
    shares = torch.linspace(0, 1, bins + 1, dtype=measured.dtype, device=measured.device)[:-1]
    cuts = torch.quantile(measured, shares)
    cuts[0] = measured.min() - (measured.max() - measured.min())
    return cuts


def _labels(observation: GradientObservation, images: Tensor, block: Gradients, signal: Tensor) -> Tensor:
    """The label under which an image would have given its bin the signal that it gave, ``[N, B]``.

    The signal is the derivative of the loss along the block's output column v, which for a label y is
    ``(p - e_y) . J v / B`` with the scores' probabilities p and their derivative J v.
    """
    shape, column = observation.image_shape, block["back"][:, 0]
    flat = images.flatten(2).flatten(0, 1)
    units = torch.relu(flat @ block["weight"].T + block["bias"])
    with torch.enable_grad():
        inside = (block["offset"] + units @ block["back"].T).requires_grad_()
        seen = inside.unflatten(1, shape)
        answers: Tensor = functional_call(observation.model, dict(observation.parameters), (seen,))
        gradients = [torch.autograd.grad(score.sum(), inside, retain_graph=True)[0] for score in answers.T]
    along = torch.stack([gradient @ column for gradient in gradients], dim=1)
    predicted = ((answers.softmax(1) * along).sum(1, keepdim=True) - along) / observation.batch_size
    nearest: Tensor = (predicted - signal.flatten()[:, None]).abs().argmin(1)
    return nearest.view(signal.shape)
