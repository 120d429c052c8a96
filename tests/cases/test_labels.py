"""The label scheme: 14 targets to a network's channels and back."""

import numpy as np
import pytest

from flare_core.cases.labels import ABDOMEN, FIVE_ORGANS, MERGED_PAIRS, ORGAN_NAMES, SEPARATE, TARGETS, LabelScheme


def test_targets_are_numbered_one_to_fourteen_in_flare23_order():
    assert [target.id for target in TARGETS] == list(range(1, 15))
    assert [t.tolerance_mm for t in TARGETS] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2]
    assert [t.name for t in TARGETS if t.is_tubular] == ["aorta", "inferior_vena_cava", "esophagus"]


def test_partners_point_at_each_other_and_colors_differ():
    by_name = {target.name: target for target in TARGETS}
    for target in TARGETS:
        assert target.partner is None or by_name[target.partner].partner == target.name
    assert len({target.color for target in TARGETS}) == 14


def test_merging_pairs_leaves_thirteen_channels_with_one_kidney_channel():
    merged = MERGED_PAIRS.merge(np.array([0, 2, 13, 7, 8, 14], np.uint8))
    assert MERGED_PAIRS.channels == 13
    assert merged.tolist() == [0, 2, 2, 7, 7, 12]
    assert MERGED_PAIRS.to_targets(merged).tolist() == [0, 2, 2, 7, 7, 14]


def test_separate_scheme_changes_nothing():
    ids = np.arange(15, dtype=np.uint8)
    assert SEPARATE.to_targets(SEPARATE.merge(ids)).tolist() == ids.tolist()


def test_abdomen_unites_the_organs_and_drops_the_tumor():
    assert ABDOMEN.merge(np.arange(15, dtype=np.uint8)).tolist() == [0] + [1] * 13 + [0]


def test_a_united_channel_is_annotated_only_if_both_sides_are():
    known = MERGED_PAIRS.annotated_channels(FIVE_ORGANS)
    assert [MERGED_PAIRS.channel_names[i] for i in np.flatnonzero(known)] == [
        "liver",
        "right_kidney+left_kidney",
        "spleen",
        "pancreas",
    ]
    assert not MERGED_PAIRS.annotated_channels(["right_kidney"]).any()
    assert MERGED_PAIRS.annotated_channels([*ORGAN_NAMES, "tumor"]).all()


@pytest.mark.parametrize("groups", [(("liver", "lung"),), (("liver",), ("liver",))])
def test_unknown_or_repeated_targets_are_refused(groups):
    with pytest.raises(ValueError, match="14 target names at most once"):
        LabelScheme(groups)
