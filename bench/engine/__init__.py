"""Batched optimisation over many victims at once. An attack is a composition of the parts in here.

A matching loss (:mod:`~bench.engine.matching`), a parametrisation (:mod:`~bench.engine.parametrise`) and
priors (:mod:`~bench.engine.priors`) make an :class:`~bench.engine.objective.Objective`; an optimiser
(:mod:`~bench.engine.minimisers`) minimises it for every victim under a per-victim stopping rule;
:mod:`~bench.engine.minimisers.search` restarts the victims whose attempt failed by its visible cost.
"""

from bench.engine.classes import (
    critic_of,
    cross_entropy,
    descend,
    generator_of,
    in_parts,
    poincare,
    start_latents,
    target_probability,
)
from bench.engine.generative import GeneratorWeights, Latents, LatentSearch, WarmAdam
from bench.engine.labels import assumed, count_labels, pixel_targets, private_labels, single_labels
from bench.engine.matching import (
    MATCHINGS,
    Cosine,
    Euclidean,
    Matching,
    TensorCosine,
    adaptive_loss,
    incomplete,
)
from bench.engine.memory import chunk_size
from bench.engine.minimisers.adam import SignedAdam
from bench.engine.minimisers.cgls import cgls
from bench.engine.minimisers.evolution import EvolutionStrategy
from bench.engine.minimisers.lbfgs import LBFGS
from bench.engine.minimisers.optimum import Optimum, Stopping
from bench.engine.minimisers.search import search
from bench.engine.objective import Objective
from bench.engine.parametrise import Pixels, PixelsAndLabels
from bench.engine.priors import BatchNormStatistics, latent_divergence, total_variation
from bench.engine.transforms.imitated import Imitations, imitations
from bench.engine.transforms.inputs import InputSpace, imitated

__all__ = [
    "LBFGS",
    "MATCHINGS",
    "BatchNormStatistics",
    "Cosine",
    "Euclidean",
    "EvolutionStrategy",
    "GeneratorWeights",
    "Imitations",
    "InputSpace",
    "LatentSearch",
    "Latents",
    "Matching",
    "Objective",
    "Optimum",
    "Pixels",
    "PixelsAndLabels",
    "SignedAdam",
    "Stopping",
    "TensorCosine",
    "WarmAdam",
    "adaptive_loss",
    "assumed",
    "cgls",
    "chunk_size",
    "count_labels",
    "critic_of",
    "cross_entropy",
    "descend",
    "generator_of",
    "imitated",
    "imitations",
    "in_parts",
    "incomplete",
    "latent_divergence",
    "pixel_targets",
    "poincare",
    "private_labels",
    "search",
    "single_labels",
    "start_latents",
    "target_probability",
    "total_variation",
]
