"""Volumes between grids, plane by plane."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core.cases.interpolation import best_channel, nearest_indices, resample, slabs_to_labels
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing


def test_halving_the_resolution_averages_two_voxels():
    line = np.float32([0, 2, 10, 20])[:, None, None]
    assert resample(line, (2, 1, 1)).ravel().tolist() == [1, 15]


def test_nearest_indices_double_and_halve_as_drawn():
    assert nearest_indices(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_indices(6, 3).tolist() == [1, 3, 5]
    assert nearest_indices(1, 4).tolist() == [0, 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    grid=st.tuples(*[st.integers(1, 9)] * 3),
    channels=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_streamed_reduction_equals_resampling_everything_at_once(shape, grid, channels, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(channels, *grid)).astype(np.float32)
    scores[0] += rng.choice([0, 1, 3])  # with much background, boxes are left out
    whole = np.stack([resample(channel, shape) for channel in scores])
    streamed = slabs_to_labels([scores], grid, np.zeros(shape, np.uint8))
    assert streamed.shape == shape and streamed.dtype == np.uint8
    steps = 1 + seed % 4
    slabs = [scores[..., at : at + steps] for at in range(0, grid[2], steps)]
    table = np.arange(0, 50, 10, dtype=np.uint8)
    assert np.array_equal(slabs_to_labels(slabs, grid, np.zeros(shape, np.uint8, order="F"), table), 10 * streamed)
    chosen = np.take_along_axis(whole, streamed[None].astype(int), 0)[0]
    assert (chosen >= whole.max(0) - 1e-5).all(), "of two that rounding cannot tell apart either may win"
    first, second = np.sort(whole, axis=0)[-2:] if channels > 1 else (whole[0] - 1, whole[0])
    clear = second - first > 2e-5
    assert np.array_equal(streamed[clear], best_channel(whole)[clear])
    assert clear.mean() > 0.99 or whole[0].size < 200


def test_the_resampling_is_torchs_trilinear_one():
    volume = np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32)
    for shape in ((5, 11, 7), (9, 8, 20), (3, 3, 2)):
        expected = torch.nn.functional.interpolate(torch.from_numpy(volume)[None, None], size=shape, mode="trilinear")
        assert np.allclose(resample(volume, shape), expected[0, 0].numpy(), atol=1e-5)


def test_slabs_that_end_too_early_are_an_error():
    with pytest.raises(ValueError, match="fewer planes than the grid's 4"):
        slabs_to_labels([np.zeros((2, 3, 3, 3), np.float32)], (3, 3, 4), np.zeros((6, 6, 6), np.uint8))


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 12)] * 3), spacing=st.tuples(*[st.floats(0.5, 6)] * 3))
def test_going_to_the_grid_and_back_returns_the_shape(shape, spacing):
    grid = Preprocessing((4, 4, 4), IntensityWindow(-250, 250)).grid_shape(shape, spacing)
    assert slabs_to_labels([np.zeros((2, *grid), np.float32)], grid, np.zeros(shape, np.uint8)).shape == shape


def test_a_channel_that_wins_at_no_voxel_of_the_grid_can_win_between_them():
    scores = np.float32([[1, 0], [0, 1], [0.9, 0.9]])[:, :, None, None]
    assert slabs_to_labels([scores], (2, 1, 1), np.zeros((8, 1, 1), np.uint8))[:, 0, 0].tolist() == [
        0,
        0,
        2,
        2,
        2,
        2,
        1,
        1,
    ]
