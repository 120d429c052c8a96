"""Organs and tumors from networks of their own."""

from dataclasses import replace

import numpy as np
from fake_networks import GRID, SPACING, Sees, fake_network

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, LabelScheme
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.postprocessing import RemoveSmall
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.submission import PARTS
from flare_core.recipe import decode, encode

ORGANS = LabelScheme(tuple((name,) for name in ORGAN_NAMES))
TUMOR_ONLY = LabelScheme((("tumor",),))
BOTH = MergedNetworks(
    organs=SlidingEnsemble(
        ("organs",), SparseWindow((8, 8, 4), empty_voxels=4, half_empty_voxels=0), resampled="labels"
    ),
    tumor=SlidingEnsemble(("tumor",), SlidingWindow((4, 4, 4), 0.5), resampled="labels"),
)
LIVER, SPLEEN, TUMOR = (BY_NAME[name].id for name in ("liver", "spleen", "tumor"))


def _image():
    """A liver and a spleen with a tumor (value 14) that lies in the liver and beside it."""
    image = np.zeros((16, 12, 8), np.float32)
    image[2:6, 4:8, 2:6] = LIVER
    image[10:14, 4:8, 2:6] = SPLEEN
    image[4:8, 4:8, 4:6] = TUMOR
    return image


def _networks():
    return {"organs": [fake_network(ORGANS)], "tumor": [fake_network(TUMOR_ONLY, Sees(TUMOR))]}


def test_the_tumor_lies_over_the_organs_and_beside_them():
    labels = BOTH(_image(), SPACING, _networks())
    assert labels.dtype == np.uint8 and np.array_equal(labels, _image().astype(np.uint8))
    also_liver = _networks() | {"tumor": [fake_network(TUMOR_ONLY, Sees(LIVER))]}
    labels = BOTH(_image(), SPACING, also_liver)
    assert (labels[2:4, 4:8, 2:6] == TUMOR).all() and (labels[10:14, 4:8, 2:6] == SPLEEN).all()


def test_each_network_may_have_its_own_grid():
    networks = _networks()
    coarse = replace(GRID, spacing_mm=(8.0, 8.0, 8.0))
    networks["tumor"] = [fake_network(TUMOR_ONLY, Sees(TUMOR), coarse)]
    assert np.array_equal(BOTH(_image(), SPACING, networks), _image().astype(np.uint8))


def test_without_a_tumor_or_without_organs_the_other_one_remains():
    image = _image()
    image[image == TUMOR] = LIVER
    assert np.array_equal(BOTH(image, SPACING, _networks()), image.astype(np.uint8))
    image = np.where(_image() == TUMOR, _image(), 0)
    assert np.array_equal(BOTH(image, SPACING, _networks()), image.astype(np.uint8))


def test_rules_clean_the_merged_map():
    ruled = replace(BOTH, postprocessing=(RemoveSmall("tumor", 1000),))
    labels = ruled(_image(), SPACING, _networks())
    assert set(np.unique(labels)) == {0, LIVER, SPLEEN}


def test_a_constant_image_gives_an_empty_map(caplog):
    assert not BOTH(np.full((8, 8, 8), -1000, np.float32), SPACING, _networks()).any()
    assert "constant" in caplog.text


def test_it_names_the_stages_of_both_once():
    assert BOTH.stages == ("organs", "tumor")
    assert replace(BOTH, tumor=BOTH.organs).stages == ("organs",)


def test_the_value_is_stored_and_rebuilt():
    assert decode(encode(BOTH), PARTS) == BOTH
