"""The papers' cleaning rules on maps one can draw."""

import numpy as np
import pytest

from flare_core.cases.labels import BY_NAME
from flare_core.inference.postprocessing import KeepComponents, KeepLargest, LongestRun, RemoveSmall, SplitPairs
from flare_core.inference.submission import PARTS
from flare_core.recipe import decode, encode

SPACING = (1.0, 1.0, 1.0)
RIGHT_KIDNEY, LEFT_KIDNEY = BY_NAME["right_kidney"].id, BY_NAME["left_kidney"].id
RIGHT_ADRENAL, LEFT_ADRENAL = BY_NAME["right_adrenal_gland"].id, BY_NAME["left_adrenal_gland"].id
AORTA, LIVER, TUMOR = BY_NAME["aorta"].id, BY_NAME["liver"].id, BY_NAME["tumor"].id


def _body():
    """The aorta stands at x = 9 below z = 5 and at x = 11 above; RAS+: larger x is further right."""
    labels = np.zeros((20, 4, 10), np.uint8)
    labels[9, 2, :5] = labels[11, 2, 5:] = AORTA
    return labels


def test_kidneys_and_adrenals_are_split_at_the_aorta():
    labels = _body()
    labels[14:18, 1, 2:6] = labels[2:5, 1, 2:6] = RIGHT_KIDNEY
    labels[13, 1, 8] = labels[7, 1, 8] = RIGHT_ADRENAL
    split = SplitPairs()(labels, SPACING)
    assert (split[14:18, 1, 2:6] == RIGHT_KIDNEY).all() and (split[2:5, 1, 2:6] == LEFT_KIDNEY).all()
    assert split[13, 1, 8] == RIGHT_ADRENAL and split[7, 1, 8] == LEFT_ADRENAL


def test_a_large_component_that_crosses_the_line_stays_whole_and_a_crumb_goes_by_its_place():
    labels = _body()
    labels[8:18, 0, 2:4] = RIGHT_KIDNEY  # centroid x = 12.5, right of the aorta at 9
    labels[1:4, 0, 2:4] = RIGHT_KIDNEY
    labels[6, 3, 9] = RIGHT_KIDNEY
    split = SplitPairs()(labels, SPACING)
    assert (split[8:18, 0, 2:4] == RIGHT_KIDNEY).all()
    assert (split[1:4, 0, 2:4] == LEFT_KIDNEY).all() and split[6, 3, 9] == LEFT_KIDNEY


def test_the_line_follows_the_aorta_from_slice_to_slice():
    labels = _body()
    labels[10, 0, 0] = labels[10, 0, 9] = RIGHT_ADRENAL  # right of x = 9 below, left of x = 11 above
    split = SplitPairs()(labels, SPACING)
    assert split[10, 0, 0] == RIGHT_ADRENAL and split[10, 0, 9] == LEFT_ADRENAL


def test_without_an_aorta_the_middle_between_the_kidneys_divides():
    labels = np.zeros((20, 4, 4), np.uint8)
    labels[2:5, 1] = labels[11:14, 1] = RIGHT_KIDNEY
    split = SplitPairs()(labels, SPACING)
    assert (split[2:5, 1] == LEFT_KIDNEY).all() and (split[11:14, 1] == RIGHT_KIDNEY).all()


def test_two_parts_of_one_kidney_stay_on_their_side():
    labels = np.zeros((21, 4, 4), np.uint8)
    labels[14:16, 1] = labels[17:20, 1] = RIGHT_KIDNEY
    labels[10, 3, 3] = RIGHT_ADRENAL  # exactly in the middle: not left
    split = SplitPairs()(labels, SPACING)
    assert not (split == LEFT_KIDNEY).any() and split[10, 3, 3] == RIGHT_ADRENAL


def test_splitting_an_empty_map_or_one_kidney_does_not_crash():
    empty = np.zeros((6, 6, 6), np.uint8)
    assert not SplitPairs()(empty, SPACING).any()
    empty[4, 4, 4] = RIGHT_KIDNEY
    assert SplitPairs()(empty, SPACING)[4, 4, 4] == RIGHT_KIDNEY


