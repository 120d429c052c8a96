"""Where patches are cut."""

import numpy as np
import pytest

from flare_core.cases.sampling import (
    INDEX_LIMIT,
    ClassBalancedCrop,
    ForegroundOversampling,
    Place,
    PositiveNegativeCrop,
    PreparedCase,
    TwoViews,
    WholeVolume,
    class_voxels,
    cut_out,
)


def prepared(channels, image=None):
    """A case whose voxels are numbered, unless an image is given."""
    image = np.arange(channels.size, dtype=np.float32).reshape(channels.shape) if image is None else image
    return PreparedCase("a", image, channels, np.ones(3, bool), np.ones(3, bool), class_voxels(channels))


@pytest.fixture
def case():
    channels = np.zeros((20, 20, 20), np.uint8)
    channels[2, 2, 2] = 1
    channels[10:18, 10:18, 10:18] = 2
    return prepared(channels)


@pytest.fixture
def empty():
    return prepared(np.zeros((20, 20, 20), np.uint8))


SAMPLINGS = (
    ClassBalancedCrop((8, 6, 4)),
    ForegroundOversampling((8, 6, 4)),
    PositiveNegativeCrop((8, 6, 4)),
    TwoViews((12, 12, 12), (8, 6, 4)),
    WholeVolume((20, 20, 20)),
)
FORCED, FREE = Place(1, 2), Place(0, 2)


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


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: type(s).__name__)
def test_every_sampling_cuts_arrays_of_its_own_with_the_network_patch(sampling, case):
    case.image.flags.writeable = case.channels.flags.writeable = False  # as memory-mapped arrays are
    image, channels = sampling.cut(case, np.random.default_rng(0), Place(1, 2))
    assert image.shape[-3:] == channels.shape == sampling.patch
    assert (image.dtype, channels.dtype) == (np.float32, np.uint8)
    image[:], channels[:] = 0, 0  # writing is allowed and reaches no case
    assert case.image.any() and case.channels.any()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: type(s).__name__)
def test_every_sampling_draws_from_the_generator_alone(sampling, case):
    one, other = (sampling.cut(case, np.random.default_rng([3, 7]), FORCED) for _ in range(2))
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_a_box_that_leaves_the_volume_is_filled_with_zeros(case):
    image, channels = cut_out(case, (-2, 16, 5), (4, 8, 3))
    assert np.array_equal(image[2:, :4], case.image[:2, 16:, 5:8]) and not image[:2].any() and not image[:, 4:].any()
    assert image.shape == channels.shape == (4, 8, 3)


@pytest.mark.parametrize(("batch", "forced"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (8, 3)])
def test_the_last_places_of_a_batch_are_forced_to_show_foreground(batch, forced):
    sampling = ForegroundOversampling((1, 1, 1))
    is_forced = [sampling.is_forced(Place(index, batch)) for index in range(batch)]
    assert is_forced == [False] * (batch - forced) + [True] * forced


def test_forced_patches_show_every_foreground_class_equally_often(case):
    sampling, rng = ForegroundOversampling((1, 1, 1)), np.random.default_rng(0)
    hits = np.bincount([int(sampling.cut(case, rng, FORCED)[1].item()) for _ in range(2000)], minlength=3)
    assert hits / 2000 == pytest.approx([0, 0.5, 0.5], abs=0.04)


def test_free_patches_lie_anywhere_inside(case):
    sampling, rng = ForegroundOversampling((12, 12, 20)), np.random.default_rng(0)
    corners = np.array([sampling.corner(case, rng, FREE) for _ in range(900)])
    assert (corners[:, 2] == 0).all()
    for axis in (0, 1):
        assert np.bincount(corners[:, axis], minlength=9) == pytest.approx([100] * 9, abs=35)


def test_a_case_without_foreground_is_cut_anywhere_even_where_forced(empty):
    sampling = ForegroundOversampling((12, 12, 12))
    corners = {sampling.corner(empty, np.random.default_rng(seed), FORCED) for seed in range(20)}
    assert len(corners) > 10 and all(0 <= c <= 8 for corner in corners for c in corner)


def test_forced_patches_have_the_voxel_in_the_middle_but_never_begin_before_the_volume():
    channels = np.zeros((20, 20, 20), np.uint8)
    channels[2, 10, 18] = 1
    corner = ForegroundOversampling((8, 8, 8)).corner(prepared(channels), np.random.default_rng(0), FORCED)
    assert corner == (0, 6, 14)  # voxel - 4, not below 0; ends 2 voxels beyond the volume, as in nnU-Net


