"""What one release of DP-SGD lets anybody find at best, in closed form.

A client with one image x of N numbers sends ``o = h(x) + z C n``, n ~ N(0, I), where h is its gradient,
clipped to norm C, and z the noise multiplier. A batch of more images is no easier: an attacker who is told
the gradients of all others, and multiplies by B, is left with the same o.

**Without a prior** (:func:`psnr_without_prior`, :func:`success_without_prior`; the case of Riess et al. 2024,
arXiv 2402.12861). Whoever reads the image off a fully connected first layer, as in ``x = dW_i / db_i``, sees
there ``dW = k d y'``: the layer's input ``y = a (x - m)``, any scale a and shift m that all pixels share,
the layer's error d, and the factor k <= 1 of the clipping. Let k d be known, which only helps. Then dW is
linear in y, with Fisher information ``|k d|^2 / (z C)^2`` in each number of y. As dW is part of what is
clipped, ``|k d| |y| <= C``, so that information is at most ``1 / (z |y|)^2``. Of all shifts the image's own
mean leaves the least of y, ``|y| = a sqrt(N) std(x)``. By Cramer and Rao no unbiased estimate of x has a mean
squared error per pixel below

    s^2 = (z |y| / a)^2 >= z^2 N var(x).

A linear unbiased estimate has a Gaussian error whose covariance is at least s^2 I; therefore
``P(MSE <= e) <= P(chi2_N <= N e / s^2)`` (Anderson's inequality), with equality for least squares where all
of the norm C is in that layer. No other estimate, biased ones included, has a higher P at all x of R^N: for
given k d least squares is minimax.
What is assumed: the first layer's gradient alone is used, and nothing is known of images beforehand. Later
layers can tell more, which |h| <= C does not bound, since h may turn quickly with x; and who knows that
pixels lie in [0, 1] (as scores do, which clamp), that images are smooth, or what digits look like, does
better. Beside attacks on whole networks this is a line to compare with, and no theorem; where it is below the
score of a blind guess it says that only a prior can help.

**With any prior, on any network** (:func:`recovered_at_most`; Hayes, Mahloujifar, Balle, NeurIPS 2023). One
of the M images of a list was drawn, all alike likely, and an attacker says which. Let Q be the release of a
zero gradient, and P_i that of image i, which is named on a set A_i of releases. As these sets are disjoint,
``sum_i Q(A_i) <= 1``. The means of P_i and Q are at most C apart, so by Neyman and Pearson
``P_i(A_i) <= Phi(Phi^-1(Q(A_i)) + 1 / z)``, which is concave in Q(A_i): the mean over i is at most

    Phi(Phi^-1(1 / M) + 1 / z).

T releases of the same image, at whatever weights, have ``sqrt(T) / z`` in place of ``1 / z``.
"""

from __future__ import annotations

import math

import torch
from scipy.stats import chi2, norm
from torch import Tensor


def error_without_prior(images: Tensor, noise_multiplier: float) -> Tensor:
    """``s^2 = z^2 N var(x)``, the least mean squared error per pixel of each image, ``[M]``.

    Args:
        images: ``[M, C, H, W]`` in [0, 1].
        noise_multiplier: z.
    """
    rows = images.flatten(1).double()
    return noise_multiplier**2 * rows.shape[1] * rows.var(dim=1, correction=0)


def psnr_without_prior(images: Tensor, noise_multiplier: float) -> Tensor:
    """The PSNR in dB, ``[M]``, of that error."""
    return -10 * error_without_prior(images, noise_multiplier).log10()


def success_without_prior(images: Tensor, noise_multiplier: float, psnr: float) -> Tensor:
    """The highest probability, ``[M]``, with which a linear unbiased estimate reaches a PSNR in dB."""
    numbers = images[0].numel()
    ratio = 10 ** (-psnr / 10) / error_without_prior(images, noise_multiplier)
    return torch.from_numpy(chi2.cdf(numbers * ratio.cpu().numpy(), numbers))


def recovered_at_most(noise_multiplier: float, *, pool: int, releases: int = 1) -> float:
    """The largest share of images that anybody finds in a list of ``pool`` that holds them, in [0, 1]."""
    return float(norm.cdf(norm.ppf(1 / pool) + math.sqrt(releases) / noise_multiplier))
