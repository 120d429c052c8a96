"""stmt's inference with networks that one can follow by hand."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from fake_networks import GRID, SPACING, Sees, fake_network

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES, LabelScheme
from flare_core.cases.preprocessing import FixedGrid, IntensityWindow
from flare_core.cases.regions import BodyBox
from flare_core.inference.postprocessing import KeepComponents, KeepLargest
from flare_core.inference.submission import PARTS
from flare_core.inference.two_stage import TwoStage
from flare_core.recipe import decode, encode

ABDOMEN = LabelScheme((TARGET_NAMES,))
ORGANS = LabelScheme(tuple((name,) for name in ORGAN_NAMES))
TUMOR_ONLY = LabelScheme((("tumor",),))
COARSE = replace(GRID, spacing_mm=(8.0, 8.0, 8.0))
STMT = TwoStage(
    locator="locator",
    organs="organs",
    tumor="tumor",
    margin_mm=(8, 4, 12),
    body=BodyBox(threshold_hu=-500, margin_mm=0),
)
LIVER, SPLEEN, TUMOR = (BY_NAME[name].id for name in ("liver", "spleen", "tumor"))


def _image():
    """A liver of 4 x 4 x 4 voxels in air; what the locator sees is the liver alone."""
    image = np.full((24, 24, 24), -1000, np.float32)
    image[8:12, 8:12, 8:12] = LIVER
    return image


def _networks(organ_grid=GRID, tumor_grid=GRID):
    return {
        "locator": [fake_network(ABDOMEN, Sees(LIVER), COARSE)],
        "organs": [fake_network(ORGANS, preprocessing=organ_grid)],
        "tumor": [fake_network(TUMOR_ONLY, Sees(TUMOR), tumor_grid)],
    }


def test_the_located_box_is_widened_by_its_own_margin_on_each_axis():
    # 8, 4 and 12 mm are 2, 1 and 3 voxels
    assert STMT.region(_image(), SPACING, _networks()) == (slice(6, 14), slice(7, 13), slice(5, 15))


def test_the_box_ends_at_the_volumes_border():
    assert STMT.region(_image()[8:], SPACING, _networks())[0] == slice(0, 6)


def test_organs_and_tumors_are_found_inside_the_box_and_nothing_outside():
    image = _image()
    image[9, 9, 9] = image[13, 12, 14] = image[14, 12, 14] = TUMOR  # in the liver, in the box's corner, outside
    image[6:14, 7, 5] = image[6:14, 7, 4] = SPLEEN  # in the box's corner, outside
    labels = STMT(image, SPACING, _networks())
    expected = np.zeros(image.shape, np.uint8)
    box = STMT.region(image, SPACING, _networks())
    expected[box] = np.maximum(image[box], 0)
    assert np.array_equal(labels, expected) and labels[13, 12, 14] == TUMOR and labels[14, 12, 14] == 0


def test_the_tumor_lies_over_the_organs():
    also_liver = _networks() | {"tumor": [fake_network(TUMOR_ONLY, Sees(LIVER))]}
    assert (STMT(_image(), SPACING, also_liver)[8:12, 8:12, 8:12] == TUMOR).all()


def test_without_a_tumor_stage_the_organs_are_segmented_alone():
    image = _image()
    image[9, 9, 9] = TUMOR  # the organs' network sees it, too
    organs_only, networks = replace(STMT, tumor=None), _networks()
    del networks["tumor"]
    assert organs_only.stages == ("locator", "organs") and len(organs_only.looks()) == 2
    labels = organs_only(image, SPACING, networks)
    expected = STMT(image, SPACING, _networks() | {"tumor": [fake_network(TUMOR_ONLY, Sees(100))]})
    assert np.array_equal(labels, expected) and (labels == LIVER).sum() == 63
    assert [w.stages for w in organs_only.windows(image, SPACING, networks)] == [("locator",), ("organs",)]


@dataclass
class Recorder:
    """A rule that erases everything and remembers what it was given."""

    seen: list = field(default_factory=list)

    def __call__(self, labels, spacing_mm):
        self.seen.append((set(np.unique(labels).tolist()), labels.shape, spacing_mm))
        return np.zeros_like(labels)


def test_organ_rules_see_the_organs_on_the_networks_grid_and_leave_the_tumor():
    image = _image()
    image[10:12, 10:12, 10:12] = TUMOR
    rule, grid = Recorder(), FixedGrid((4, 4, 4), IntensityWindow(0, 20))
    labels = replace(STMT, margin_mm=(8, 8, 8), organ_rules=(rule,))(image, SPACING, _networks(grid, grid))
    # the box is 8 voxels of 4 mm wide, its grid 4 voxels of 8 mm
    assert rule.seen == [({0, LIVER}, (4, 4, 4), (8.0, 8.0, 8.0))]
    assert (labels[10:12, 10:12, 10:12] == TUMOR).all() and (labels > 0).sum() == 8


def test_the_organs_components_are_filtered():
    image = _image()
    image[13, 8, 8] = LIVER  # apart from the liver, inside the box
    assert STMT(image, SPACING, _networks())[13, 8, 8] == LIVER
    for rule in (KeepLargest(("liver",)), KeepComponents(("liver",), minimum_mm3=64, most=30)):
        labels = replace(STMT, organ_rules=(rule,))(image, SPACING, _networks())
        assert labels[13, 8, 8] == 0 and (labels[8:12, 8:12, 8:12] == LIVER).all()


def test_labels_of_the_fixed_grid_are_enlarged_by_nearest_neighbor():
    grid = FixedGrid((3, 3, 3), IntensityWindow(0, 20))
    image = _image()
    labels = replace(STMT, margin_mm=(16, 16, 16))(image, SPACING, _networks(grid, grid))
    # the box is 12 voxels wide: every voxel of the grid stands for 4, the middle one for the liver
    assert np.array_equal(labels, (image > 0).astype(np.uint8))


def test_where_nothing_is_located_the_body_is_searched(caplog):
    image = _image()
    image[8:12, 8:12, 8:12] = SPLEEN
    assert STMT.region(image, SPACING, _networks()) == (slice(8, 12),) * 3
    assert "found no abdomen" in caplog.text
    labels = STMT(image, SPACING, _networks())
    assert (labels[8:12, 8:12, 8:12] == SPLEEN).all() and (labels > 0).sum() == 64


def test_without_a_body_the_whole_volume_is_searched():
    image = np.full((6, 6, 6), -1000, np.float32)
    image[0, 0, 0] = -900  # not constant
    assert STMT.region(image, SPACING, _networks()) == (slice(0, 6),) * 3
    assert not STMT(image, SPACING, _networks()).any()


def test_a_constant_image_gives_an_empty_map_and_a_warning(caplog):
    assert not STMT(np.full((8, 8, 8), -1000, np.float32), SPACING, _networks()).any()
    assert "constant" in caplog.text


@pytest.mark.parametrize("shape", [(1, 1, 1), (30, 3, 1), (2, 2, 40)])
def test_small_and_thin_volumes_are_predicted(shape):
    image = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    image.flat[0] += 16
    assert STMT(image, SPACING, _networks()).shape == shape


def test_organ_and_tumor_networks_must_share_their_grid():
    with pytest.raises(ValueError, match="same preprocessing"):
        STMT(_image(), SPACING, _networks(GRID, COARSE))


def test_the_value_is_stored_and_rebuilt():
    full = replace(STMT, organ_rules=(KeepLargest(ORGAN_NAMES), KeepComponents(ORGAN_NAMES, 1000, 30)))
    assert decode(encode(full), PARTS) == full
