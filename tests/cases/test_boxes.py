"""The box around a mask, on other grids and with a margin."""

import numpy as np

from flare_core.cases.boxes import bounding_box, rescaled, widened


def test_bounding_box_is_tight_and_none_for_an_empty_mask():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))


def test_a_box_on_another_grid_holds_every_voxel_that_it_touches():
    # 4 voxels on 10: a voxel is 2.5 wide, so voxel 1 is 2.5..5 and voxel 2 is 5..7.5
    box = (slice(1, 2), slice(2, 3), slice(0, 4))
    assert rescaled(box, (4, 4, 4), (10, 10, 3)) == (slice(2, 5), slice(5, 8), slice(0, 3))


def test_a_margin_is_rounded_up_to_voxels_and_ends_at_the_border():
    box = (slice(4, 6), slice(1, 9), slice(3, 4))
    assert widened(box, (4, 4, 0), (2, 3, 1), (20, 10, 5)) == (slice(2, 8), slice(0, 10), slice(3, 4))
