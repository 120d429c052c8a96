"""nvauto's inference with networks that one can follow by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fake_networks import SPACING, Constant, fake_network
from scipy.special import softmax

from flare_core.cases.labels import ABDOMEN, BY_NAME, MERGED_PAIRS
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_window import SlidingWindow

SCHEME = RegionEnsemble(
    localizer="localizer",
    members="main",
    localizer_window=SlidingWindow((4, 4, 4)),
    window=SlidingWindow((4, 4, 4)),
    region_axes=(0, 1),
    margin_mm=4,
    first_model_crop=True,
    average="probabilities",
    postprocessing=(),
)


def _image():
    """A liver (1) in the middle of a tall volume; background is 0."""
    image = np.zeros((12, 12, 16), np.float32)
    image[4:8, 5:9, 6:10] = 1
    return image


def _networks(members=2):
    return {"localizer": [fake_network(ABDOMEN)], "main": [fake_network(MERGED_PAIRS) for _ in range(members)]}


def test_labels_come_back_on_the_images_grid():
    labels = SCHEME(_image(), SPACING, _networks())
    assert labels.dtype == np.uint8 and np.array_equal(labels, _image().astype(np.uint8))


def test_the_region_crops_x_and_y_with_its_margin_and_never_z():
    assert SCHEME.region(_image(), SPACING, _networks()) == (slice(3, 9), slice(4, 10), slice(0, 16))


def test_an_empty_localization_falls_back_to_the_whole_volume(caplog):
    image = _image()
    image[0, 0, 0] = -5  # not constant, but nothing that the localizer knows
    image[image == 1] = 0
    assert SCHEME.region(image, SPACING, _networks()) == tuple(slice(0, n) for n in image.shape)
    assert "found no abdomen" in caplog.text


def test_the_first_model_crops_z_for_the_others():
    networks = _networks()
    labels = SCHEME(_image(), SPACING, networks)
    first, second = (network.module.windows for network in networks["main"])
    assert first > second > 0 and labels[5, 6, 7] == 1


def test_a_tumor_outside_the_organs_keeps_the_whole_length():
    image = _image()
    image[5, 6, 14] = 12  # the tumor's channel
    networks = _networks()
    labels = SCHEME(image, SPACING, networks)
    assert labels[5, 6, 14] == BY_NAME["tumor"].id
    first, second = (network.module.windows for network in networks["main"])
    assert first == second


def test_without_the_switch_every_model_sees_the_whole_length():
    networks = _networks()
    replace(SCHEME, first_model_crop=False)(_image(), SPACING, networks)
    first, second = (network.module.windows for network in networks["main"])
    assert first == second


def test_members_are_averaged_as_probabilities_or_logits():
    # one is sure of channel 1 (probability ~1), two lean to background: 1/3 + small against 2/3; as logits 30 wins
    sure, leaning = [0.0, 30.0] + [-50.0] * 11, [3.0, 0.0] + [-50.0] * 11
    members = [fake_network(MERGED_PAIRS, Constant(s)) for s in (sure, leaning, leaning)]
    plain = replace(SCHEME, localizer="", first_model_crop=False)
    image = _image()
    assert not plain(image, SPACING, {"main": members}).any()
    assert (replace(plain, average="logits")(image, SPACING, {"main": members}) == 1).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (30, 3, 7), (12, 12, 1)])
def test_volumes_smaller_than_a_window_are_predicted(shape):
    image = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    image.flat[0] += 20  # never constant
    assert SCHEME(image, SPACING, _networks()).shape == shape


def test_a_constant_image_gives_an_empty_map_and_a_warning(caplog):
    assert not SCHEME(np.full((8, 8, 8), -1000, np.float32), SPACING, _networks()).any()
    assert "constant" in caplog.text


def test_a_favored_channel_wins_where_its_mean_score_is_close():
    tumor = MERGED_PAIRS.channels - 1
    unsure = [0.0] * MERGED_PAIRS.channels
    unsure[0], unsure[tumor] = 0.6, 0.1
    networks = {"main": [fake_network(MERGED_PAIRS, Constant(unsure))]}
    plain = replace(SCHEME, localizer="")
    assert not plain(_image(), SPACING, networks).any()
    assert not replace(plain, favored=((tumor, 1.6),))(_image(), SPACING, networks).any()
    favored = replace(plain, favored=((tumor, 1.7),))  # exp(0.5) = 1.65
    assert (favored(_image(), SPACING, networks) == BY_NAME["tumor"].id).all()


def test_the_mean_over_members_equals_the_one_over_whole_volumes():
    scheme = replace(SCHEME, localizer="", margin_mm=8, window=SlidingWindow((4, 4, 4), 0.5, "gaussian"))
    rng = np.random.default_rng(0)
    constants = [fake_network(MERGED_PAIRS, Constant(list(rng.normal(size=MERGED_PAIRS.channels)))) for _ in range(2)]
    members = [fake_network(MERGED_PAIRS), *constants]
    image = _image()
    grid = members[0].preprocessing.on_grid(image, SPACING)
    streamed = np.concatenate(list(scheme._average(grid, members)), axis=3)
    whole = members[0].preprocessing.image_to_grid(image, SPACING)
    expected = sum(softmax(scheme.window(member, whole), 0) for member in members) / 3
    assert np.allclose(streamed[..., 4:12], expected[..., 4:12], atol=1e-6), "liver at 6 to 10, 2 voxels around it"
    assert (streamed[0, ..., :4] == 1).all() and (streamed[1:, ..., :4] == 0).all()
