"""The notebooks' pictures put the patient's right on the left, keep physical sizes and refuse nothing to show."""

import numpy as np
import pytest

from flare_core.cases.labels import MERGED_PAIRS
from flare_core.pictures import regions_on_body, training_patches, volumes_side_by_side


def image_of(axes):
    return axes.images[0].get_array()


def test_right_is_left_and_head_is_up():
    volume = np.zeros((5, 4, 3), np.float32)
    volume[4, 2, 2] = 1  # right and head, on the middle coronal slice
    figure = volumes_side_by_side({"a": (volume, (1, 1, 1))}, plane="coronal")
    assert np.argwhere(image_of(figure.axes[0]) == 1).tolist() == [[0, 0]]


def test_front_is_up_in_axial_and_left_in_sagittal_slices():
    volume = np.zeros((3, 5, 3), np.float32)
    volume[1, 4, 1] = 1  # front, in the middle of right-left and head-foot
    axial = volumes_side_by_side({"a": (volume, (1, 1, 1))}, plane="axial")
    assert np.argwhere(image_of(axial.axes[0]) == 1).tolist() == [[0, 1]]
    sagittal = volumes_side_by_side({"a": (volume, (1, 1, 1))}, plane="sagittal")
    assert np.argwhere(image_of(sagittal.axes[0]) == 1).tolist() == [[1, 0]]


def test_panels_share_one_scale_in_mm():
    panels = {"fine": (np.zeros((8, 8, 8)), (1, 1, 1)), "coarse": (np.zeros((4, 4, 4)), (2, 2, 2))}
    extents = [axes.images[0].get_extent() for axes in volumes_side_by_side(panels).axes]
    assert extents[0] == extents[1] == [0, 8, 8, 0]


def test_a_region_lies_over_what_it_cuts_out():
    image = np.full((10, 8, 6), -250.0)
    box = (slice(7, 9), slice(1, 3), slice(4, 6))
    image[box] = 400
    figure = regions_on_body(image, (2, 3, 4), {"region": box})
    for axes in figure.axes:
        (drawn,) = axes.patches
        picture = image_of(axes)
        left, right, bottom, top = axes.images[0].get_extent()
        rows, columns = np.nonzero(picture > picture.min())
        step_x, step_y = (right - left) / picture.shape[1], (bottom - top) / picture.shape[0]
        assert drawn.get_xy() == (columns.min() * step_x, rows.min() * step_y)
        assert drawn.get_width() == (np.ptp(columns) + 1) * step_x
        assert drawn.get_height() == (np.ptp(rows) + 1) * step_y


def test_patches_fill_rows_and_leave_the_rest_empty():
    patch = np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8)
    figure = training_patches([patch] * 7, MERGED_PAIRS, columns=6)
    assert [len(axes.images) for axes in figure.axes] == [2] * 7 + [0] * 5


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="at least one volume"):
        volumes_side_by_side({})
    with pytest.raises(ValueError, match="at least one patch"):
        training_patches([], MERGED_PAIRS)
