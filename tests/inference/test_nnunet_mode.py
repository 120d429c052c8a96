"""nnU-Net's steps, each by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_core.cases.geometry import Geometry
from flare_core.cases.preprocessing import ClipAndStandardize
from flare_core.inference.network import TrainedNetwork
from flare_core.inference.nnunet_labels import NnUNetLabels
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.nnunet_preprocessing import (
    NnUNetPreprocessing,
    NnUNetResampling,
    NoNormalization,
    ZScoreNormalization,
    nonzero_box,
)
from flare_core.models.unet import PlainUNet

CUBIC, LINEAR = NnUNetResampling(3), NnUNetResampling(1)
EVEN = (1.0, 1.0, 1.0)
ASIS = NnUNetPreprocessing("RAS", NoNormalization(), CUBIC, EVEN)
PREDICTOR = NnUNetPredictor("all", (4, 4, 4))


class Lookup(torch.nn.Module):
    """Says channel k (logit 9) wherever the image has the value k; keeps the windows that it saw."""

    def __init__(self, channels):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.channels, self.seen = channels, []

    def forward(self, x):
        self.seen.append(x)
        channels = x[:, 0].round().long().clamp(0, self.channels - 1)
        return 9 * torch.nn.functional.one_hot(channels, self.channels).movedim(-1, 1)


def _network(module=None, preprocessing=ASIS):
    labels = NnUNetLabels(("spleen", "liver"), ("spleen", "liver"))  # channel 1 is target 3, channel 2 is target 1
    return TrainedNetwork(module or Lookup(3), PlainUNet((), (), (), (), ()), labels, preprocessing)


def test_windows_are_evenly_spread_with_the_last_axis_outermost():
    # 110 voxels, windows of 64, step at most 32: three windows at 0, 23, 46
    corners = replace(PREDICTOR, window=(64, 8, 8)).corners((110, 12, 8))
    assert corners == [(x, y, 0) for y in (0, 4) for x in (0, 23, 46)]
    assert replace(PREDICTOR, tile_step=1.0).corners((4, 6, 8)) == [(0, y, z) for z in (0, 4) for y in (0, 2)]
    # (9 - 4) / 2 = 2.5: rounded to even
    assert [corner[0] for corner in replace(PREDICTOR, tile_step=0.75).corners((9, 4, 4))] == [0, 2, 5]


def test_weights_are_ten_at_the_center_and_nowhere_zero():
    weights = replace(PREDICTOR, window=(16, 4, 6)).weights()
    assert weights.dtype == np.float16 and weights[8, 2, 3] == 10 and weights.max() == 10
    # two voxels from the center along a side of 16 are one deviation
    assert weights[10, 2, 3].item() == pytest.approx(10 * np.exp(-0.5), rel=1e-3)
    assert weights.min() > 0
    wide = replace(PREDICTOR, window=(64, 64, 64)).weights()  # half precision makes its corners 0
    assert wide[0, 0, 0] == wide.min() and wide.min() > 0


def test_labels_come_back_through_crop_windows_and_padding():
    image = np.zeros((9, 6, 5), np.float32)
    image[1:8, 2:5, 1:4] = 1
    image[3:6, 3, 2] = 2
    network = _network()
    labels = PREDICTOR(image, EVEN, {"all": [network]})
    assert np.array_equal(labels, np.array([0, 3, 1], np.uint8)[image.astype(int)]) and labels.dtype == np.uint8
    assert len(network.module.seen) == 3  # the crop is 7 x 3 x 3: three windows along x, padded in y and z


def test_the_image_is_shown_in_the_orientation_of_the_training_and_labels_turn_back():
    image = np.random.default_rng(0).integers(0, 3, (4, 3, 2)).astype(np.float32)
    image[[0, -1], [0, -1], [0, -1]] = 1  # nothing to crop
    for axes in ("RAS", "LPS", "PSR", "ILA"):
        network = _network(preprocessing=replace(ASIS, axes=axes))
        geometry = Geometry.from_spacing(image.shape, EVEN, axes=axes)
        labels = replace(PREDICTOR, window=geometry.shape)(image, EVEN, {"all": [network]})
        assert np.array_equal(network.module.seen[0][0, 0].numpy(), geometry.from_ras(image))
        assert np.array_equal(labels, np.array([0, 3, 1], np.uint8)[image.astype(int)])


def test_spacing_follows_the_axes():
    preprocessing = replace(ASIS, axes="SLP", spacing_mm=(4.0, 2.0, 2.0))
    assert preprocessing.spacing_along_axes((1.0, 2.0, 3.0)) == (3.0, 1.0, 2.0)
    assert preprocessing.grid_shape((8, 8, 8), (3.0, 1.0, 2.0)) == (6, 4, 8)
    assert preprocessing.grid_shape((1, 1, 1), (1.0, 0.5, 2.0)) == (1, 1, 1)


def test_mirrored_views_are_averaged_in_all_combinations():
    class Place(Lookup):
        """Background 0.4; the first channel is the position along x, 0 or 1, whatever it sees."""

        def forward(self, x):
            self.seen.append(x)
            place = torch.arange(2.0).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 2, 2)
            return torch.cat((torch.full_like(place, 0.4), place, torch.full_like(place, -1)), 1)

    image, network = np.arange(1.0, 9, dtype=np.float32).reshape(2, 2, 2), _network(Place(3))
    small = replace(PREDICTOR, window=(2, 2, 2))
    assert small(image, EVEN, {"all": [network]})[:, 0, 0].tolist() == [0, 3]
    labels = replace(small, mirror_axes=(0, 2))(image, EVEN, {"all": [network]})
    assert (labels == 3).all()  # 0 and 1, swapped half the time: 0.5
    seen = [tuple(view.flatten()[:2].tolist()) for view in network.module.seen[1:]]
    assert seen == [(1, 2), (5, 6), (2, 1), (6, 5)]  # as it is, x, z, both


def test_of_equal_logits_the_lower_channel_wins():
    class Equal(Lookup):
        def forward(self, x):
            return torch.tensor([1.0, 2, 2]).reshape(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4)

    image = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    assert (PREDICTOR(image, EVEN, {"all": [_network(Equal(3))]}) == 3).all()


def test_logits_too_large_for_half_precision_are_an_error():
    class Huge(Lookup):
        def forward(self, x):
            return super().forward(x) * 1e4

    image = np.ones((4, 4, 4), np.float32)
    image[0, 0, 0] = 2
    with pytest.raises(ValueError, match="half precision"):
        PREDICTOR(image, EVEN, {"all": [_network(Huge(3))]})


def test_a_constant_image_gives_an_empty_map_and_different_grids_are_refused(caplog):
    assert not PREDICTOR(np.full((3, 3, 3), 7, np.float32), EVEN, {"all": [_network()]}).any()
    assert "constant" in caplog.text
    others = [_network(), _network(preprocessing=replace(ASIS, axes="LPS"))]
    with pytest.raises(ValueError, match="same preprocessing"):
        PREDICTOR(np.arange(27, dtype=np.float32).reshape(3, 3, 3), EVEN, {"all": others})


def test_the_box_holds_everything_that_is_not_zero():
    image = np.zeros((5, 4, 3))
    assert nonzero_box(image) == (slice(0, 5), slice(0, 4), slice(0, 3))
    image[1, 2, 0], image[3, 2, 2] = -1, 5
    assert nonzero_box(image) == (slice(1, 4), slice(2, 3), slice(0, 3))


def test_linear_resampling_shares_outer_faces_and_repeats_the_edge():
    volume = np.array([0.0, 1.0], np.float32).reshape(2, 1, 1)
    # centers of the four new voxels lie at -0.25, 0.25, 0.75, 1.25 old voxels
    assert LINEAR(volume, (4, 1, 1), (2.0, 1.0, 1.0), EVEN)[:, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert LINEAR(volume.astype(np.float16), (4, 1, 1), (2.0, 1.0, 1.0), EVEN).dtype == np.float16
    assert LINEAR(volume, (2, 1, 1), EVEN, EVEN) is volume


def test_cubic_resampling_stays_within_the_range():
    volume = np.zeros((6, 6, 6), np.float32)
    volume[3, 3, 3] = 1  # a spline would swing below 0 beside it
    fine = CUBIC(volume, (12, 12, 12), EVEN, (0.5, 0.5, 0.5))
    assert fine.min() == 0 and 0.5 < fine.max() <= 1


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "separate", "axis"),
    [
        ((1, 1, 3), (1, 1, 1), None, None),  # three times is not yet coarse
        ((1, 1, 3.1), (1, 1, 1), None, 2),
        ((1, 1, 1), (4, 1, 1), None, 0),  # the other grid decides where the first is even
        ((1, 4, 1), (9, 1, 1), None, 1),  # the first one is asked first
        ((1, 4, 4), (1, 1, 1), None, None),  # two coarse axes: none by itself
        ((1, 1, 9), (1, 1, 9), False, None),
        ((1, 1, 2), (1, 9, 1), True, 2),
        ((1, 1, 1), (1, 1, 1), True, None),
    ],
)
def test_an_axis_more_than_three_times_coarser_is_resampled_by_itself(spacing, new_spacing, separate, axis):
    assert NnUNetResampling(3, separate).coarse_axis(spacing, new_spacing) == axis


def test_coarse_planes_are_repeated_and_resampled_within():
    volume = np.stack([np.array([[0.0, 1.0]]), np.array([[10.0, 30.0]])]).astype(np.float32)  # two planes of 1 x 2
    finer = LINEAR(volume, (3, 1, 4), (4.0, 1.0, 1.0), EVEN)
    # new planes lie at -1/6, 1/2, 7/6 old planes: the one halfway takes the later plane
    assert finer[:, 0].tolist() == [[0, 0.25, 0.75, 1], [10, 15, 25, 30], [10, 15, 25, 30]]


def test_normalization_comes_before_resampling():
    preprocessing = NnUNetPreprocessing("RAS", ClipAndStandardize(0, 10, 5, 5), LINEAR, (0.5, 1.0, 1.0))
    grid = preprocessing.to_grid(np.array([0, 100.0], np.float32).reshape(2, 1, 1), EVEN)
    # clipped to 10 first, so the new voxels lie between -1 and 1; the other way round the third would be 1, too
    assert grid[:, 0, 0].tolist() == [-1, -0.5, 0.5, 1] and grid.dtype == np.float32


def test_z_scores_over_everything_or_over_what_is_not_outside():
    image = np.zeros((5, 5, 5), np.float32)
    image[1:4, 1:4, 1:4] = np.arange(1.0, 28).reshape(3, 3, 3)
    image[2, 2, 2] = 0  # enclosed: it counts
    masked = ZScoreNormalization(masked=True)(image)
    inside = image[1:4, 1:4, 1:4]
    assert np.allclose(masked[1:4, 1:4, 1:4], (inside - inside.mean()) / inside.std(), atol=1e-6)
    assert not masked[0].any()
    whole = ZScoreNormalization()(image)
    assert whole.mean() == pytest.approx(0, abs=1e-6) and whole.std() == pytest.approx(1)
    assert image[3, 3, 3] == 27  # the input stays
