"""Image metrics on [0, 1], one definition each, one value per image, each tested against a reference."""

from bench.metrics.identity import MIN_POOL, identified
from bench.metrics.lpips_weights import MissingWeights, weights_status
from bench.metrics.matching import assign
from bench.metrics.perceptual import Lpips
from bench.metrics.pixel import PSNR_CAP, mse, psnr
from bench.metrics.score import ImageScores, score_releases
from bench.metrics.ssim import ssim

__all__ = [
    "MIN_POOL",
    "PSNR_CAP",
    "ImageScores",
    "Lpips",
    "MissingWeights",
    "assign",
    "identified",
    "mse",
    "psnr",
    "score_releases",
    "ssim",
    "weights_status",
]
