"""Turning, scaling and bending of patches."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flare_core.cases.augmentation import augmented
from flare_core.cases.spatial import (
    Elastic,
    RightAngleRotation,
    Rotation,
    Scaling,
    SpatialTransform,
    channels_at,
    image_at,
    looked_up,
    outer_patch,
)
from flare_core.recipe import decode, encode

ROTATION, SCALING, ELASTIC = Rotation(1.0, math.pi / 6), Scaling(1.0, (0.7, 1.4)), Elastic(1.0, (0, 900), (9, 13))
EVERYTHING = SpatialTransform(ROTATION, SCALING, ELASTIC)
ALWAYS = {
    "rotation": SpatialTransform(rotation=ROTATION),
    "scaling": SpatialTransform(scaling=SCALING),
    "elastic": SpatialTransform(elastic=ELASTIC),
    "everything": EVERYTHING,
    "slice-wise": SpatialTransform(Rotation(1.0, math.pi), SCALING, Elastic(1.0, (0, 200), (9, 13)), axes=(0, 1)),
    "right angles": RightAngleRotation(1.0),
}


@pytest.fixture
def patch():
    rng = np.random.default_rng(0)
    channels = np.zeros((12, 12, 8), np.uint8)
    channels[2:9, 3:10, 1:5], channels[5:11, 1:6, 3:7] = 1, 2
    return channels + rng.random(channels.shape, dtype=np.float32), channels


class Draws:
    """Always does it, and draws the given numbers in order."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return self.numbers.pop(0)


@pytest.mark.parametrize("transform", ALWAYS.values(), ids=ALWAYS)
def test_a_transform_keeps_shape_types_and_its_input(transform, patch):
    before = patch[0].copy(), patch[1].copy()
    image, channels = augmented(*patch, (transform,), np.random.default_rng(1))
    assert image.shape == channels.shape == (12, 12, 8)
    assert (image.dtype, channels.dtype) == (np.float32, np.uint8)
    assert np.array_equal(before[0], patch[0]) and np.array_equal(before[1], patch[1])
    assert not np.array_equal(image, patch[0]) and not np.array_equal(channels, patch[1])


@pytest.mark.parametrize("transform", ALWAYS.values(), ids=ALWAYS)
def test_the_same_generator_makes_the_same_change(transform, patch):
    one, other = (augmented(*patch, (transform,), np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_a_transform_is_stored_and_read_back_as_the_same_value():
    data = json.loads(json.dumps(encode(EVERYTHING)))
    assert decode(data, (SpatialTransform, Rotation, Scaling, Elastic)) == EVERYTHING


def test_nothing_drawn_means_nothing_changed_and_nothing_resampled(patch):
    never = SpatialTransform(Rotation(0.0, 1.0), Scaling(0.0, (0.7, 1.4)), Elastic(0.0, (0, 900), (9, 13)))
    for transform in (never, SpatialTransform(), RightAngleRotation(0.0)):
        image, channels = augmented(*patch, (transform,), np.random.default_rng(1))
        assert np.array_equal(image, patch[0]) and np.array_equal(channels, patch[1])


def test_each_change_has_its_own_probability():
    rng = np.random.default_rng(0)
    drawn = [
        (Rotation(0.2, 1.0).matrix((0, 1, 2), rng) is not None, Scaling(0.4, (0.7, 1.4)).matrix((0,), rng) is not None)
        for _ in range(4000)
    ]
    turned, scaled = np.array(drawn).T
    assert (turned.mean(), scaled.mean()) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.4, abs=0.02))
    assert (turned & scaled).mean() == pytest.approx(0.08, abs=0.02)


def test_a_quarter_turn_moves_every_voxel_to_its_place():
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    channels = image.astype(np.uint8)
    transform = SpatialTransform(rotation=Rotation(1.0, math.pi), axes=(0, 1))
    turned, turned_channels = transform(image, channels, Draws(math.pi / 2))
    # in the plane, 0 1 / 2 3 becomes 2 0 / 3 1 (columns along Y)
    assert turned_channels[:, :, 0].tolist() == [[6, 0], [9, 3]]
    assert np.allclose(turned, np.rot90(image, -1, (0, 1)), atol=1e-5)
    assert np.array_equal(turned_channels, np.rot90(channels, -1, (0, 1)))