def test_an_outer_patch_sticks_out_by_half_of_its_margin():
    channels = np.zeros((20, 20, 20), np.uint8)
    channels[2, 10, 18] = 1
    case, sampling = prepared(channels), ForegroundOversampling((8, 8, 8), outer=(12, 12, 8))
    assert sampling.cut(case, np.random.default_rng(0), FREE)[0].shape == (12, 12, 8)
    corners = np.array([sampling.corner(case, np.random.default_rng(seed), FREE) for seed in range(400)])
    assert corners.min(0).tolist() == [-2, -2, 0] and corners.max(0).tolist() == [10, 10, 12]
    assert sampling.corner(case, np.random.default_rng(0), FORCED) == (-2, 4, 14)


def test_a_volume_smaller_than_the_patch_is_in_the_middle_of_it(case):
    corners = {ForegroundOversampling((24, 23, 20)).corner(case, np.random.default_rng(s), FREE) for s in range(40)}
    assert corners == {(-2, -2, 0), (-2, -1, 0)}  # 3 are missing: 2 before and 1 behind, or the other way round
    assert TwoViews((24, 23, 20), (24, 23, 20)).cut(case, np.random.default_rng(0))[1][2:22, 1:21].any()
    assert PositiveNegativeCrop((24, 23, 20)).corner(case, np.random.default_rng(0)) == (-2, -1, 0)


def test_positive_and_negative_patches_come_in_their_shares(case):
    sampling, rng = PositiveNegativeCrop((1, 1, 1), positive_share=0.7), np.random.default_rng(0)
    cut = np.array([int(sampling.cut(case, rng)[1].item()) for _ in range(1500)])
    assert (cut > 0).mean() == pytest.approx(0.7, abs=0.04)
    assert (cut == 1).sum() <= 10  # one voxel of 513: all foreground voxels alike, not all classes


def test_foreground_larger_than_the_index_is_drawn_voxel_by_voxel():
    channels = np.zeros((40, 40, 40), np.uint8)
    channels[:20], channels[20:22] = 1, 2  # 32000 and 3200 voxels, of which the index holds 3000 each
    sampling, rng = PositiveNegativeCrop((1, 1, 1), positive_share=1.0), np.random.default_rng(0)
    case = prepared(channels)
    hits = np.bincount([int(sampling.cut(case, rng)[1].item()) for _ in range(1500)], minlength=3)
    assert hits / 1500 == pytest.approx([0, 10 / 11, 1 / 11], abs=0.03)


def test_negative_patches_lie_where_the_image_is_bright_enough():
    channels = np.zeros((20, 20, 20), np.uint8)
    channels[0] = 1
    image = np.zeros(channels.shape, np.float32)
    image[:, :, 5] = 0.5
    sampling = PositiveNegativeCrop((1, 1, 1), positive_share=0.0, negatives_above=0.0)
    for seed in range(30):
        patch, target = sampling.cut(prepared(channels, image), np.random.default_rng(seed))
        assert (patch.item(), target.item()) == (0.5, 0)


def test_a_kind_that_is_missing_gives_way_to_the_other(case, empty):
    for share in (0.0, 1.0):
        sampling = PositiveNegativeCrop((2, 2, 2), positive_share=share, negatives_above=np.inf)
        assert sampling.cut(case, np.random.default_rng(0))[1].any()  # no background is bright enough
        assert sampling.corner(empty, np.random.default_rng(0)) == (9, 9, 9)  # neither kind: the middle
    everywhere = prepared(np.ones((4, 4, 4), np.uint8))
    assert PositiveNegativeCrop((2, 2, 2), positive_share=0.0).cut(everywhere, np.random.default_rng(0))[1].all()


def test_positive_patches_stay_inside(case):
    sampling = PositiveNegativeCrop((9, 8, 7))
    for seed in range(50):
        corner = sampling.corner(case, np.random.default_rng(seed))
        assert all(0 <= c <= 20 - p for c, p in zip(corner, sampling.patch, strict=True))


def test_two_views_lie_in_one_larger_patch_and_the_channels_are_the_first_ones(case):
    views, distances = TwoViews((10, 10, 10), (6, 6, 6)), []
    for seed in range(60):
        image, channels = views.cut(case, np.random.default_rng(seed))
        assert image.shape == (2, 6, 6, 6) and channels.shape == (6, 6, 6)
        corners = np.array([np.unravel_index(int(view[0, 0, 0]), case.image.shape) for view in image])
        x, y, z = corners[0]
        assert np.array_equal(channels, case.channels[x : x + 6, y : y + 6, z : z + 6])
        distances.append(np.abs(corners[0] - corners[1]))
    assert np.max(distances) == 4 and np.max(distances, axis=0).min() > 0


def test_a_whole_volume_is_the_case_itself(case):
    image, channels = WholeVolume((20, 20, 20)).cut(case, np.random.default_rng(0))
    assert np.array_equal(image, case.image) and np.array_equal(channels, case.channels)


def test_a_whole_volume_of_another_shape_is_refused(case):
    with pytest.raises(ValueError, match=r"a: expected a volume of \(20, 20, 16\) voxels, got \(20, 20, 20\)"):
        WholeVolume((20, 20, 16)).cut(case, np.random.default_rng(0))
