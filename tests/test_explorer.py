"""The widgets of notebook 11 do what they say, with no browser: what is chosen reaches the viewer and the table."""

import gzip

import nibabel
import numpy as np
import pytest

from flare_core import viewer
from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import Geometry, Volume
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.evaluation.slices import WINDOWS_HU
from flare_core.explorer import Explorer
from flare_core.scoreboard import PredictedCase

SHAPE = (20, 16, 12)


def volume(data):
    return Volume(data, Geometry.from_spacing(SHAPE, (2, 2, 4)))


def case_with(name, target, place):
    """A case whose reference and prediction show one target of 4 x 4 x 4 voxels from `place` on."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[tuple(slice(start, start + 4) for start in place)] = BY_NAME[target].id
    return PredictedCase(name, volume(np.zeros(SHAPE, np.int16)), volume(labels), volume(labels))


def opened(*choice):
    """An explorer of two cases, which are the same for both systems."""
    cases = {"a": case_with("a", "liver", (2, 2, 2)), "b": case_with("b", "spleen", (10, 8, 4))}
    made = Explorer(lambda system, name: cases[name], ["nvauto", "stmt"], list(cases), FLARE23)
    made.open(*choice)
    return made


@pytest.fixture
def explorer():
    return opened("nvauto", "a", "liver", "abdomen")


def volumes(explorer):
    return {v.name.partition(".")[0]: v for v in explorer.view.volumes}


def middle(*voxel):
    return [pytest.approx((index + 0.5) / size) for index, size in zip(voxel, SHAPE, strict=True)]


def test_a_case_opens_in_the_middle_of_its_target(explorer):
    assert explorer.target.options == (("Liver", "liver"),)
    assert explorer.view.scene.crosshair_pos == middle(3, 3, 3)
    assert "Liver" in explorer.table.value and "1.000" in explorer.table.value and "1.0</td>" in explorer.table.value


@pytest.mark.parametrize("most_voxels", [12 * 10 * 8, 100], ids=["without_air", "coarser"])
def test_the_planes_meet_in_the_target_of_a_body_off_center_in_a_large_image(monkeypatch, most_voxels):
    monkeypatch.setattr(viewer, "MOST_VOXELS", most_voxels)
    case = case_with("a", "liver", (11, 2, 6))
    case.image.data[:8], case.image.data[:, 10:], case.image.data[..., :4] = -1000, -1000, -1000
    explorer = Explorer(lambda system, name: case, ["nvauto"], ["a"], FLARE23)
    explorer.open("nvauto", "a", "liver", "abdomen")
    shown = nibabel.Nifti1Image.from_bytes(gzip.decompress(explorer.view.volumes[0].data))
    assert np.prod(shown.shape) <= most_voxels
    voxel = np.multiply(explorer.view.scene.crosshair_pos, shown.shape) - 0.5
    np.testing.assert_allclose((shown.affine @ [*voxel, 1])[:3], [24, 6, 28])  # voxel (12, 3, 7) of 2 x 2 x 4 mm


def test_another_case_takes_its_place_with_its_own_targets_and_scores(explorer):
    before = explorer.view
    explorer.case.value = "b"
    assert explorer.view is before
    assert explorer.target.value == "spleen"
    assert explorer.view.scene.crosshair_pos == middle(11, 9, 5)
    assert "Liver" not in explorer.table.value and "Spleen" in explorer.table.value


def test_window_and_opacities_follow_their_widgets_and_stay_for_the_next_case(explorer):
    explorer.preset.value = "lung"
    explorer.opacities["error"].value = 0.4
    explorer.opacities["prediction"].value = 0
    for case in ("a", "b"):
        explorer.case.value = case
        shown = volumes(explorer)
        assert (shown["image"].cal_min, shown["image"].cal_max) == WINDOWS_HU["lung"]
        assert [shown[name].opacity for name in ("reference", "prediction", "error")] == [0, 0, 0.4]


def test_a_target_that_is_not_there_leaves_the_first_one():
    explorer = opened("stmt", "b", "aorta", "bone")
    assert (explorer.system.value, explorer.target.value, explorer.preset.value) == ("stmt", "spleen", "bone")


def test_a_case_without_labels_opens_in_its_middle():
    empty = PredictedCase("c", volume(np.zeros(SHAPE, np.int16)), *[volume(np.zeros(SHAPE, np.uint8))] * 2)
    explorer = Explorer(lambda system, name: empty, ["nvauto"], ["c"], FLARE23)
    explorer.open("nvauto", "c", "liver", "abdomen")
    assert explorer.target.value is None and explorer.view.scene.crosshair_pos == middle(10, 8, 6)
