"""Windows over a volume."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core.cases.labels import ABDOMEN
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference.planes import Held
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.without_air import WithoutAir


def _two_channels(windows):
    """A network that says the same of a voxel whatever the window: scores x and -x."""
    return np.concatenate([windows, -windows], 1)


def _corners(scheme, shape):
    return [corner for layer in scheme.layers(shape) for corner in layer]


def test_windows_without_overlap_are_as_few_as_possible_and_end_at_the_border():
    corners = _corners(SlidingWindow((4, 4, 4)), (4, 10, 8))
    assert sorted({c[0] for c in corners}) == [0]
    assert sorted({c[1] for c in corners}) == [0, 3, 6]  # three windows of 4 over 10 voxels, evenly spread
    assert sorted({c[2] for c in corners}) == [0, 4]


def test_half_overlap_takes_steps_of_half_a_window():
    assert sorted({c[0] for c in _corners(SlidingWindow((4, 4, 4), 0.5), (10, 4, 4))}) == [0, 2, 4, 6]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 13)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.625]),
    weighting=st.sampled_from(["constant", "gaussian"]),
    batch=st.integers(1, 3),
)
def test_a_network_that_ignores_its_surroundings_gives_the_same_as_on_the_whole(shape, overlap, weighting, batch):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    scores = SlidingWindow((4, 5, 6), overlap, weighting, batch)(_two_channels, image)
    assert scores.shape == (2, *shape)
    assert np.allclose(scores, np.stack([image, -image]), atol=1e-5)


def test_probabilities_are_asked_of_the_network_window_by_window():
    def sure(windows, probabilities=False):
        return _two_channels(windows) if not probabilities else np.full((len(windows), 2, 4, 4, 4), 0.5, np.float32)

    image = np.random.default_rng(1).normal(size=(6, 4, 4)).astype(np.float32)
    assert np.allclose(SlidingWindow((4, 4, 4), 0.5)(sure, image, probabilities=True), 0.5)
    assert np.allclose(SlidingWindow((4, 4, 4), mirror_axes=(0,))(sure, image, probabilities=True), 0.5)
    assert np.allclose(SlidingWindow((4, 4, 4))(sure, image)[0], image)


def test_gaussian_weights_peak_in_the_middle_and_never_vanish():
    weights = SlidingWindow((5, 5, 5), weighting="gaussian").weights()
    assert weights.argmax() == weights.size // 2 and weights.min() > 0
    with pytest.raises(ValueError, match="'constant' or 'gaussian'"):
        SlidingWindow((4, 4, 4), weighting="flat").weights()


def test_mirrored_windows_are_averaged_with_their_scores_turned_back():
    def sees_the_first_plane(windows):
        scores = np.zeros((len(windows), 2, *windows.shape[2:]), np.float32)
        scores[:, 1, 0] = windows[:, 0, 0]
        return scores

    image = np.ones((4, 4, 4), np.float32)
    plain = SlidingWindow((4, 4, 4))(sees_the_first_plane, image)
    assert plain[1, 0].min() == 1 and plain[1, 1:].max() == 0
    scores = SlidingWindow((4, 4, 4), mirror_axes=(0, 1))(sees_the_first_plane, image)
    assert (scores[1, 0] == 0.5).all() and (scores[1, 3] == 0.5).all() and not scores[1, 1:3].any()


@pytest.mark.parametrize("window", [SlidingWindow((4, 4, 4), 0.5), SlidingWindow((4, 4, 4))])
def test_windows_of_air_can_be_skipped_and_are_background(window):
    image = np.full((16, 8, 16), -1000, np.float32)
    image[4:8, :, 4:12] = 100
    grid = Preprocessing((1, 1, 1), IntensityWindow(-250, 250)).on_grid(image, (1, 1, 1))
    runs = []

    def network(windows):
        runs.append(len(windows))
        return np.concatenate([0.5 + 0 * windows, windows], 1)

    network.scheme = ABDOMEN
    skipping = WithoutAir(window, -300)
    all_of_it, some = (np.concatenate(list(scheme.slabs(network, grid)), 3) for scheme in (window, skipping))
    assert np.array_equal(all_of_it.argmax(0), some.argmax(0)) and some.shape == (2, 16, 8, 16)
    visits = skipping.visits(network, grid)
    assert sum(runs) == window.visits(network, grid).count + visits.count
    assert visits.count < visits.scheme == len(window.visits(network, grid).corners)
    held = Held(grid.planes(0, 16))
    assert skipping.visits(network, held).count == visits.scheme, "nobody says what its values are in HU"
    assert not np.concatenate(list(skipping.slabs(network, air_of(grid))), 3).any()


def air_of(grid):
    return replace(grid, image_hu=np.full(grid.shape, -1000, np.float32))