def test_only_the_longest_run_of_slices_stays_also_where_a_stray_is_larger_in_plane():
    labels = np.zeros((6, 6, 10), np.uint8)
    labels[2, 2, 1:5] = LIVER
    labels[:, :, 7:9] = LIVER
    labels[0, 0, 9] = AORTA
    kept = LongestRun(("liver",))(labels, SPACING)
    assert (kept[2, 2, 1:5] == LIVER).all() and not (kept[:, :, 7:9] == LIVER).any()
    assert kept[0, 0, 9] == AORTA


def test_a_run_that_touches_both_borders_is_found_and_an_absent_organ_is_no_problem():
    labels = np.zeros((2, 2, 5), np.uint8)
    labels[0, 0, [0, 3, 4]] = LIVER
    assert LongestRun(("liver", "spleen"))(labels, SPACING)[0, 0].tolist() == [0, 0, 0, LIVER, LIVER]


def test_a_tumor_below_the_limit_is_erased_whole_and_one_at_the_limit_stays():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[0, 0, :3] = TUMOR
    assert not RemoveSmall("tumor", 4)(labels, SPACING).any()
    assert (RemoveSmall("tumor", 3)(labels, SPACING) == labels).all()


def _pieces():
    """Along x: a liver of 3 voxels, one of 2, an aorta of 2, a tumor of 1, each apart."""
    labels = np.zeros((12, 2, 2), np.uint8)
    labels[0:3, 0, 0] = labels[4:6, 0, 0] = LIVER
    labels[7:9, 0, 0] = AORTA
    labels[10, 0, 0] = TUMOR
    return labels


def test_only_the_largest_component_of_each_named_target_stays():
    labels = _pieces()
    kept = KeepLargest(("liver", "aorta", "spleen"))(labels, SPACING)
    assert kept[:, 0, 0].tolist() == [LIVER] * 3 + [0] * 4 + [AORTA] * 2 + [0, TUMOR, 0]
    assert (KeepLargest(("aorta",))(labels, SPACING) == labels).all()


def test_voxels_that_touch_at_a_corner_are_one_component():
    labels = np.zeros((5, 2, 2), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 0, 0] = LIVER
    kept = KeepLargest(("liver",))(labels, SPACING)
    assert kept[0, 0, 0] == kept[1, 1, 1] == LIVER and kept[3, 0, 0] == 0


def test_components_stay_if_their_volume_is_above_the_limit_in_mm3():
    rule = KeepComponents(("liver", "aorta"), minimum_mm3=16, most=30)
    kept = rule(_pieces(), (2.0, 2.0, 2.0))  # 8 mm^3 a voxel: 3 voxels are 24, 2 are exactly 16
    assert kept[:, 0, 0].tolist() == [LIVER] * 3 + [0] * 7 + [TUMOR, 0]
    assert (rule(_pieces(), (2.0, 2.0, 2.1)) == _pieces()).all()


def test_all_targets_compete_for_the_components_that_stay():
    labels = _pieces()
    labels[7:9, 0, 1] = AORTA  # 4 voxels now
    targets = ("liver", "aorta")
    assert np.unique(KeepComponents(targets, 0, most=1)(labels, SPACING)).tolist() == [0, AORTA, TUMOR]
    two = KeepComponents(targets, 0, most=2)(labels, SPACING)
    assert (two[0:3, 0, 0] == LIVER).all() and not two[4:6].any() and (two[7:9, 0] == AORTA).all()
    assert np.unique(KeepComponents(targets, 0, most=0)(labels, SPACING)).tolist() == [0, TUMOR]


def test_targets_that_touch_are_components_of_their_own():
    labels = np.zeros((5, 1, 1), np.uint8)
    labels[0:3, 0, 0], labels[3, 0, 0] = LIVER, AORTA
    kept = KeepComponents(("liver", "aorta"), minimum_mm3=1, most=30)(labels, SPACING)
    assert kept[:, 0, 0].tolist() == [LIVER] * 3 + [0, 0]


RULES = [
    SplitPairs(),
    LongestRun(("liver",)),
    RemoveSmall("tumor", 5),
    KeepLargest(("liver", "spleen")),
    KeepComponents(("liver",), 1000, 30),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_leaves_an_empty_map_empty_and_its_input_as_it_was(rule):
    empty = np.zeros((4, 4, 4), np.uint8)
    assert not rule(empty, SPACING).any()
    labels = _pieces()
    result = rule(labels, SPACING)
    assert (labels == _pieces()).all() and result.dtype == np.uint8


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_is_stored_and_rebuilt(rule):
    assert decode(encode(rule), PARTS) == rule
