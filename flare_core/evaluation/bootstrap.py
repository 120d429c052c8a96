"""Say how sure a paired comparison is: the effect and its 95 % interval, and how many cases would make it surer.

Serves the verdicts on the papers' claims. Two methods are compared on the same cases, and, where they were trained
several times, by the same seeds. Which cases and which seeds there happen to be is chance: both are drawn again with
replacement, many times, and the middle 95 % of the effects are the interval (percentile bootstrap).

Every seed is judged on the same cases, so a draw takes the same cases for all its seeds. Drawing other cases for each
seed would pretend that there are as many independent cases as cases times seeds.

References:
    Efron and Tibshirani 1993, An introduction to the bootstrap; Owen 2007, The pigeonhole bootstrap (crossed factors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
MOST_CASES = 100_000
"""More cases than this are not worth naming."""


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    Attributes:
        effect: a difference, a ratio or a value.
        low, high: ends of its 95 % interval.
        cases, seeds: how many there were to draw from.
    """

    effect: float
    low: float
    high: float
    cases: int
    seeds: int

    def widened(self, by: float) -> Estimate:
        """Return the estimate with both ends moved outward."""
        return Estimate(self.effect, self.low - by, self.high + by, self.cases, self.seeds)

    def cases_needed(self, bound: float) -> int | None:
        """Return how many cases like these would part the interval from a bound; None if no number named would.

        An interval shrinks with the square root of the number of cases; the end that faces the bound has to come as far
        as the effect is away from it. What seeds add to the interval does not shrink, so this is the least.
        """
        gap = abs(self.effect - bound)
        reach = self.effect - self.low if self.effect > bound else self.high - self.effect
        needed = self.cases * (reach / gap) ** 2 if gap > 0 else math.inf
        return math.ceil(needed) if needed <= MOST_CASES else None


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray | None = None, *, ratio: bool = False, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the effect between two methods on the same cases and seeds, or the mean of one alone.

    Args:
        first: finite values of shape (seeds, cases), at least one of each.
        second: the other method's values of the same shape; None: `first` is the effect itself.
        ratio: the effect is mean(first) / mean(second), not mean(first) - mean(second).
        draws: how often cases and seeds are drawn.
        seed: of the draws; the same values always give the same interval.
    Raises:
        ValueError: if shapes differ, there is nothing to draw from, a value is not finite, or a ratio has a mean of 0
            below it.
    """
    first = np.asarray(first, float)
    second = np.zeros_like(first) if second is None else np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise ValueError(f"expected two tables (seeds, cases) of one shape, got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("expected a finite value for every seed and case")
    rng = np.random.default_rng(seed)
    seeds, cases = first.shape
    by_case = _drawn(rng, cases, draws)
    by_seed = _drawn(rng, seeds, draws)
    means = [((by_seed @ values) * by_case).sum(1) for values in (first, second)]
    whole = first.mean(), second.mean()
    if ratio:
        if whole[1] == 0 or not means[1].all():
            raise ValueError("a ratio needs a mean other than 0 below it")
        effects, effect = means[0] / means[1], whole[0] / whole[1]
    else:
        effects, effect = means[0] - means[1], whole[0] - whole[1]
    low, high = np.quantile(effects, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(float(effect), float(low), float(high), cases, seeds)


def _drawn(rng: np.random.Generator, count: int, draws: int) -> np.ndarray:
    """Return the share of each of `count` things in each draw of as many of them, shape (draws, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=draws) / count
