"""Ranks worked out by hand: ties, missing values, tolerances, weights, and what the bootstrap may and may not say."""

import numpy as np
import pandas as pd
import pytest

from flare_core.evaluation.ranking import (
    COSTS,
    FLARE23_RANKING,
    HALF_COSTS,
    NO_TOLERANCE,
    RankingScheme,
    measurements,
    rank,
)
from flare_core.evaluation.ranking_figures import rank_intervals

ONE = RankingScheme("one metric", weights={"organ DSC": 1.0})


def values(metric="organ DSC", **by_submission):
    """Rows of one metric: a list of values a submission, one a case; None for no value."""
    rows = [
        (name, f"case{number}", metric, value)
        for name, found in by_submission.items()
        for number, value in enumerate(found)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["submission", "case", "metric", "value"])


def test_ranks_are_made_on_every_case_before_they_are_averaged():
    """b has the better mean (0.70 against 0.57), but a wins two cases of three."""
    ranking = rank(values(a=[0.8, 0.9, 0.0], b=[0.7, 0.8, 0.6]), ONE, ["a", "b"])
    assert ranking.overall.to_dict() == {"a": (1 + 1 + 2) / 3, "b": (2 + 2 + 1) / 3}
    assert ranking.places.to_dict() == {"a": 1, "b": 2}
    assert ranking.table()["score"].to_list() == pytest.approx([4 / 6, 5 / 6]), "divided by the number of teams"


def test_equal_values_share_the_mean_of_their_ranks_and_equal_means_a_place():
    ranking = rank(values(a=[0.5], b=[0.9], c=[0.5], d=[0.1]), ONE, list("abcd"))
    assert ranking.overall.to_list() == [2.5, 1, 2.5, 4]
    assert ranking.places.to_list() == [2, 1, 2, 4]


def test_who_has_no_value_is_behind_all_that_have_one():
    ranking = rank(values(a=[0.0, None], b=[0.9, 0.1], nobody=[]), ONE, ["a", "b", "nobody"])
    assert ranking.mean_ranks["organ DSC"].to_dict() == {"a": 2.25, "b": 1, "nobody": 2.75}


def test_metrics_weigh_as_the_scheme_says_and_absent_ones_are_left_out():
    table = pd.concat([values(a=[1.0], b=[0.0]), values("time", a=[-9.0, -9.0], b=[-1.0, -1.0])])
    assert rank(table, NO_TOLERANCE, ["a", "b"]).overall.to_list() == [1.5, 1.5]
    assert rank(table, HALF_COSTS, ["a", "b"]).overall.to_list() == pytest.approx([4 / 3, 5 / 3])
    assert rank(table, HALF_COSTS, ["a", "b"]).cases == {"organ DSC": 1, "time": 2}
    none = RankingScheme("none", weights={"organ DSC": 0.0})
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(table, none, ["a", "b"])
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(table, NO_TOLERANCE, [])


def test_the_bootstrap_is_sure_where_all_cases_agree_and_unsure_where_they_do_not():
    agreed = rank(values(a=[0.9] * 6, b=[0.5] * 6, c=[0.1] * 6), ONE, list("abc"))
    assert (agreed.resampled == [1, 2, 3]).all()
    split = rank(values(a=[0.9, 0.1] * 5, b=[0.1, 0.9] * 5), ONE, ["a", "b"])
    assert split.table()[["place", "from", "to"]].to_numpy().tolist() == [[1, 1, 2], [1, 1, 2]]
    again = rank(values(a=[0.9, 0.1] * 5, b=[0.1, 0.9] * 5), ONE, ["a", "b"])
    assert (split.resampled == again.resampled).all()
    other = rank(values(a=[0.9, 0.1] * 5, b=[0.1, 0.9] * 5), ONE, ["a", "b"], seed=1)
    assert (split.resampled != other.resampled).any()


def test_metrics_of_the_same_cases_are_resampled_together():
    """DSC and NSD point opposite ways on every case, so no resample can part the two submissions."""
    table = pd.concat(
        [values(a=[0.9, 0.1, 0.8], b=[0.1, 0.9, 0.2]), values("organ NSD", a=[0.1, 0.9, 0.2], b=[0.9, 0.1, 0.8])]
    )
    assert (rank(table, NO_TOLERANCE, ["a", "b"]).resampled == 1).all()


@pytest.fixture
def results():
    """Scores of one case and costs: `quick` within all tolerances, `slow` beyond both."""
    scores = [("quick", "x", target, 0.6, 0.4) for target in ("liver", "tumor")]
    scores += [("quick", "x", "spleen", 0.8, 0.6), ("slow", "x", "tumor", 0.2, 0.1)]
    costs = [("quick", "s", 12.0, "r1", "gpu"), ("slow", "s", 20.0, "r2", "gpu")]
    samples = [("r1", "gpu", 4000.0), ("r1", "gpu", 4096.0), ("r1", "host", 9000.0)]
    samples += [("r2", "gpu", 4196.0), ("r2", "gpu", 5096.0)]
    return (
        pd.DataFrame(scores, columns=["system", "case", "target", "dsc", "nsd"]),
        pd.DataFrame(costs, columns=["submission", "case", "seconds", "run", "memory"]),
        pd.DataFrame(samples, columns=["run", "memory", "mb"]),
    )


def test_what_is_within_the_tolerances_costs_nothing(results):
    table = measurements(*results, FLARE23_RANKING).set_index(["submission", "metric"])["value"]
    assert table["quick", "time"] == table["quick", "memory area"] == 0
    assert table["slow", "time"] == -5.0
    assert table["slow", "memory area"] == pytest.approx(-(100 + 1000) * 0.1), "only what exceeds 4096 MB"


def test_without_tolerances_the_area_is_the_organizers_sum_of_the_memory_that_is_named(results):
    table = measurements(*results, NO_TOLERANCE).set_index(["submission", "metric"])["value"]
    assert table["quick", "memory area"] == pytest.approx(-809.6)
    assert table["quick", "time"] == -12.0


def test_accuracy_is_that_of_the_organs_together_and_of_the_tumor(results):
    table = measurements(*results, NO_TOLERANCE).set_index(["submission", "metric"])["value"]
    assert table["quick", "organ DSC"] == pytest.approx(0.7) and table["quick", "organ NSD"] == pytest.approx(0.5)
    assert table["slow", "tumor NSD"] == 0.1
    assert ("slow", "organ DSC") not in table.index
    ranking = rank(table.reset_index().assign(case="x"), NO_TOLERANCE, ["slow", "quick"])
    assert ranking.mean_ranks.loc["slow", "organ DSC"] == 2 and set(COSTS) < set(ranking.mean_ranks)


def test_nothing_measured_leaves_accuracy(results):
    scores, costs, samples = results
    table = measurements(scores, costs[:0], samples[:0], FLARE23_RANKING)
    assert set(table["metric"]) == {"organ DSC", "organ NSD", "tumor DSC", "tumor NSD"}


def test_the_picture_has_a_row_a_submission_and_a_panel_a_scheme():
    first = rank(values(a=[0.1, 0.9], b=[0.2, 0.3]), ONE, ["a", "b"])
    figure = rank_intervals([first, first], "title")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(first.table().index)
    assert len(figure.axes) == 2
    shares = [np.sum(points.get_sizes()) for points in figure.axes[0].collections[::2]]
    assert shares == pytest.approx([420, 420]), "the bubbles of a submission are all its resamples"
    with pytest.raises(ValueError, match="at least one"):
        rank_intervals([])
