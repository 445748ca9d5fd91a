"""LPIPS (Zhang, Isola, Efros, Shechtman, Wang 2018, version 0.1) as distances between embeddings.

LPIPS(x, y) = sum over layers l, mean over positions, of w_l . (f_l(x) - f_l(y))^2 with features f_l of unit
length across channels and w_l >= 0. That is the squared Euclidean distance between the vectors of all
sqrt(w_l / HW_l) f_l: each image passes the network once, and all pairs cost one matrix product.

Of small images a pooling layer of the trunk leaves nothing. They are enlarged first, all alike, and tables
say what they show then: "LPIPS at 32 px".
"""

from __future__ import annotations

import importlib
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

from bench.metrics.distances import squared_distances
from bench.metrics.lpips_weights import Net, load_trunk
from bench.metrics.pixel import finite_images

MIN_SIDE: dict[Net, int] = {"alex": 31, "vgg": 16}
"""Pixels below which a pooling layer of the trunk has nothing left."""
ENLARGED = 32
"""Pixels of the shorter side to which smaller images are enlarged."""

_CHUNK_PIXELS = 2**18
_DRAWS = (nn.init.kaiming_uniform_, nn.init.normal_, Tensor.normal_, Tensor.uniform_)


def enlarged_side(height: int, width: int, net: Net = "alex") -> int:
    """The shorter side, in pixels, to which images of this size are enlarged for LPIPS; 0 for: not at all."""
    return ENLARGED if min(height, width) < MIN_SIDE[net] else 0


class Lpips:
    """LPIPS with genuine trunk weights; frozen, deterministic, one network pass per image.

    Example:
        >>> lpips = Lpips("alex")  # doctest: +SKIP
        >>> lpips.distance(originals, reconstructions)  # doctest: +SKIP

    Args:
        net: trunk; `alex` is the primary one of the protocol.
        device: where the network runs and embeddings stay.
        weights: file with the trunk's weights; searched for if not given.
        allow_download: see `bench.metrics.lpips_weights.load_trunk`.

    Raises:
        MissingWeights: if no genuine trunk weights can be had.
    """

    def __init__(
        self,
        net: Net = "alex",
        device: torch.device | str = "cpu",
        *,
        weights: Path | None = None,
        allow_download: bool = False,
    ) -> None:
        self.net: Net = net
        self.device = torch.device(device)
        model = _build(net, weights, allow_download).to(self.device)
        self._trunk: Any = model.net
        self._scale: Any = model.scaling_layer
        self._heads: list[Tensor] = [_head_weights(head) for head in model.lins]

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings whose squared Euclidean distances are LPIPS.

        Args:
            images: `[M, C, H, W]`, C of 1 (repeated to three channels) or 3; clamped to [0, 1]. Images of
                which the trunk would leave nothing are enlarged until their shorter side has 32 pixels
                (bilinear, no antialiasing; the longer side in proportion): see `enlarged_side`.

        Returns:
            `[M, E]` float32 on `self.device`; E grows with the image (5,760 for alex at 32x32, 124,928 for
            vgg). Rows of images with a non-finite pixel are NaN.

        Raises:
            ValueError: for another number of channels.
        """
        clean, finite = finite_images(images)
        if clean.shape[1] not in (1, 3):
            raise ValueError(f"LPIPS needs 1 or 3 channels, got {clean.shape[1]}")
        chunk = max(1, _CHUNK_PIXELS // (clean.shape[2] * clean.shape[3]))
        with torch.no_grad(), _exact_convolutions(self.device):
            rows = torch.cat([self._embed_chunk(part) for part in torch.split(clean, chunk)])
        return rows.masked_fill_(~finite.to(self.device)[:, None], torch.nan)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS of each pair of images.

        Args:
            a: `[M, C, H, W]` in [0, 1].
            b: `[M, C, H, W]` in [0, 1].

        Returns:
            `[M]` float32, >= 0, on `self.device`; exactly 0 for identical images, NaN where either image has
            a non-finite pixel.

        Raises:
            ValueError: if the shapes differ, or as for `embed`.
        """
        if a.shape != b.shape:
            raise ValueError(f"LPIPS needs pairs of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        return (self.embed(a) - self.embed(b)).square().sum(1)

    def pairwise(self, a_emb: Tensor, b_emb: Tensor) -> Tensor:
        """LPIPS of every pair of two sets of embeddings.

        Args:
            a_emb: `[P, E]` from `embed`.
            b_emb: `[Q, E]` from `embed`.

        Returns:
            `[P, Q]` float64, >= 0; NaN in the rows and columns of NaN embeddings only.
        """
        return squared_distances(a_emb, b_emb)

    def _embed_chunk(self, images: Tensor) -> Tensor:
        shown = _enlarged(images.to(self.device, torch.float32), self.net)
        features = self._trunk(self._scale(shown.expand(-1, 3, -1, -1) * 2.0 - 1.0))
        return torch.cat([_weigh(f, w) for f, w in zip(features, self._heads, strict=True)], dim=1)


def _enlarged(images: Tensor, net: Net) -> Tensor:
    """`[M, C, H, W]` with a shorter side that the trunk can judge; images that have one stay as they are."""
    height, width = images.shape[2:]
    wanted = enlarged_side(height, width, net)
    if not wanted:
        return images
    size = [round(side * wanted / min(height, width)) for side in (height, width)]
    return interpolate(images, size, mode="bilinear", align_corners=False, antialias=False)


def _weigh(features: Tensor, weights: Tensor) -> Tensor:
    """sqrt(w / HW) times the features at unit length, `[M, C, H, W]` -> `[M, C*H*W]`."""
    unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
    scale = (weights / (features.shape[2] * features.shape[3])).sqrt()
    return (unit * scale[None, :, None, None]).flatten(1)


def _head_weights(head: Any) -> Tensor:
    """Channel weights `[C]` of one head; `sqrt` needs them non-negative, as published."""
    weights: Tensor = head.model[-1].weight.detach().flatten()
    if bool((weights < 0).any()):
        raise ValueError("an LPIPS head has negative weights: it is no squared distance of embeddings")
    return weights


def _build(net: Net, path: Path | None, allow_download: bool) -> Any:
    """The `lpips` package's network with its own heads and a genuine trunk."""
    trunk = load_trunk(net, path=path, allow_download=allow_download)  # first: it fails fast and with advice
    package = importlib.import_module("lpips")  # late: pulls in torchvision
    with warnings.catch_warnings(), _NoDraws(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        model = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    convolutions = {
        int(name.rsplit(".", 1)[-1]): module
        for name, module in model.net.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    if convolutions.keys() != trunk.keys():
        raise ValueError(f"lpips {net} has convolutions {sorted(convolutions)}, expected {sorted(trunk)}")
    with torch.no_grad():
        for position, (weight, bias) in trunk.items():
            convolutions[position].load_state_dict({"weight": weight, "bias": bias})
    return model.eval().requires_grad_(False)


class _NoDraws(TorchFunctionMode):
    """Leaves tensors as they are that would be filled with random numbers.

    The package draws a whole random classifier, of which a part is kept and overwritten: the longest part of
    its construction, for nothing.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Full float32 convolutions: cuDNN's default TF32 would shift LPIPS in the third digit."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
