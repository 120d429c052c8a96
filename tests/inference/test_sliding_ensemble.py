"""Averaged networks on one grid, with answers known by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from fake_networks import GRID, SPACING, Constant, Sees, fake_network

from flare_core.cases.labels import ABDOMEN, BY_NAME, MERGED_PAIRS, SEPARATE, LabelScheme
from flare_core.cases.regions import BodyBox
from flare_core.inference.postprocessing import RemoveSmall
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.submission import PARTS
from flare_core.inference.whole_volume import WholeVolume
from flare_core.recipe import decode, encode

WINDOW = SlidingWindow((4, 4, 4), overlap=0.5, weighting="gaussian")
ONE = SlidingEnsemble(members=("bs8",), window=WINDOW)
LIVER, TUMOR = BY_NAME["liver"].id, BY_NAME["tumor"].id


@dataclass(frozen=True)
class LowX:
    """A region: the first voxels along x."""

    voxels: int

    def __call__(self, image_hu, labels, spacing_mm):
        assert labels is None
        return slice(0, self.voxels), *(slice(0, n) for n in image_hu.shape[1:])


def _image():
    """A liver (1) in a volume that is 0 elsewhere."""
    image = np.zeros((10, 7, 9), np.float32)
    image[2:8, 1:5, 3:9] = LIVER
    return image


@pytest.mark.parametrize("window", [WINDOW, SlidingWindow((4, 4, 4)), WholeVolume()])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_labels_come_back_on_the_images_grid(window, average):
    labels = replace(ONE, window=window, average=average)(_image(), SPACING, {"bs8": [fake_network(SEPARATE)]})
    assert labels.dtype == np.uint8 and np.array_equal(labels, _image().astype(np.uint8))


def test_channels_become_target_ids():
    tumor = fake_network(LabelScheme((("tumor",),)), Sees(LIVER))
    assert np.array_equal(ONE(_image(), SPACING, {"bs8": [tumor]}), TUMOR * _image().astype(np.uint8))


def test_every_network_of_every_stage_has_the_same_weight():
    # one is sure of channel 1 (probability ~1), two lean to background (0.95): as probabilities 1 + 2 * 0.05 against
    # 2 * 0.95, as logits 30 against 6
    sure, leaning = (fake_network(ABDOMEN, Constant(s)) for s in ([0.0, 30.0], [3.0, 0.0]))
    two = SlidingEnsemble(members=("bs4", "bs8"), window=WINDOW)
    assert two.stages == ("bs4", "bs8")
    for networks in ({"bs4": [sure], "bs8": [leaning, leaning]}, {"bs4": [leaning, sure], "bs8": [leaning]}):
        assert (two(_image(), SPACING, networks) == LIVER).all()
        assert not replace(two, average="probabilities")(_image(), SPACING, networks).any()


def test_networks_that_do_not_share_grid_or_channels_are_refused():
    two = SlidingEnsemble(members=("bs4", "bs8"), window=WINDOW)
    network = fake_network(SEPARATE)
    other_grid = fake_network(SEPARATE, preprocessing=replace(GRID, spacing_mm=(2, 2, 2)))
    with pytest.raises(ValueError, match="same preprocessing"):
        two(_image(), SPACING, {"bs4": [network], "bs8": [other_grid]})
    with pytest.raises(ValueError, match="same scheme"):
        two(_image(), SPACING, {"bs4": [network], "bs8": [fake_network(MERGED_PAIRS)]})


def test_only_the_region_is_predicted():
    seen = fake_network(SEPARATE)
    labels = replace(ONE, window=WholeVolume(), region=LowX(5))(_image(), SPACING, {"bs8": [seen]})
    assert (labels[2:5, 1:5, 3:9] == LIVER).all() and not labels[5:].any()


def test_the_body_is_a_region():
    image = _image()
    image[image == 0] = -1000
    inside = replace(ONE, region=BodyBox(threshold_hu=-500, margin_mm=0))
    assert np.array_equal(inside(image, SPACING, {"bs8": [fake_network(SEPARATE)]}) > 0, image > 0)


class Ramp(torch.nn.Module):
    """Scores 0 and image - 1."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), x * 20 - 1], 1)


def test_scores_or_labels_go_back_to_the_images_grid():
    # The grid has two voxels along x, where the network scores 4 and -1. Back on four voxels, a quarter of the way
    # apart: 4, 2.75, 0.25, -1 as scores; as labels the first voxel's half and the second one's.
    image = np.repeat(np.array([5, 5, 0, 0], np.float32), 4).reshape(4, 2, 2)
    networks = {"bs8": [fake_network(ABDOMEN, Ramp(), replace(GRID, spacing_mm=(8, 4, 4)))]}
    whole = replace(ONE, window=WholeVolume())
    assert whole(image, SPACING, networks)[:, 0, 0].tolist() == [1, 1, 1, 0]
    assert replace(whole, resampled="labels")(image, SPACING, networks)[:, 0, 0].tolist() == [1, 1, 0, 0]


def test_rules_clean_the_map_in_order():
    ruled = replace(ONE, postprocessing=(RemoveSmall("liver", 1000),))
    assert not ruled(_image(), SPACING, {"bs8": [fake_network(SEPARATE)]}).any()


def test_a_constant_image_gives_an_empty_map_and_a_warning(caplog):
    networks = {"bs8": [fake_network(ABDOMEN, Constant([0.0, 1.0]))]}
    assert not ONE(np.full((8, 8, 8), -1000, np.float32), SPACING, networks).any()
    assert "constant" in caplog.text


@pytest.mark.parametrize("shape", [(1, 1, 1), (30, 3, 7), (12, 12, 1)])
def test_volumes_smaller_than_a_window_are_predicted(shape):
    image = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    image.flat[0] += 16  # never constant, and no target
    labels = ONE(image, (8.0, 4.0, 4.0), {"bs8": [fake_network(SEPARATE)]})
    assert labels.shape == shape


def test_unknown_words_are_refused():
    networks = {"bs8": [fake_network(SEPARATE)]}
    with pytest.raises(ValueError, match="'logits' or 'probabilities'"):
        replace(ONE, average="mean")(_image(), SPACING, networks)
    with pytest.raises(ValueError, match="'scores' or 'labels'"):
        replace(ONE, resampled="linear")(_image(), SPACING, networks)


@pytest.mark.parametrize("window", [WINDOW, SparseWindow((4, 4, 4)), WholeVolume()], ids=lambda w: type(w).__name__)
def test_the_value_is_stored_and_rebuilt(window):
    full = SlidingEnsemble(("a", "b"), window, "probabilities", BodyBox(-500, 10), "labels", (RemoveSmall("tumor", 5),))
    assert decode(encode(full), PARTS) == full
