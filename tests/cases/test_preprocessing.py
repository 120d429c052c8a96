"""Onto the network's grid and back."""

import numpy as np
import pytest

from flare_core.cases.preprocessing import ClipAndStandardize, FixedGrid, IntensityWindow, Preprocessing, SigmoidWindow

PLAIN = Preprocessing((4, 4, 4), IntensityWindow(-250, 250))


def test_window_maps_its_bounds_to_zero_and_one_and_clips():
    values = IntensityWindow(-250, 250)(np.float32([-1000, -250, 0, 250, 3000]))
    assert values.tolist() == [0, 0, 0.5, 1, 1]


def test_sigmoid_window_maps_its_bounds_to_the_sigmoid_of_one_without_clipping():
    values = SigmoidWindow(-250, 250)(np.float32([-250, 0, 250, 500]))
    expected = [1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1 / (1 + np.exp(-2))]
    assert values.tolist() == pytest.approx(expected, rel=1e-6)


def test_standardizing_clips_then_subtracts_and_divides():
    image = np.float32([-1000, -900, -50, 50, 619, 3000])
    values = ClipAndStandardize(-900, 619, mean_hu=-50, deviation_hu=100)(image)
    assert values.tolist() == pytest.approx([-8.5, -8.5, 0, 1, 6.69, 6.69])
    assert image[0] == -1000  # the input is left as it is


def test_standardizing_by_no_deviation_stays_finite():
    assert ClipAndStandardize(0, 0, mean_hu=0, deviation_hu=0)(np.float32([5])).tolist() == [0]


def test_a_fixed_grid_has_the_same_voxels_for_every_volume():
    fixed = FixedGrid((4, 5, 6), IntensityWindow(0, 10))
    for shape, spacing in (((8, 7, 3), (1, 1, 5)), ((1, 1, 1), (0.5, 0.5, 0.5)), ((4, 5, 6), (2, 2, 2))):
        labels = np.full(shape, 3, np.uint8)
        assert fixed.grid_shape(shape, spacing) == (4, 5, 6)
        grid = fixed.image_to_grid(np.full(shape, 5, np.float32), spacing)
        assert grid.shape == (4, 5, 6) and np.allclose(grid, 0.5)
        assert fixed.labels_to_grid(labels, spacing).tolist() == np.full((4, 5, 6), 3).tolist()


def test_a_fixed_grid_resizes_images_linearly_and_labels_by_nearest_neighbor():
    fixed = FixedGrid((2, 1, 1), IntensityWindow(0, 10))
    image = np.array([0, 2, 4, 6], np.float32)[:, None, None]
    assert fixed.image_to_grid(image, (1, 1, 1)).ravel().tolist() == pytest.approx([0.1, 0.5])
    assert fixed.labels_to_grid(np.array([1, 2, 3, 4], np.uint8)[:, None, None], (1, 1, 1)).ravel().tolist() == [2, 4]


def test_grid_shape_is_the_extent_divided_by_the_spacing_and_never_zero():
    assert PLAIN.grid_shape((100, 50, 1), (0.8, 8, 1)) == (20, 100, 1)


def test_an_axis_within_the_kept_ratio_is_not_resampled():
    kept = Preprocessing((1, 1, 1), IntensityWindow(-250, 250), kept_ratio=(0.75, 1.25))
    assert kept.grid_shape((100, 100, 100), (0.8, 0.7, 1.3)) == (100, 70, 130)


def test_image_and_labels_land_on_the_same_grid():
    image = np.zeros((10, 7, 3), np.float32)
    labels = np.zeros(image.shape, np.uint8)
    spacing = (3.0, 2.0, 5.0)
    assert PLAIN.image_to_grid(image, spacing).shape == PLAIN.labels_to_grid(labels, spacing).shape == (8, 4, 4)


def test_cubic_splines_follow_a_curve_that_lines_cut_off():
    place = np.linspace(-1, 1, 24, dtype=np.float32)
    image = np.broadcast_to(100 * place[:, None, None] ** 2, (24, 4, 4))
    fine = [Preprocessing((1, 1, 1), IntensityWindow(0, 100), order=order) for order in (1, 3)]
    centers = (np.arange(48) + 0.5) / 23 - 24 / 23  # 48 voxels over the extent of 24
    expected = centers**2
    errors = [np.abs(p.image_to_grid(image, (2, 1, 1))[8:20, 0, 0] - expected[8:20]).max() for p in fine]
    assert fine[1].image_to_grid(image, (2, 1, 1)).shape == (48, 4, 4)
    assert errors[1] < errors[0] / 3


def test_planes_of_the_grid_are_those_of_the_whole():
    image = np.random.default_rng(0).normal(0, 200, (7, 6, 9)).astype(np.float32)
    grid = PLAIN.on_grid(image, (3.0, 5.0, 6.0))
    assert np.array_equal(grid.planes(2, 5), PLAIN.image_to_grid(image, (3.0, 5.0, 6.0))[..., 2:5])
