"""Say how sure a paired comparison is: the effect and its 95 % interval, and how many cases would make it surer.

Serves the verdicts on the papers' claims. Two methods are compared on the same cases, and, where they were trained
several times, by the same seeds. Which cases there happen to be is chance: they are drawn again with replacement, many
times, and the middle 95 % of the effects are the interval (percentile bootstrap). Every seed is judged on the same
cases, so a draw takes the same cases for all seeds: twenty cases of three trainings are not sixty.

Two or three seeds are too few to draw from: the draws repeat the same few values and cover far less than they say.
Their spread enters by Student's t instead, which is added to both ends.

References:
    Efron and Tibshirani 1993, An introduction to the bootstrap; Student 1908, The probable error of a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

DRAWS = 10_000
LEVEL = 0.95
MOST_CASES = 10_000
"""More cases than this are not worth naming."""


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    Attributes:
        effect: a difference, a ratio or a value.
        low, high: ends of its 95 % interval.
        cases, seeds: how many there were.
        trainings: seeds whose values differ; those that agree in every case are one training.
        by_seeds: what seeds add to both ends, which more cases do not shrink.
    """

    effect: float
    low: float
    high: float
    cases: int
    seeds: int
    trainings: int = 1
    by_seeds: float = 0.0

    def with_run_to_run(self, half_width: float) -> Estimate:
        """Return the estimate with at least the run-to-run variation of trainings in its interval.

        Args:
            half_width: what one training adds to both ends. It shrinks with the square root of their number, but never
                below what their own spread says.
        """
        by = max(half_width / math.sqrt(self.trainings), self.by_seeds)
        more = by - self.by_seeds
        return replace(self, low=self.low - more, high=self.high + more, by_seeds=by)

    def cases_needed(self, bound: float) -> int | None:
        """Return how many cases like these would part the interval from a bound; None if no number named would.

        What cases add to an interval shrinks with the square root of their number; with what seeds add, which does not
        shrink, it has to come down to the distance between the effect and the bound.
        """
        gap = abs(self.effect - bound) - self.by_seeds
        reach = (self.effect - self.low if self.effect > bound else self.high - self.effect) - self.by_seeds
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
        draws: how often cases are drawn.
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
    shares = rng.multinomial(cases, np.full(cases, 1 / cases), size=draws) / cases
    trainings = np.unique(np.hstack([first, second]), axis=0)
    by_seeds = _half_width(_effect(*(part.mean(1) for part in np.hsplit(trainings, 2)), ratio))
    effect = float(_effect(first.mean(), second.mean(), ratio))
    drawn = _effect(shares @ first.mean(0), shares @ second.mean(0), ratio)
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(effect, float(low) - by_seeds, float(high) + by_seeds, cases, seeds, len(trainings), by_seeds)


def _effect(first: np.ndarray, second: np.ndarray, ratio: bool) -> np.ndarray:
    """Return the effect between means."""
    if not ratio:
        return first - second
    if not np.all(second):
        raise ValueError("a ratio needs a mean other than 0 below it")
    return first / second


def _half_width(effects: np.ndarray) -> float:
    """Return half of the t-interval of the mean of a few effects; 0 for one, whose spread nobody knows."""
    count = len(effects)
    if count == 1:
        return 0.0
    return float(stdtrit(count - 1, (1 + LEVEL) / 2) * effects.std(ddof=1) / math.sqrt(count))
