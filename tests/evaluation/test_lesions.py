"""Lesions on arrays drawn by hand, and on real tumors whose prediction is derived from them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flare_core.cases.boxes import bounding_box
from flare_core.cases.nifti import read_labels
from flare_core.evaluation.lesions import LesionCounts, LesionMatching, count_lesions, lesion_summary

KITS = sorted((Path(__file__).resolve().parents[3] / "shared" / "data" / "kits19_labels").glob("*.nii.gz"))
RAW_TUMOR = {0: 0, 1: 2, 2: 14}  # kits19: kidney (either side), tumor


def drawn(*rows: str) -> np.ndarray:
    """A volume of one slice; anything but a dot is marked."""
    return np.array([[[letter != "."] for letter in row] for row in rows])


REFERENCE = drawn(
    "aa....bb",
    "aa....bb",
    "........",
    "c..d....",
)
"""Four lesions: two of four voxels, two of one."""


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (REFERENCE, LesionCounts(4, 4, 4, 0)),
        (drawn("........", "........", "........", "........"), LesionCounts(4, 0, 0, 0)),
        # a voxel of `a`; one between that touches nobody; two voxels, apart, within `b`; `c` and `d` missed
        (drawn(".a..x.b.", ".......b", "........", "........"), LesionCounts(4, 2, 3, 1)),
        # one prediction from `c` to `d` finds both; it is not counted twice
        (drawn("........", "........", "........", "xxxx...."), LesionCounts(4, 2, 1, 0)),
        # next to `a` and `b`, sharing no voxel with them: two false positives
        (drawn("..x..x..", "........", "........", "........"), LesionCounts(4, 0, 2, 2)),
    ],
)
def test_any_shared_voxel_is_a_hit(prediction, expected):
    assert count_lesions(REFERENCE, prediction) == expected


def test_diagonal_neighbors_are_one_lesion_and_two_parts_of_one_are_both_right():
    assert count_lesions(drawn("a..", ".a.", "..a"), drawn("a..", "...", "..a")) == LesionCounts(1, 1, 2, 0)


def test_a_threshold_asks_for_overlap():
    """Two of four voxels: an IoU of 2/4; three of four with one beside: 3/5."""
    half, more = drawn("aa....bb", "......bx"), drawn("........", "........")
    reference = drawn("aa....bb", "aa....bb")
    more[0, :2] = more[1, 0] = more[0, 2] = True
    assert count_lesions(reference, half, LesionMatching(0.5)) == LesionCounts(2, 2, 2, 0)
    assert count_lesions(reference, half, LesionMatching(0.51)) == LesionCounts(2, 1, 2, 1)
    assert count_lesions(reference, more, LesionMatching(0.6)) == LesionCounts(2, 1, 1, 0)
    assert count_lesions(reference, more, LesionMatching(0.61)) == LesionCounts(2, 0, 1, 1)


def test_small_components_are_overlooked_on_both_sides():
    prediction = drawn("aa......", "........", "........", "...d...x")
    assert count_lesions(REFERENCE, prediction) == LesionCounts(4, 2, 3, 1)
    assert count_lesions(REFERENCE, prediction, LesionMatching(minimum_voxels=2)) == LesionCounts(2, 1, 1, 0)


def test_nothing_at_all_gives_zeros():
    assert count_lesions(np.zeros((0, 0, 0), bool), np.zeros((0, 0, 0), bool)) == LesionCounts(0, 0, 0, 0)
    assert count_lesions(np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)) == LesionCounts(0, 0, 1, 1)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="one grid"):
        count_lesions(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))
    for wrong in ({"minimum_iou": 1.5}, {"minimum_voxels": 0}):
        with pytest.raises(ValueError, match="IoU from 0 to 1"):
            LesionMatching(**wrong)


def test_a_summary_pools_lesions_and_averages_false_positives_over_cases():
    columns = ["case", "lesions", "found", "predicted", "false_positives"]
    table = pd.DataFrame([("a", 4, 1, 3, 2), ("b", 0, 0, 1, 1), ("c", 1, 1, 1, 0)], columns=columns)
    assert lesion_summary(table).to_list() == [3, 5, 2, 0.4, 1.0]
    empty = lesion_summary(table[1:2])
    assert math.isnan(empty["sensitivity"]) and empty["false_positives_a_case"] == 1
    assert math.isnan(lesion_summary(table[:0])["false_positives_a_case"])


@pytest.mark.skipif(not KITS, reason="no kits19_labels beside the project")
@pytest.mark.parametrize("path", KITS, ids=lambda path: path.name[:10])
def test_real_tumors_are_found_where_the_prediction_keeps_them_and_missed_where_it_moves_away(path):
    stored = read_labels(path, label_map=RAW_TUMOR).stored() == 14
    box = bounding_box(stored)
    tumor = np.pad(stored[box], 3)
    itself = count_lesions(tumor, tumor)
    assert itself.lesions == itself.found == itself.predicted >= 1 and itself.false_positives == 0
    shifted = count_lesions(tumor, np.roll(tumor, 1, axis=2))
    assert 1 <= shifted.found <= itself.lesions
    far = np.concatenate([np.zeros_like(tumor), tumor]), np.concatenate([tumor, np.zeros_like(tumor)])
    assert count_lesions(*far) == LesionCounts(itself.lesions, 0, itself.predicted, itself.predicted)
