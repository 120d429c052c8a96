"""The paired bootstrap: known answers, what a few seeds add, and the number of cases needed."""

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


def test_seeds_that_agree_in_every_case_are_no_stronger_than_one():
    cases = np.random.default_rng(2).normal(size=20)
    one, three = paired_bootstrap(cases[None]), paired_bootstrap(np.tile(cases, (3, 1)))
    for found in (three, three.with_run_to_run(0.1)):
        assert (found.seeds, found.trainings) == (3, 1)
    assert (three.low, three.high) == pytest.approx((one.low, one.high))
    assert three.with_run_to_run(0.1).high == pytest.approx(one.high + 0.1)
    assert one.with_run_to_run(0.1).high == pytest.approx(one.high + 0.1)


def test_seeds_that_differ_widen_the_interval_by_students_t():
    """Two means 0.2 apart: 12.706 times their standard error of 0.1."""
    found = paired_bootstrap(table([0.4] * 10, [0.6] * 10))
    assert (found.low, found.high) == pytest.approx((0.5 - 1.2706, 0.5 + 1.2706), abs=1e-4)
    assert found.with_run_to_run(0.1) == found, "their own spread is more"


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("of_seeds", [0.01, 0.03])
def test_intervals_of_a_few_seeds_cover_the_truth(seeds, of_seeds):
    """400 studies of 20 cases: cases differ by 0.05, trainings by `of_seeds`, both together by 0.02; the truth is 0."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        values = rng.normal(0, 0.05, 20) + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, 0.02, (seeds, 20))
        found = paired_bootstrap(values, draws=500)
        covered += found.low <= 0 <= found.high
    assert covered / 400 >= 0.94


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


def test_what_trainings_add_does_not_shrink_with_cases():
    """Half of the interval is 1/2 by cases and 1/2 by trainings, the effect 3/4 away: cases must come down to 1/4."""
    found = Estimate(0.75, 0.25, 1.25, 20, 1).with_run_to_run(0.5)
    assert (found.low, found.high, found.by_seeds) == (-0.25, 1.75, 0.5)
    assert found.cases_needed(0.0) == 80
    assert found.cases_needed(0.3) is None, "nearer than what trainings add"
