"""Random changes of a patch."""

import numpy as np
import pytest

from flare_core.cases.augmentation import AdjustContrast, AxialAffine, GaussianNoise, HistogramShift, Mirror, augmented

ALWAYS = (
    HistogramShift(1.0, 16),
    AdjustContrast(1.0, (0.5, 3.0)),
    GaussianNoise(1.0, (0.01, 0.05)),
    AxialAffine(1.0, 0.26, 0.35),
    Mirror(1.0, (0, 1, 2)),
)


@pytest.fixture
def patch():
    rng = np.random.default_rng(0)
    return rng.random((8, 6, 4), dtype=np.float32), rng.integers(0, 3, (8, 6, 4)).astype(np.uint8)


@pytest.mark.parametrize("transform", ALWAYS, ids=lambda t: type(t).__name__)
def test_a_transform_keeps_shape_types_and_its_input(transform, patch):
    before = patch[0].copy(), patch[1].copy()
    image, channels = augmented(*patch, (transform,), np.random.default_rng(1))
    assert image.shape == patch[0].shape and image.dtype == np.float32
    assert channels.shape == patch[1].shape and channels.dtype == np.uint8
    assert np.array_equal(before[0], patch[0]) and np.array_equal(before[1], patch[1])
    assert not np.array_equal(image, patch[0])


@pytest.mark.parametrize("transform", ALWAYS, ids=lambda t: type(t).__name__)
def test_probability_zero_does_nothing(transform, patch):
    never = type(transform)(0.0, *list(vars(transform).values())[1:])
    image, channels = augmented(*patch, (never,), np.random.default_rng(1))
    assert np.array_equal(image, patch[0]) and np.array_equal(channels, patch[1])


def test_histogram_shift_is_monotone_and_keeps_the_range(patch):
    image, _ = HistogramShift(1.0, 16)(*patch, np.random.default_rng(2))
    order = np.argsort(patch[0].ravel())
    assert (np.diff(image.ravel()[order]) >= 0).all()
    assert image.min() == pytest.approx(patch[0].min()) and image.max() == pytest.approx(patch[0].max())


def test_constant_images_stay_finite():
    flat = np.full((4, 4, 4), 0.5, np.float32)
    image, _ = augmented(flat, np.zeros((4, 4, 4), np.uint8), ALWAYS[:2], np.random.default_rng(0))
    assert np.isfinite(image).all()


def test_axial_affine_moves_image_and_channels_together_and_never_along_z():
    channels = np.zeros((31, 31, 5), np.uint8)
    channels[8:20, 10:24, 2] = 1
    image = channels.astype(np.float32)
    turned, turned_channels = AxialAffine(1.0, 0.26, 0.35)(image, channels, np.random.default_rng(5))
    assert turned_channels[:, :, [0, 1, 3, 4]].sum() == 0
    assert ((turned > 0.5) == (turned_channels == 1)).mean() > 0.99
    assert not np.array_equal(turned_channels, channels)


def test_rotation_keeps_areas_on_planes_that_are_not_square():
    channels = np.zeros((60, 30, 1), np.uint8)
    channels[25:35, 10:20] = 1
    for seed in range(5):
        _, turned = AxialAffine(1.0, 0.5, 0.0)(channels.astype(np.float32), channels, np.random.default_rng(seed))
        assert int(turned.sum()) == pytest.approx(100, abs=6)


def test_each_axis_has_its_own_scale():
    channels = np.zeros((41, 41, 1), np.uint8)
    channels[10:31, 10:31] = 1  # 21 x 21

    class Drawn:
        """Gives the affine its draws: do it, no rotation, X sampled half as wide, Y as it is."""

        def random(self):
            return 0.0

        def uniform(self, low, high, size=None):
            return 0.0 if size is None else np.array([0.5, 1.0])

    _, scaled = AxialAffine(1.0, 0.26, 0.5)(channels.astype(np.float32), channels, Drawn())
    assert int(scaled[:, 20, 0].sum()) == pytest.approx(41, abs=1)  # 42 voxels, cut by the border
    assert int(scaled[20, :, 0].sum()) == 21


def test_mirror_flips_every_axis_it_names(patch):
    image, channels = Mirror(1.0, (0, 2))(*patch, np.random.default_rng(0))
    assert np.array_equal(image, patch[0][::-1, :, ::-1]) and np.array_equal(channels, patch[1][::-1, :, ::-1])
