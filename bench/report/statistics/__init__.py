"""Statistics of the leaderboard: cluster bootstrap, ranks with ties, Pareto front and hypervolume."""

from bench.report.statistics.bootstrap import (
    NOTHING,
    RESAMPLES,
    Interval,
    certainly_positive,
    mean_ci,
    mean_cis,
    paired_difference,
    ratio_ci,
    resampled_means,
    summary_ci,
)
from bench.report.statistics.exact import exact
from bench.report.statistics.pareto import covered_area, pareto_front
from bench.report.statistics.ranks import Place, places
from bench.report.statistics.shares import binomial, drop_interval, share_interval, student

__all__ = [
    "NOTHING",
    "RESAMPLES",
    "Interval",
    "Place",
    "binomial",
    "certainly_positive",
    "covered_area",
    "drop_interval",
    "exact",
    "mean_ci",
    "mean_cis",
    "paired_difference",
    "pareto_front",
    "places",
    "ratio_ci",
    "resampled_means",
    "share_interval",
    "student",
    "summary_ci",
]
