"""What is shown of a large image lies where the image lies, holds its means, and never more voxels than asked for."""

import math

import numpy as np
import pytest

from flare_core.cases.nifti import Geometry, Volume
from flare_core.cases.reduction import Reduction


def volume(data, spacing_mm=(1.0, 1.0, 2.0), axes="RAS"):
    return Volume(data, Geometry.from_spacing(data.shape, spacing_mm, origin_mm=(-7, 5, 40), axes=axes))


def place_mm(volume, voxel):
    return (volume.affine @ [*voxel, 1])[:3]


def test_a_small_image_stays_as_it_is():
    image = volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    reduction = Reduction.of(image, 24)
    shown = reduction.of_image(image)
    assert not reduction.is_coarser
    np.testing.assert_array_equal(shown.data, image.data)
    np.testing.assert_allclose(shown.affine, image.affine)


def test_air_goes_before_resolution():
    data = np.full((8, 8, 8), -1000, np.int16)
    data[2:6, 1:5, 3:8] = 40
    image = volume(data)
    reduction = Reduction.of(image, 100)
    shown = reduction.of_image(image)
    assert not reduction.is_coarser
    assert shown.data.shape == (4, 4, 5) and (shown.data == 40).all()
    np.testing.assert_allclose(place_mm(shown, (0, 0, 0)), place_mm(image, (2, 1, 3)))


def test_the_finest_axes_are_united_first():
    assert Reduction.of(volume(np.zeros((8, 8, 8), np.int16)), 8**3 // 4).factors == (2, 2, 1)
    assert Reduction.of(volume(np.zeros((9, 8, 7), np.int16), (1, 1, 1)), 40).factors == (3, 2, 2)


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_no_more_voxels_than_asked_for_and_one_is_left_at_least(most):
    image = volume(np.zeros((13, 5, 9), np.int16))
    shown = Reduction.of(image, most).of_image(image)
    assert 1 <= math.prod(shown.data.shape) <= most


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR"])
def test_voxels_are_means_of_blocks_in_the_middle_of_them(axes):
    data = np.zeros((4, 4, 2), np.int16)
    data[2:, :2, :1] = [[[10], [20]], [[30], [41]]]  # one block of 2 x 2 x 1
    image = volume(data, axes=axes)
    shown = Reduction.of(image, 8).of_image(image)
    assert shown.data.shape == (2, 2, 2)
    assert shown.data[1, 0, 0] == 25 and np.count_nonzero(shown.data) == 1
    np.testing.assert_allclose(place_mm(shown, (1, 0, 0)), place_mm(image, (2.5, 0.5, 0)))


def test_labels_and_image_share_one_grid():
    image, labels = volume(np.zeros((9, 8, 7), np.int16)), volume(np.ones((9, 8, 7), np.uint8))
    reduction = Reduction.of(image, 60)
    shown = reduction.of_image(image), reduction.of_labels(labels)
    assert shown[0].data.shape == shown[1].data.shape
    np.testing.assert_allclose(shown[0].affine, shown[1].affine)
    assert shown[1].data.dtype == np.uint8 and (shown[1].data == 1).all()


def test_metal_stays_metal():
    """Files of floats may hold more than 16 bits do."""
    image = volume(np.full((2, 2, 2), 40000, np.float32))
    assert (Reduction.of(image, 1).of_image(image).data == 32767).all()
