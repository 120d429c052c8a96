"""The box around a mask."""

import numpy as np

from flare_core.cases.boxes import bounding_box


def test_bounding_box_is_tight_and_none_for_an_empty_mask():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
