"""Facts of cases, on maps small enough to draw."""

import numpy as np
import pytest

from flare_core.cases.labels import BY_NAME
from flare_core.evaluation.case_facts import false_tumor_ml, located_share, reference_facts, split_dsc
from flare_core.evaluation.metrics import dsc

LIVER, RIGHT, LEFT, SPLEEN, TUMOR = (
    BY_NAME[name].id for name in ("liver", "right_kidney", "left_kidney", "spleen", "tumor")
)


def line(*ids):
    return np.array(ids, np.uint8).reshape(-1, 1, 1)


def test_an_organ_touches_a_tumor_where_voxels_are_neighbors():
    rows = {row["target"]: row for row in reference_facts(line(LIVER, TUMOR, 0, SPLEEN, SPLEEN), (10, 10, 10))}
    assert rows["liver"] == {"target": "liver", "volume_ml": 1.0, "touches_tumor": True, "is_low": False}
    assert rows["spleen"] == {"target": "spleen", "volume_ml": 2.0, "touches_tumor": False, "is_low": False}
    assert rows["tumor"]["volume_ml"] == 1.0 and not rows["tumor"]["touches_tumor"]
    assert rows["pancreas"]["volume_ml"] == 0.0


def low(*ids):
    labels = np.array(ids, np.uint8).reshape(1, 1, -1)
    return {row["target"] for row in reference_facts(labels, (1, 1, 5)) if row["is_low"]}


def test_low_is_below_the_middle_of_the_organs():
    assert low(LEFT, TUMOR, TUMOR, 0, 0, 0, LIVER) == {"left_kidney", "tumor"}
    assert low(LEFT, 0, 0, 0, TUMOR, TUMOR, LIVER) == {"left_kidney"}
    assert low(TUMOR, 0, LIVER) == {"tumor"} and low(LIVER, 0, TUMOR) == set() == low(TUMOR, 0) == low(0)


def test_corners_are_neighbors_and_an_empty_map_has_none():
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = TUMOR, LIVER
    assert [r["target"] for r in reference_facts(labels, (1, 1, 1)) if r["touches_tumor"]] == ["liver"]
    assert not any(row["touches_tumor"] for row in reference_facts(np.zeros((2, 2, 2), np.uint8), (1, 1, 1)))


def test_a_split_without_mistake_loses_nothing_and_a_wrong_voxel_its_share():
    reference = line(RIGHT, RIGHT, 0, LEFT, LEFT)
    assert split_dsc(reference, line(RIGHT, 0, 0, 0, LEFT), "right_kidney", "left_kidney") == 0
    wrong = line(RIGHT, LEFT, 0, LEFT, LEFT)
    found = split_dsc(reference, wrong, "right_kidney", "left_kidney")
    sides = [dsc(reference == i, wrong == i) for i in (RIGHT, LEFT)]  # 2/3 and 4/5
    united = dsc(reference > 0, wrong > 0)
    assert found == pytest.approx(-2 * 1 / 8) and united == 1
    assert found == pytest.approx((2 * 1 + 2 * 2) / 8 - united) and sides == pytest.approx([2 / 3, 4 / 5])


def test_a_pair_that_nobody_shows_has_no_split():
    assert split_dsc(line(LIVER), line(0), "right_kidney", "left_kidney") is None


def test_false_tumor_is_what_the_reference_does_not_have():
    assert false_tumor_ml(line(TUMOR, LIVER, 0), line(TUMOR, TUMOR, TUMOR), (10, 10, 10)) == 2.0
    assert false_tumor_ml(line(TUMOR), line(0), (10, 10, 10)) == 0.0


def test_shares_in_a_box_count_voxels_of_targets_that_are_there():
    box = (slice(0, 2), slice(None), slice(None))
    assert located_share(line(LIVER, LIVER, LIVER, TUMOR), box) == {"liver": pytest.approx(2 / 3), "tumor": 0.0}
