"""Where patches are cut."""

import numpy as np
import pytest

from flare_core.cases.sampling import INDEX_LIMIT, ClassBalancedCrop, PreparedCase, class_voxels


@pytest.fixture
def case():
    channels = np.zeros((20, 20, 20), np.uint8)
    channels[2, 2, 2] = 1
    channels[10:18, 10:18, 10:18] = 2
    image = np.arange(channels.size, dtype=np.float32).reshape(channels.shape)
    return PreparedCase("a", image, channels, np.ones(3, bool), np.ones(3, bool), class_voxels(channels))


def test_class_voxels_are_voxels_of_their_class_at_most_the_limit(case):
    assert {channel: len(v) for channel, v in case.voxels_of.items()} == {0: INDEX_LIMIT, 1: 1, 2: 512}
    for channel, voxels in case.voxels_of.items():
        assert (case.channels.ravel()[voxels] == channel).all()
        assert len(set(voxels)) == len(voxels)


def test_every_present_class_is_the_target_equally_often(case):
    crop = ClassBalancedCrop((1, 1, 1))
    rng = np.random.default_rng(0)
    hits = np.bincount([int(crop.cut(case, rng)[1].item()) for _ in range(3000)], minlength=3)
    assert hits / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_odds_change_the_share_of_a_class(case):
    crop = ClassBalancedCrop((1, 1, 1), odds=((1, 2.0),))
    rng = np.random.default_rng(0)
    hits = np.bincount([int(crop.cut(case, rng)[1].item()) for _ in range(3000)], minlength=3)
    assert hits / 3000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_a_patch_stays_inside_and_image_and_channels_match(case):
    crop = ClassBalancedCrop((8, 8, 8))
    for seed in range(50):
        corner = crop.corner(case, np.random.default_rng(seed))
        assert all(0 <= c <= 12 for c in corner)
        image, channels = crop.cut(case, np.random.default_rng(seed))
        box = tuple(slice(c, c + 8) for c in corner)
        assert np.array_equal(image, case.image[box]) and np.array_equal(channels, case.channels[box])


def test_a_volume_smaller_than_the_patch_is_padded_with_background(case):
    image, channels = ClassBalancedCrop((24, 20, 32)).cut(case, np.random.default_rng(0))
    assert image.shape == channels.shape == (24, 20, 32)
    assert np.array_equal(image[:20, :, :20], case.image) and not image[20:].any() and not channels[:, :, 20:].any()


def test_the_same_generator_cuts_the_same_patch(case):
    crop = ClassBalancedCrop((4, 4, 4))
    one, other = (crop.cut(case, np.random.default_rng([3, 7])) for _ in range(2))
    assert np.array_equal(one[0], other[0])
