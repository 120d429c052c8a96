"""Random changes of a patch: intensities, mirroring, nvauto's affine (the others: test_spatial.py)."""

import numpy as np
import pytest

from flare_core.cases.augmentation import (
    AdjustContrast,
    AxialAffine,
    GaussianNoise,
    HistogramShift,
    Mirror,
    around_one,
    augmented,
)
from flare_core.cases.intensity import Brightness, Contrast, Gamma, GaussianBlur, LowResolution, ShiftIntensity
from flare_core.cases.smoothing import gaussian_smoothed

ALWAYS = (
    HistogramShift(1.0, 16),
    AdjustContrast(1.0, (0.5, 3.0)),
    GaussianNoise(1.0, (0.01, 0.05)),
    AxialAffine(1.0, 0.26, 0.35),
    Mirror(1.0, (0, 1, 2)),
    GaussianBlur(1.0, (0.5, 1.0)),
    Brightness(1.0, (0.75, 1.25)),
    ShiftIntensity(1.0, 0.1),
    Contrast(1.0, (0.75, 1.25)),
    LowResolution(1.0, (0.5, 0.8)),
    Gamma(1.0, (0.7, 1.5)),
    Gamma(1.0, (0.7, 1.5), inverted=True),
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
def test_the_same_generator_makes_the_same_change(transform, patch):
    one, other = (augmented(*patch, (transform,), np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


@pytest.mark.parametrize("transform", ALWAYS, ids=lambda t: type(t).__name__)
def test_a_transform_takes_a_mirrored_patch(transform, patch):
    mirrored = patch[0][::-1, :, ::-1], patch[1][::-1, :, ::-1]
    image, channels = augmented(*mirrored, (transform,), np.random.default_rng(1))
    copied = augmented(*(np.ascontiguousarray(part) for part in mirrored), (transform,), np.random.default_rng(1))
    assert np.array_equal(image, copied[0]) and np.array_equal(channels, copied[1])


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
    others = tuple(transform for transform in ALWAYS if not isinstance(transform, GaussianNoise))
    image, _ = augmented(flat, np.zeros((4, 4, 4), np.uint8), others, np.random.default_rng(0))
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


class Draws:
    """Gives a transform the numbers that it draws, in order; `random` always says do it."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return 0.0

    def uniform(self, low, high, size=None):
        return self.numbers.pop(0) if size is None else np.array([self.numbers.pop(0) for _ in range(size)])


LINE = np.array([0.0, 1, 2, 5], np.float32).reshape(4, 1, 1)  # mean 2
NOTHING = np.zeros(LINE.shape, np.uint8)


def test_half_of_the_factors_around_one_are_below_it():
    rng = np.random.default_rng(0)
    drawn = np.array([around_one((0.7, 1.5), rng) for _ in range(4000)])
    assert (drawn < 1).mean() == pytest.approx(0.5, abs=0.03)
    assert drawn[drawn < 1].mean() == pytest.approx(0.85, abs=0.01)
    assert drawn[drawn > 1].mean() == pytest.approx(1.25, abs=0.01)
    assert 0.7 <= drawn.min() and drawn.max() <= 1.5


@pytest.mark.parametrize(("bounds", "mean"), [((0.2, 0.4), 0.3), ((2, 4), 3)])
def test_a_range_without_one_is_drawn_uniformly(bounds, mean):
    rng = np.random.default_rng(0)
    assert np.mean([around_one(bounds, rng) for _ in range(4000)]) == pytest.approx(mean, rel=0.02)


def test_brightness_multiplies_and_a_shift_adds():
    assert Brightness(1.0, (0.75, 1.25))(LINE, NOTHING, Draws(1.25))[0].ravel().tolist() == [0, 1.25, 2.5, 6.25]
    shifted = ShiftIntensity(1.0, 0.5)(LINE, NOTHING, Draws(-0.5))[0]
    assert shifted.ravel().tolist() == [-0.5, 0.5, 1.5, 4.5]


def test_contrast_stretches_about_the_mean_and_clips_to_the_old_range():
    # around 2: 0 -> 1, 1 -> 1.5, 2 -> 2, 5 -> 3.5; twice as far: -2, 0, 2, 8, clipped to 0..5
    contrast = Contrast(1.0, (0.5, 2.0))
    assert contrast(LINE, NOTHING, Draws(0.5))[0].ravel().tolist() == [1, 1.5, 2, 3.5]
    assert contrast(LINE, NOTHING, Draws(2.0))[0].ravel().tolist() == [0, 0, 2, 5]


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_and_standard_deviation(patch, inverted):
    image, _ = Gamma(1.0, (0.7, 1.5), inverted)(*patch, np.random.default_rng(3))
    assert image.mean() == pytest.approx(patch[0].mean(), abs=1e-5)
    assert image.std() == pytest.approx(patch[0].std(), abs=1e-5)
    assert (np.diff(image.ravel()[np.argsort(patch[0].ravel())]) >= 0).all()


def test_gamma_bends_from_below_and_inverted_gamma_from_above():
    # the power 2 of (0, 0.2, 0.4, 1) is (0, 0.04, 0.16, 1): its steps are 0.04, 0.12, 0.84
    upward = np.diff(Gamma(1.0, (0.5, 2.0))(LINE, NOTHING, Draws(2.0))[0].ravel())
    assert upward / upward.sum() == pytest.approx([0.04, 0.12, 0.84], abs=1e-6)
    # inverted: (1, 0.8, 0.6, 0) becomes (1, 0.64, 0.36, 0), steps of 0.36, 0.28, 0.36
    inverted = np.diff(Gamma(1.0, (0.5, 2.0), inverted=True)(LINE, NOTHING, Draws(2.0))[0].ravel())
    assert inverted / inverted.sum() == pytest.approx([0.36, 0.28, 0.36], abs=1e-6)


def test_blur_spreads_one_voxel_into_a_gaussian_of_the_drawn_widths():
    image = np.zeros((21, 21, 21), np.float32)
    image[10, 10, 10] = 1
    blurred, _ = GaussianBlur(1.0, (0.5, 1.0))(image, np.zeros(image.shape, np.uint8), Draws(0.5, 0.8, 1.0))
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    for axis, deviation in enumerate((0.5, 0.8, 1.0)):
        profile = blurred.sum(tuple({0, 1, 2} - {axis}))
        assert profile[11] / profile[10] == pytest.approx(np.exp(-0.5 / deviation**2), rel=1e-4)


def test_smoothing_equals_scipy():
    from scipy.ndimage import gaussian_filter

    volume = np.random.default_rng(0).random((9, 12, 7), dtype=np.float32)
    for border, mode in (("mirror", "reflect"), ("zero", "constant")):
        expected = gaussian_filter(volume, (0.75, 3, 0), mode=mode)
        assert np.allclose(gaussian_smoothed(volume, (0.75, 3, 0), border), expected, atol=1e-6)


def test_low_resolution_shrinks_by_nearest_neighbor_and_enlarges_linearly():
    # half of 0 1 2 5 is 1 5 (nearest, the upper of two equally near); enlarged: 1, 2, 4, 5
    image = np.broadcast_to(LINE, (4, 3, 2)).copy()
    coarse, _ = LowResolution(1.0, (0.5, 1.0), axes=(0,))(image, np.zeros(image.shape, np.uint8), Draws(0.5))
    assert np.allclose(coarse, np.broadcast_to(np.array([1.0, 2, 4, 5]).reshape(4, 1, 1), image.shape))


def test_low_resolution_leaves_other_axes_alone():
    image = np.random.default_rng(0).random((1, 1, 8)).astype(np.float32).repeat(4, 0).repeat(4, 1)
    coarse, _ = LowResolution(1.0, (0.5, 1.0), axes=(0, 1))(image, np.zeros(image.shape, np.uint8), Draws(0.5))
    assert np.allclose(coarse, image, atol=1e-6)
