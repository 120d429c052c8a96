"""One slice of a case: sides, millimeters, contours, crossing planes, kinds of error, which slice and voxel."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.evaluation import slices
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.style import new_figure


@pytest.mark.parametrize(
    ("plane", "voxel"),
    [("axial", (9, 7, 0)), ("coronal", (9, 0, 5)), ("sagittal", (0, 7, 5))],
)
def test_right_anterior_and_head_are_where_a_radiologist_expects_them(plane, voxel):
    # A voxel at the patient's right (high x), anterior (high y), superior (high z) belongs in the upper left corner.
    volume = np.zeros((10, 8, 6), np.float32)
    volume[voxel] = 1
    picture = slices.oriented(volume, plane, 0)
    assert picture[-1, 0] == 1  # rows run upward (origin lower)
    assert picture.sum() == 1


def test_slices_are_drawn_in_millimeters():
    figure = new_figure(3, 3)
    axes = figure.subplots()
    view = CaseView("", np.zeros((40, 30, 50), np.float32), (4, 4, 5))
    slices.draw_slice(axes, view, "coronal", 10, "abdomen")
    assert axes.get_xlim() == (0, 40 * 4)
    assert axes.get_ylim() == (0, 50 * 5)
    assert axes.get_aspect() == 1


def test_contours_lie_around_their_voxels():
    figure = new_figure(3, 3)
    axes = figure.subplots()
    labels = np.zeros((10, 8, 6), np.uint8)
    labels[7:9, 2:5, 3] = 1
    slices.draw_contours(axes, labels, (2.0, 3.0, 5.0), "axial", 3)
    (lines,) = axes.collections
    corners = np.concatenate([path.vertices for path in lines.get_paths()])
    # x = 7..8 of ten, seen from the other side: 2 mm to 6 mm; y = 2..4: 6 mm to 15 mm
    assert corners.min(axis=0) == pytest.approx((2, 6))
    assert corners.max(axis=0) == pytest.approx((6, 15))


def test_the_outline_of_a_body_lies_around_its_voxels():
    axes = new_figure(3, 3).subplots()
    image = np.full((10, 10, 10), -1000.0, np.float32)
    image[2:8, :, 2:8] = 40
    slices.draw_outline(axes, CaseView("", image, (4.0, 4.0, 5.0)), "coronal", 3)
    (lines,) = axes.collections
    corners = np.concatenate([path.vertices for path in lines.get_paths()])
    assert corners.min(axis=0) == pytest.approx((8, 10))
    assert corners.max(axis=0) == pytest.approx((32, 40))


def test_a_body_that_the_picture_cuts_stays_open_there():
    axes = new_figure(3, 3).subplots()
    image = np.full((10, 10, 10), -1000.0, np.float32)
    image[:, :, :4] = 40
    slices.draw_outline(axes, CaseView("", image, (4.0, 4.0, 5.0)), "coronal", 3)
    (line,) = axes.collections[0].get_paths()
    assert set(line.vertices[:, 1]) == {20} and (line.vertices[:, 0].min(), line.vertices[:, 0].max()) == (-2, 42)
    assert axes.get_xlim() == (0, 40)


def test_the_busiest_slice_shows_most_targets():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[:, :, 1] = 1
    labels[2, 2, 4], labels[3, 3, 4] = 1, 2
    assert slices.busiest_slice(labels, "axial", labels.shape) == 4
    assert slices.busiest_slice(np.zeros((6, 6, 6), np.uint8), "coronal", (6, 6, 6)) == 3
    assert slices.busiest_slice(None, "sagittal", (9, 6, 6)) == 4


def test_errors_are_told_apart():
    reference, prediction = np.zeros((4, 1, 1), np.uint8), np.zeros((4, 1, 1), np.uint8)
    reference[:3, 0, 0], prediction[1:, 0, 0] = (1, 1, 1), (1, 2, 3)
    axes = new_figure(2, 2).subplots()
    view = CaseView("", np.zeros((4, 1, 1), np.float32), (1, 1, 1), reference, prediction)
    slices.draw_errors(axes, view, "axial", 0)
    drawn = axes.images[0].get_array()[0, ::-1]
    assert drawn[1, 3] == 0  # agreement is clear
    assert len({tuple(drawn[place]) for place in (0, 2, 3)}) == 3


def test_a_voxel_is_right_missed_added_or_another_targets():
    reference = np.array([0, 3, 3, 0, 3], np.uint8)
    prediction = np.array([0, 3, 0, 3, 5], np.uint8)
    assert slices.error_kinds(reference, prediction).tolist() == [0, 0, 1, 2, 3]


def test_the_middle_voxel_belongs_to_its_target_even_if_the_middle_does_not():
    labels = np.zeros((9, 9, 3), np.uint8)
    labels[2:7, 2:7, 1] = 4
    assert slices.middle_voxel(labels, 4) == (4, 4, 1)
    labels[3:7, 3:7, 1] = 0  # an L, whose middle lies in its bend
    x, y, z = slices.middle_voxel(labels, 4)
    assert labels[x, y, z] == 4 and {x, y} <= {2, 3, 4}
    assert slices.middle_voxel(labels, 5) is None


@pytest.mark.parametrize(
    ("plane", "crossing"), [("axial", (7, 10.5)), ("coronal", (7, 17.5)), ("sagittal", (13.5, 17.5))]
)
def test_the_cross_points_at_its_voxel(plane, crossing):
    # The middle of voxel (6, 3, 3) of (10, 8, 6) is 3.5 voxels from the high end of x and 4.5 from that of y, which are
    # at the left of pictures, and 3.5 from the low ends of y and z.
    axes = new_figure(3, 3).subplots()
    view = CaseView("", np.zeros((10, 8, 6), np.float32), (2, 3, 5))
    slices.draw_cross(axes, view, plane, (6, 3, 3))
    level, upright = axes.lines
    assert (set(upright.get_xdata()), set(level.get_ydata())) == ({crossing[0]}, {crossing[1]})
