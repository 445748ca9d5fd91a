"""What images look like before anything is observed, as costs per victim."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Prior = Callable[[Tensor], Tensor]
"""``images [N, B, C, H, W] -> [N]``."""
Weighted = tuple[tuple[float, Prior], ...]
"""Priors with their weights; or, of the same form, costs of unknowns ``[N, D]``."""


def total_variation(images: Tensor) -> Tensor:
    """Anisotropic total variation: mean |dx| + mean |dy| over all pixels of a victim's batch.

    Args:
        images: ``[N, B, C, H, W]``, or single images ``[N, C, H, W]``.

    Returns:
        ``[N]``, in the images' units; about 0.1 for digits and 0.66 for uniform noise.
    """
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().flatten(1).mean(1)
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).mean(1)
    return horizontal + vertical


def opponents(images: Tensor) -> Tensor:
    """Colour images with the differences of their channels as three more channels; grey ones as they are.

    In photographs edges of the channels coincide, so that their differences are smoother than noise of the
    same size would be (double opponents; Astrom and Schnorr, ECCV 2016, Section 2).

    Args:
        images: ``[N, B, C, H, W]``.

    Returns:
        ``[N, B, 6, H, W]`` for C = 3, else the images.
    """
    if images.shape[-3] != 3:
        return images
    return torch.cat([images, images - images.roll(-1, dims=-3)], dim=-3)


def colour_variation(images: Tensor) -> Tensor:
    """Total variation of all channels and of their differences; :func:`total_variation` where C is not 3.

    Args:
        images: ``[N, B, C, H, W]``.

    Returns:
        ``[N]``: the variation of a channel plus that of a difference, each in the mean over its three.
    """
    sides = 2 if images.shape[-3] == 3 else 1
    return sides * total_variation(opponents(images))


def statistics_gap(mine: Mapping[str, Tensor], known: Mapping[str, Tensor], *, first: float = 1.0) -> Tensor:
    """Distance of the dummy batch's BatchNorm statistics from those known (Yin et al. 2021, Eq. 8).

    Args:
        mine: ``[N, channels]`` by buffer name.
        known: the victims' own ones alike, or public running statistics ``[channels]``.
        first: weight of the layer that ``known`` names first, beside 1 of the others.

    Returns:
        ``[N]``: the sum over layers of the Euclidean distances of means and of variances.
    """
    front = next(iter(known), "").rpartition(".")[0]
    gaps = {name: (value - known[name]).norm(dim=1) for name, value in mine.items()}
    return torch.stack(
        [first * gap if name.rpartition(".")[0] == front else gap for name, gap in gaps.items()]
    ).sum(0)


def latent_divergence(latents: Tensor) -> Tensor:
    """KL divergence of the latents' moments from those of a standard normal (Li et al. 2022, Section 3.3).

    ``(mean^2 + variance - log variance - 1) / 2`` with the moments over the coordinates of each latent,
    averaged over the batch.

    Args:
        latents: ``[N, B, Z]``.

    Returns:
        ``[N]``, zero for coordinates of mean 0 and variance 1.
    """
    variance = latents.var(dim=2, unbiased=False).clamp_min(torch.finfo(latents.dtype).tiny)
    divergence = (latents.mean(dim=2).square() + variance - variance.log() - 1) / 2
    return divergence.mean(dim=1)
