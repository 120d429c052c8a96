"""Splines plane by plane against SciPy's of the whole volume."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from flare_core.cases.splines import SplineImage, spline_bytes


def as_it_is(image_hu):
    return image_hu


def noise(*shape):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def by_scipy(image, shape):
    factors = np.divide(shape, image.shape)
    zoomed = ndimage.zoom(image.astype(np.float64), factors, order=3, mode="nearest", grid_mode=True)
    return np.clip(zoomed, image.min(), image.max())


@pytest.mark.parametrize("shape", [(31, 9, 17), (12, 40, 90), (24, 20, 1), (24, 20, 60), (1, 1, 200)])
def test_the_whole_is_what_scipy_makes_of_it(shape):
    image = noise(24, 20, 60)
    ours = SplineImage(image, shape, as_it_is).planes(0, shape[2])
    assert ours.shape == shape and ours.dtype == np.float32
    assert np.abs(ours - by_scipy(image, shape)).max() < 0.01, "HU"


def test_an_image_of_one_voxel_is_that_voxel_everywhere():
    assert (SplineImage(np.full((1, 1, 1), 7, np.int16), (3, 4, 5), as_it_is).planes(0, 5) == 7).all()


@pytest.mark.parametrize("slices", [50, 170])
def test_planes_are_those_of_the_whole_in_whatever_order_they_are_asked_for(slices):
    image = noise(10, 11, 150)
    grid, whole = SplineImage(image, (8, 7, slices), as_it_is), by_scipy(image, (8, 7, slices))
    for start, stop in ((0, 20), (10, 30), (20, 40), (41, 42), (5, 9), (40, 50)):
        assert np.abs(grid.planes(start, stop) - whole[..., start:stop]).max() < 0.01


def test_memory_is_that_of_a_window_of_planes_however_long_the_body_is():
    peaks = []
    for slices in (300, 3000):
        image, grid = np.zeros((60, 60, slices), np.int16), (40, 40, slices // 3)
        looked_at = SplineImage(image, grid, as_it_is)
        tracemalloc.start()
        for start in range(0, grid[2] - 16, 8):
            looked_at.planes(start, start + 16)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[-1] < 1.5 * spline_bytes(image.shape, grid, 16) + 2**20
    assert peaks[1] < 1.1 * peaks[0]
