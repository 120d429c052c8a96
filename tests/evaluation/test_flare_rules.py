"""The challenges' rules against answers worked out by hand and against recorded official values."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation import shapes

from flare_core.cases.labels import BY_NAME, TARGET_NAMES
from flare_core.evaluation.flare_rules import (
    FLARE23,
    FLARE24_TASK1,
    PARTIAL,
    RULES,
    STRICT,
    TargetScore,
    official_round,
    score_case,
    slice_range,
    summarize,
)

ORACLE = json.loads(Path(__file__).with_name("oracle.json").read_text())
SHAPE = (12, 10, 12)
MM = (1.0, 1.0, 1.0)


def label_map(**slices: tuple[int, ...]) -> np.ndarray:
    """Draw a 4 x 4 square of each named target on the given slices, each target in its own place."""
    labels = np.zeros(SHAPE, np.uint8)
    for place, (name, where) in enumerate(slices.items()):
        x = 1 + 5 * place
        labels[x : x + 4, 3:7, list(where)] = BY_NAME[name].id
    return labels


def score_of(name: str, rules, reference, prediction, **more) -> TargetScore:
    return next(score for score in score_case(rules, reference, prediction, MM, **more) if score.target == name)


def values(score: TargetScore) -> tuple[float, float]:
    return score.dsc, score.nsd


@pytest.mark.parametrize("seed", range(10))
def test_scores_equal_the_official_ones_to_four_digits(seed):
    reference, prediction, spacing = shapes.case(seed)
    spacing = tuple(float(np.float32(edge)) for edge in spacing)
    found = [values(score) for score in score_case(FLARE23, reference, prediction, spacing)]
    assert found == [tuple(row) for row in ORACLE["flare23"][str(seed)]]


def test_the_recorded_cases_meet_every_rule():
    rows = [(tuple(row), target) for case in ORACLE["flare23"].values() for target, row in enumerate(case, start=1)]
    assert {(1.0, 1.0), (0.0, 0.0)} <= {row for row, _ in rows}
    assert any(0 < dsc < 0.2 and nsd == 0 for (dsc, nsd), _ in rows)
    assert sum(0.2 < dsc < 1 and 0 < nsd < 1 for (dsc, nsd), target in rows if target in (5, 6, 10)) > 5


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_array_s_order_in_memory_changes_nothing(order):
    reference, prediction, spacing = shapes.case(3)
    turned = score_case(FLARE23, np.asarray(reference, order=order), np.asarray(prediction, order=order), spacing)
    assert turned == score_case(FLARE23, reference, prediction, spacing)


def test_all_rule_sets_score_an_identical_case_with_one():
    reference, _, spacing = shapes.case(3)
    for rules in (FLARE23, PARTIAL, STRICT):
        assert {values(s) for s in score_case(rules, reference, reference, spacing) if not math.isnan(s.dsc)} == {
            (1, 1)
        }


def test_empty_on_both_sides_is_one_on_one_side_zero():
    some, none = label_map(liver=(2, 3)), label_map()
    assert values(score_of("liver", FLARE23, none, none)) == (1, 1)
    assert values(score_of("liver", FLARE23, some, none)) == (0, 0)
    assert values(score_of("liver", FLARE23, none, some)) == (0, 0)


def test_tubular_organs_lose_their_last_slice():
    # Reference slices 2-5, of which 2-4 are compared: a prediction without 5 and with 7 and 8 is perfect. On the whole
    # volume 3 of 4 reference slices and 3 of 5 predicted ones overlap: 2 * 3 / (4 + 5) = 0.667.
    for name in ("aorta", "inferior_vena_cava", "esophagus"):
        reference, prediction = label_map(**{name: (2, 3, 4, 5)}), label_map(**{name: (2, 3, 4, 7, 8)})
        assert values(score_of(name, FLARE23, reference, prediction)) == (1, 1)
        assert score_of(name, STRICT, reference, prediction).dsc == 0.6667
    reference, prediction = label_map(liver=(2, 3, 4, 5)), label_map(liver=(2, 3, 4, 7, 8))
    assert score_of("liver", FLARE23, reference, prediction).dsc == 0.6667


def test_the_slice_range_runs_along_the_third_stored_axis():
    reference = label_map(aorta=(2, 3, 4, 5))
    prediction = reference.copy()
    prediction[4] = 0  # the last of four columns along the first axis: 3 of 4 are found, 2 * 3 / (4 + 3)
    assert score_of("aorta", FLARE23, reference, prediction).dsc == 0.8571


def test_a_tubular_organ_found_only_outside_the_range_scores_zero():
    assert values(score_of("aorta", FLARE23, label_map(aorta=(2, 3, 4)), label_map(aorta=(4, 8)))) == (0, 0)


def test_a_tubular_organ_on_one_slice_is_compared_on_that_slice():
    one = label_map(esophagus=(6,))
    assert values(score_of("esophagus", FLARE23, one, label_map(esophagus=(5, 6, 7)))) == (1, 1)
    assert values(score_of("esophagus", FLARE23, one, label_map(esophagus=(5, 7)))) == (0, 0)
    assert slice_range(one > 0) == slice(6, 7)
    with pytest.raises(ValueError, match="empty reference"):
        slice_range(np.zeros(SHAPE, bool))


@pytest.mark.parametrize(("shared", "nsd_is_zero"), [(1, True), (2, True), (3, False)])
def test_below_a_dsc_of_a_fifth_the_surface_does_not_count(shared, nsd_is_zero):
    # Slices of 16 voxels, 10 on each side, `shared` in common: DSC = shared / 10; at exactly 0.2 the NSD counts.
    reference = np.zeros((4, 4, 24), np.uint8)
    prediction = reference.copy()
    reference[:, :, 0:10], prediction[:, :, 10 - shared : 20 - shared] = 1, 1
    score = score_case(FLARE23, reference, prediction, MM)[0]
    assert score.dsc == shared / 10
    assert (score.nsd == 0) is (shared < 2)
    assert (score_case(replace(FLARE23, nsd_needs_dsc=0.25), reference, prediction, MM)[0].nsd == 0) is nsd_is_zero


def test_partial_rules_skip_what_the_reference_does_not_annotate():
    reference, prediction = label_map(liver=(2, 3)), label_map(liver=(2, 3), spleen=(4,))
    inferred = {score.target: score.dsc for score in score_case(PARTIAL, reference, prediction, MM)}
    assert inferred["liver"] == 1
    assert all(math.isnan(value) for name, value in inferred.items() if name != "liver")
    stated = score_case(PARTIAL, reference, prediction, MM, annotated=("liver", "spleen", "aorta"))
    assert {s.target: s.dsc for s in stated if not math.isnan(s.dsc)} == {"liver": 1, "spleen": 0, "aorta": 1}
    assert score_of("spleen", FLARE23, reference, prediction).dsc == 0


def test_strict_rules_give_no_score_to_what_neither_side_shows():
    scores = score_case(STRICT, label_map(liver=(2,)), label_map(liver=(2,)), MM)
    assert [s.target for s in scores if not math.isnan(s.dsc)] == ["liver"]
    rows = {row.row: row for row in summarize(STRICT, {"a": scores})}
    assert (rows["organs"].dsc, rows["liver"].cases, rows["spleen"].cases) == (1, 1, 0)
    assert math.isnan(rows["spleen"].dsc)


def test_a_missing_prediction_scores_zero_wherever_the_rules_score():
    reference = label_map(liver=(2,))
    for rules in (FLARE23, STRICT):
        assert {values(s) for s in score_case(rules, reference, None, MM)} == {(0, 0)}
    partial = score_case(PARTIAL, reference, None, MM)
    assert [s.target for s in partial if s.dsc == 0] == ["liver"]
    assert all(math.isnan(s.prediction_ml) for s in partial)


@pytest.mark.parametrize("reference_value", [1, 14])
@pytest.mark.parametrize("prediction_value", [1, 14])
def test_flare24_takes_one_or_fourteen_as_tumor_on_either_side(reference_value, prediction_value):
    reference, prediction = label_map(tumor=(2, 3, 4)) // 14 * reference_value, label_map(tumor=(2, 3, 4, 5)) // 14
    (score,) = score_case(FLARE24_TASK1, reference, prediction * np.uint8(prediction_value), MM)
    assert (score.target, score.dsc) == ("tumor", 0.8571)  # 2 * 3 / (3 + 4); no slice range


def test_flare24_scores_other_values_with_zero_even_where_nothing_is_to_be_found():
    reference = label_map(tumor=(2, 3))
    with_organ = label_map(tumor=(2, 3), liver=(5,))
    assert values(score_case(FLARE24_TASK1, reference, with_organ, MM)[0]) == (0, 0)
    assert values(score_case(FLARE24_TASK1, label_map(), label_map(spleen=(2,)), MM)[0]) == (0, 0)
    assert values(score_case(FLARE24_TASK1, with_organ, reference, MM)[0]) == (1, 1)  # the reference may show organs
    assert values(score_case(FLARE24_TASK1, label_map(), label_map(), MM)[0]) == (1, 1)


def test_volumes_are_in_milliliters():
    score = score_case(FLARE23, label_map(liver=(2, 3)), label_map(liver=(2,)), (2.0, 2.0, 5.0))[0]
    assert (score.reference_ml, score.prediction_ml) == pytest.approx((32 * 20 / 1000, 16 * 20 / 1000))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        score_case(FLARE23, label_map(), np.zeros((3, 3, 3), np.uint8), MM)


def test_rounding_comes_before_averaging():
    # The mean of the rounded scores is rounded, and the organs' mean is that of
    # the 13 rounded means (12 organs score 0 here).
    def case(dsc: float) -> list[TargetScore]:
        return [TargetScore(n, official_round(dsc) if n == "liver" else 0.0, 0.0, 0.0, 0.0) for n in TARGET_NAMES]

    rows = {row.row: row for row in summarize(FLARE23, {"a": case(1 / 3), "b": case(2 / 3), "c": case(0.12345)})}
    assert rows["liver"].dsc == official_round((0.3333 + 0.6667 + official_round(0.12345)) / 3)
    assert rows["organs"].dsc == official_round(rows["liver"].dsc / 13)
    assert official_round(0.00005) == 0.0  # to even, as NumPy rounds and the official script with it


def test_tumor_means_are_also_given_over_bearing_and_free_cases():
    def case(dsc: float, reference_ml: float, prediction_ml: float) -> list[TargetScore]:
        return [TargetScore("tumor", dsc, dsc, reference_ml, prediction_ml)]

    scores = {
        "bearing": case(0.6, 10, 8),
        "missed": case(0.0, 5, 0),
        "clean": case(1.0, 0, 0),
        "false_alarm": case(0.0, 0, 3.0),
        "no_prediction": case(0.0, 0, math.nan),
        "not_annotated": case(math.nan, math.nan, 7.0),
    }
    rows = {row.row: row for row in summarize(FLARE24_TASK1, scores)}
    assert set(rows) == {"tumor", "tumor_bearing_cases", "tumor_free_cases"}
    assert (rows["tumor"].cases, rows["tumor"].dsc) == (5, 0.32)
    assert (rows["tumor_bearing_cases"].cases, rows["tumor_bearing_cases"].dsc) == (2, 0.3)
    assert (rows["tumor_free_cases"].cases, rows["tumor_free_cases"].false_positive_ml) == (3, 1.5)
    assert math.isnan(rows["tumor"].false_positive_ml)


def test_no_case_at_all_gives_rows_without_values():
    assert {row.cases for row in summarize(FLARE23, {})} == {0}
    assert all(math.isnan(row.dsc) for row in summarize(FLARE23, {}))


def test_rule_sets_are_frozen_values_found_by_name():
    assert set(RULES) == {"flare23", "flare24-task1", "partial", "strict"}
    assert replace(PARTIAL, name="flare23", annotated_only=False, is_geometry_strict=False) == FLARE23
    with pytest.raises(AttributeError):
        FLARE23.nsd_needs_dsc = 0.1
