"""The paired bootstrap: known answers, cases and seeds drawn as they are crossed, and the number of cases needed."""

import math

import numpy as np
import pytest

from flare_core.evaluation.bootstrap import Estimate, paired_bootstrap


def table(*seeds):
    return np.array(seeds, float)


def test_two_cases_have_the_interval_that_counting_gives():
    """Both cases twice (1 in 4 each) or one of each: the means 0, 1/2 and 1 with shares 1/4, 1/2, 1/4."""
    found = paired_bootstrap(table([0, 1]))
    assert (found.effect, found.low, found.high, found.cases, found.seeds) == (0.5, 0.0, 1.0, 2, 1)


def test_many_cases_have_the_interval_of_the_normal_law():
    values = np.random.default_rng(1).normal(0.3, 2.0, 400)
    found = paired_bootstrap(values[None], draws=20_000)
    error = 1.96 * values.std() / math.sqrt(400)
    assert found.effect == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)


def test_pairing_removes_what_makes_cases_easy_or_hard():
    difficulty = np.linspace(0, 1, 20)
    found = paired_bootstrap((difficulty + 0.01)[None], difficulty[None])
    assert (found.effect, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))


def test_the_same_cases_judged_by_more_seeds_are_not_more_cases():
    cases = np.random.default_rng(2).normal(size=20)
    one, three = paired_bootstrap(cases[None]), paired_bootstrap(np.tile(cases, (3, 1)))
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.05)
    assert three.seeds == 3


def test_seeds_that_differ_widen_the_interval():
    alike, apart = table([0.5] * 10, [0.5] * 10), table([0.4] * 10, [0.6] * 10)
    assert paired_bootstrap(alike).low == pytest.approx(0.5)
    assert (paired_bootstrap(apart).low, paired_bootstrap(apart).high) == pytest.approx((0.4, 0.6))


def test_a_ratio_is_that_of_the_means():
    found = paired_bootstrap(table([1, 2, 3]), table([2, 4, 6]), ratio=True)
    assert (found.effect, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert paired_bootstrap(table([1, 9]), table([1, 1]), ratio=True).effect == 5


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(3).normal(size=(2, 15))
    assert paired_bootstrap(values) == paired_bootstrap(values.copy())


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (table([1, 2]), table([1]), "one shape"),
        (np.zeros((1, 0)), None, "one shape"),
        (np.zeros(3), None, "one shape"),
        (table([1, math.nan]), None, "finite"),
    ],
)
def test_what_cannot_be_paired_is_refused(first, second, words):
    with pytest.raises(ValueError, match=words):
        paired_bootstrap(first, second)


def test_a_ratio_to_nothing_is_refused():
    with pytest.raises(ValueError, match="other than 0"):
        paired_bootstrap(table([1, 2]), table([0, 0]), ratio=True)


def test_cases_needed_follow_the_square_root():
    """Half of the interval is 0.02, the effect 0.01 from the bound: it must shrink to a half, so four times as many."""
    found = Estimate(0.01, -0.01, 0.03, 20, 1)
    assert found.cases_needed(0.0) == 80
    assert Estimate(-0.01, -0.03, 0.01, 20, 1).cases_needed(0.0) == 80
    assert found.cases_needed(0.01) is None, "an effect on the bound is never parted from it"
    assert found.cases_needed(0.0099) is None, "more than anyone will ever have"


def test_widening_moves_both_ends():
    assert Estimate(0.0, -0.1, 0.1, 5, 1).widened(0.02) == Estimate(0.0, -0.1 - 0.02, 0.1 + 0.02, 5, 1)
