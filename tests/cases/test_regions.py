"""The part of a case that a network sees."""

import numpy as np
import pytest

from flare_core.cases.regions import BodyBox, LabelBox, whole

SPACING = (1.0, 2.0, 5.0)


@pytest.fixture
def labels():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:8, 9, 10], labels[6, 9:12, 10] = 3, 14
    return labels


def test_the_box_of_all_labels_is_widened_by_the_margin_in_mm(labels):
    image = np.zeros(labels.shape, np.float32)
    assert LabelBox(0.0)(image, labels, SPACING) == (slice(5, 8), slice(9, 12), slice(10, 11))
    # 3 mm are 3 voxels of 1 mm, 2 of 2 mm (rounded up) and 1 of 5 mm
    assert LabelBox(3.0)(image, labels, SPACING) == (slice(2, 11), slice(7, 14), slice(9, 12))
    assert LabelBox(100.0)(image, labels, SPACING) == (slice(0, 20), slice(0, 20), slice(0, 20))


def test_without_labels_the_region_is_the_whole_volume(labels):
    image = np.zeros(labels.shape, np.float32)
    assert LabelBox(3.0)(image, None, SPACING) == LabelBox(3.0)(image, labels * 0, SPACING) == whole(image.shape)


def test_the_body_is_everything_above_the_threshold_labels_or_not(labels):
    image = np.full(labels.shape, -1000, np.float32)
    image[4:16, 6:14, 2:18] = 40
    image[10, 17, 10] = -249  # a voxel of the table: MONAI's rule keeps it
    image[0, 0, 0] = -250  # not above
    expected = (slice(4, 16), slice(6, 18), slice(2, 18))
    assert BodyBox(-250)(image, None, SPACING) == BodyBox(-250)(image, labels, SPACING) == expected
    assert BodyBox(-250, margin_mm=2.0)(image, None, SPACING) == (slice(2, 18), slice(5, 19), slice(1, 19))


def test_nothing_above_the_threshold_gives_the_whole_volume():
    assert BodyBox(-250)(np.full((3, 4, 5), -1000, np.float32), None, SPACING) == whole((3, 4, 5))


def test_the_body_box_is_monais():
    from monai.transforms.utils import generate_spatial_bounding_box

    image = np.random.default_rng(0).normal(-900, 250, (9, 8, 7)).astype(np.float32)
    low, high = generate_spatial_bounding_box(image[None], select_fn=lambda values: values > -250)
    assert BodyBox(-250)(image, None, SPACING) == tuple(slice(a, b) for a, b in zip(low, high, strict=True))
