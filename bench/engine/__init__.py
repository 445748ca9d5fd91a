"""Batched optimisation over many victims at once. An attack is a composition of the parts in here.

A matching loss (:mod:`~bench.engine.matching`), a parametrisation (:mod:`~bench.engine.parametrise`) and
priors (:mod:`~bench.engine.priors`) make an :class:`~bench.engine.objective.Objective`; a minimiser, all of
which keep one contract (:class:`~bench.engine.minimisers.contract.Minimiser`), minimises it for every
victim; others around it (:mod:`~bench.engine.minimisers.search`) restart the victims whose attempt failed by
its visible cost, and keep to the memory there is; :func:`~bench.engine.gradient_search.gradient_search` does
all of that.
"""

from bench.engine.batch_labels import count_labels, private_labels
from bench.engine.classes import (
    critic_of,
    cross_entropy,
    generator_of,
    poincare,
    start_latents,
    target_probability,
)
from bench.engine.features import FeatureSearch, blocks_of, most_features
from bench.engine.generative import GeneratorWeights, Latents, distance, latent_objective
from bench.engine.gradient_search import gradient_search
from bench.engine.labels import assumed, pixel_targets, single_labels
from bench.engine.matching import (
    Cosine,
    Euclidean,
    Matching,
    TensorCosine,
    adaptive_loss,
    in_nats,
    smoothness,
)
from bench.engine.memory import chunk_size, in_parts
from bench.engine.minimisers.adam import AMSGrad, SignedAdam, WarmAdam
from bench.engine.minimisers.cgls import CGLS
from bench.engine.minimisers.contract import Minimiser, Optimum, costs_and_gradients
from bench.engine.minimisers.descent import Descent
from bench.engine.minimisers.evolution import EvolutionStrategy
from bench.engine.minimisers.lbfgs import LBFGS, Stopping
from bench.engine.minimisers.search import Chunks, Promising, Restarts
from bench.engine.objective import Fading, Objective
from bench.engine.parametrise import Pixels, PixelsAndLabels
from bench.engine.priors import (
    colour_variation,
    total_variation,
)

__all__ = [
    "CGLS",
    "LBFGS",
    "AMSGrad",
    "Chunks",
    "Cosine",
    "Descent",
    "Euclidean",
    "EvolutionStrategy",
    "Fading",
    "FeatureSearch",
    "GeneratorWeights",
    "Latents",
    "Matching",
    "Minimiser",
    "Objective",
    "Optimum",
    "Pixels",
    "PixelsAndLabels",
    "Promising",
    "Restarts",
    "SignedAdam",
    "Stopping",
    "TensorCosine",
    "WarmAdam",
    "adaptive_loss",
    "assumed",
    "blocks_of",
    "chunk_size",
    "colour_variation",
    "costs_and_gradients",
    "count_labels",
    "critic_of",
    "cross_entropy",
    "distance",
    "generator_of",
    "gradient_search",
    "in_nats",
    "in_parts",
    "latent_objective",
    "most_features",
    "pixel_targets",
    "poincare",
    "private_labels",
    "single_labels",
    "smoothness",
    "start_latents",
    "target_probability",
    "total_variation",
]