@pytest.mark.parametrize(("plane", "angles"), [((0, 1), (1, 0, 0)), ((0, 2), (0, 1, 0)), ((1, 2), (0, 0, 1))])
def test_a_patch_turns_in_every_plane(plane, angles):
    channels = np.random.default_rng(0).integers(0, 9, (5, 5, 5)).astype(np.uint8)
    draws = Draws(*(angle * math.pi / 2 for angle in angles))
    turned, turned_channels = SpatialTransform(rotation=ROTATION)(channels.astype(np.float32), channels, draws)
    assert np.array_equal(turned_channels, np.rot90(channels, -1, plane))
    assert np.allclose(turned, np.rot90(channels, -1, plane), atol=1e-4)


def test_a_turned_patch_that_is_no_cube_gets_zeros_where_it_saw_nothing():
    channels = np.ones((6, 2, 1), np.uint8)
    turned, turned_channels = SpatialTransform(rotation=ROTATION, axes=(0, 1))(
        channels.astype(np.float32), channels, Draws(math.pi / 2)
    )
    assert turned_channels[:, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert np.allclose(turned[:, :, 0], turned_channels[:, :, 0], atol=1e-5)


def test_a_factor_above_one_makes_things_smaller():
    channels = np.zeros((40, 40, 40), np.uint8)
    channels[10:30, 10:30, 10:30] = 1
    for factor, side in ((2.0, 10), (0.5, 40)):
        _, scaled = SpatialTransform(scaling=SCALING)(channels.astype(np.float32), channels, Draws(factor))
        assert [int(line.sum()) for line in (scaled[:, 20, 20], scaled[20, :, 20], scaled[20, 20])] == [side] * 3


def test_elastic_deformation_of_no_strength_is_the_identity(patch):
    transform = SpatialTransform(elastic=Elastic(1.0, (0, 0), (9, 13)))
    image, channels = transform(*patch, np.random.default_rng(0))
    assert np.allclose(image, patch[0], atol=1e-5) and np.array_equal(channels, patch[1])


def test_elastic_offsets_are_smooth_and_as_strong_as_nnunets():
    offsets = Elastic(1.0, (900, 900), (9, 9)).offsets((64, 64, 64), (0, 1, 2), np.random.default_rng(0))
    assert offsets.shape == (3, 64, 64, 64)
    # white noise of variance 1/3, smoothed in 3D: variance 1/3 / (2 sqrt(pi) 9)^3, so about 2.9 voxels at alpha 900
    middle = offsets[:, 20:44, 20:44, 20:44]
    assert np.sqrt((middle**2).mean()) == pytest.approx(
        900 * math.sqrt(1 / 3 / (2 * math.sqrt(math.pi) * 9) ** 3), rel=0.4
    )
    assert max(np.abs(np.diff(offsets, axis=axis)).max() for axis in (1, 2, 3)) < 1.5


def test_slice_wise_changes_never_mix_slices():
    channels = np.zeros((24, 24, 6), np.uint8)
    channels[6:15, 8:18, 2] = 1
    image = channels.astype(np.float32)
    for seed in range(5):
        turned, turned_channels = ALWAYS["slice-wise"](image, channels, np.random.default_rng(seed))
        assert turned_channels[:, :, 2].any() and np.abs(turned[:, :, 2]).max() > 0.5
        assert not turned_channels[:, :, [0, 1, 3, 4, 5]].any()
        assert np.abs(turned[:, :, [0, 1, 3, 4, 5]]).max() < 1e-4


def test_image_and_channels_move_together():
    channels = np.zeros((32, 32, 32), np.uint8)
    channels[8:20, 10:26, 6:28] = 1
    for seed in range(5):
        image, moved = EVERYTHING(channels.astype(np.float32), channels, np.random.default_rng(seed))
        sure = np.abs(image - 0.5) > 1e-3
        assert np.array_equal((image > 0.5)[sure], (moved == 1)[sure])


def test_channels_are_those_with_the_largest_interpolated_mask():
    rng = np.random.default_rng(0)
    channels = rng.integers(0, 4, (7, 6, 5)).astype(np.uint8)
    matrix = rng.normal(size=(3, 3)) * 0.6
    places = looked_up(matrix, None, (9, 8, 7), channels.shape)
    outside = 1 - image_at(np.ones(channels.shape, np.float32), places)
    masks = np.stack([image_at((channels == c).astype(np.float32), places) for c in range(4)])
    masks[0] += outside
    ordered = np.sort(masks, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    assert clear.mean() > 0.9
    assert np.array_equal(channels_at(channels, places)[clear], masks.argmax(0)[clear])


def test_places_agree_with_torch_affine_grids():
    image = np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)
    matrix = np.diag([1.1, 0.9, 0.7])
    theta = torch.tensor(np.diag([0.7, 0.9, 1.1]), dtype=torch.float32)[None]
    grid = F.affine_grid(torch.cat((theta, torch.zeros(1, 3, 1)), 2), (1, 1, 6, 8, 10), align_corners=False)
    expected = F.grid_sample(torch.from_numpy(image)[None, None], grid, align_corners=False)[0, 0].numpy()
    assert np.allclose(image_at(image, looked_up(matrix, None, image.shape, image.shape)), expected, atol=1e-5)


def test_a_larger_patch_gives_its_middle():
    channels = np.random.default_rng(0).integers(0, 5, (9, 8, 7)).astype(np.uint8)
    image, middle = channels.astype(np.float32), channels[2:7, 2:6, 2:5]
    never = SpatialTransform(patch=(5, 4, 3))
    assert np.array_equal(never(image, channels, np.random.default_rng(0))[1], middle)
    same = SpatialTransform(scaling=Scaling(1.0, (1.0, 1.0)), patch=(5, 4, 3))
    resampled, resampled_channels = same(image, channels, np.random.default_rng(0))
    assert np.allclose(resampled, middle, atol=1e-5) and np.array_equal(resampled_channels, middle)


def test_a_patch_smaller_than_its_result_is_refused(patch):
    with pytest.raises(ValueError, match="cut a larger one"):
        SpatialTransform(patch=(12, 12, 9))(*patch, np.random.default_rng(0))


def test_outer_patches_are_nnunets():
    assert outer_patch((128, 128, 128), math.pi / 6) == (205, 205, 205)  # 128 (cos + sin) / 0.85
    # slice-wise by half turns: the sides of the plane may swap
    assert outer_patch((192, 128, 32), math.pi, axes=(0, 1)) == (225, 225, 32)


def test_turned_without_a_border_when_cut_large_enough():
    side = 24
    outer = outer_patch((side,) * 3, math.pi / 6, smallest_factor=1.0)
    ones = np.ones(outer, np.uint8)
    transform = SpatialTransform(rotation=Rotation(1.0, math.pi / 6), axes=(0, 1), patch=(side,) * 3)
    for seed in range(5):
        image, channels = transform(ones.astype(np.float32), ones, np.random.default_rng(seed))
        assert channels.all() and image.min() > 0.99


def test_right_angles_turn_one_two_or_three_times():
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    seen = {
        RightAngleRotation(1.0)(image, image.astype(np.uint8), np.random.default_rng(s))[0].tobytes() for s in range(30)
    }
    assert seen == {np.rot90(image, turns, (0, 1)).tobytes() for turns in (1, 2, 3)}


def test_right_angles_need_a_square_plane(patch):
    with pytest.raises(ValueError, match="change its shape"):
        RightAngleRotation(1.0, axes=(0, 2))(*patch, np.random.default_rng(0))
