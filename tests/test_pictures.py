"""The notebooks' pictures put the patient's right on the left, keep physical sizes and refuse nothing to show."""

import numpy as np
import pandas as pd
import pytest

from flare_core.inference.sliding_window import Visits
from flare_core.inference.trace import WindowRecord
from flare_core.pictures import (
    origin_chart,
    regions_on_body,
    training_patches,
    volumes_side_by_side,
    windows_on_body,
)


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


def test_every_row_has_its_patches_its_title_and_its_gray_scale():
    small, large = np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.full((6, 5, 4), 900, np.float32)
    rows = {"as cut": [(small, np.zeros((4, 4, 4), np.uint8))] * 3, "bent": [(large, np.ones((6, 5, 4), np.uint8))]}
    figure = training_patches(rows)
    assert [len(axes.images) for axes in figure.axes] == [2] * 3 + [2, 0, 0]
    assert [axes.get_title("left") for axes in figure.axes] == ["as cut", "", "", "bent", "", ""]
    assert figure.axes[0].images[0].get_clim()[1] < 64 < figure.axes[3].images[0].get_clim()[0] + 1


def test_where_labels_come_from_is_a_field_a_target_and_kind():
    table = pd.DataFrame({"13 organs": ["drawn", "absent"], "nothing": ["filled", "filled"]}, index=["liver", "tumor"])
    figure = origin_chart(table, ("drawn", "filled", "absent"), "Labels")
    (fields,) = figure.axes[0].collections
    assert fields.get_array().reshape(2, 2).tolist() == [[0, 1], [2, 1]]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["Liver", "Tumor"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["drawn", "filled", "absent"]


def test_windows_lie_on_the_grid_of_their_network():
    image = np.full((12, 8, 8), 40.0, np.float32)
    box = (slice(4, 12), slice(0, 8), slice(0, 8))  # a grid of 4 x 4 x 4 voxels of 6 x 4 x 4 mm lies over it
    visits = Visits((2, 4, 4), ((0, 0, 0), (2, 0, 0)), 2, 2)
    figure = windows_on_body(image, [WindowRecord(("a", "b"), box, (6.0, 4.0, 4.0), (4, 4, 4), visits)])
    first, second = figure.axes[0].patches
    assert (first.get_x(), first.get_width(), first.get_height()) == (12, 12, 16)  # low x is on the right
    assert second.get_x() == 0
    assert figure.axes[0].get_title("left") == "a and b: 2 windows, 2 through this slice"


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="at least one volume"):
        volumes_side_by_side({})
    for nothing in ({}, {"as cut": []}):
        with pytest.raises(ValueError, match="at least one"):
            training_patches(nothing)
    with pytest.raises(ValueError, match="at least one target"):
        origin_chart(pd.DataFrame(), ("drawn",))
