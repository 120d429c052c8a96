"""What an inference tells about a case is what it does: its last step is its result, its windows are those it ran."""

from dataclasses import replace

import numpy as np
import pytest
from fake_networks import SPACING, Sees, fake_network

from flare_core.cases.labels import ABDOMEN, BY_NAME, SEPARATE, TARGET_NAMES, LabelScheme
from flare_core.cases.regions import BodyBox
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.postprocessing import KeepLargest, RemoveSmall
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.trace import Step
from flare_core.inference.two_stage import TwoStage
from flare_core.inference.whole_volume import WholeVolume

LIVER, TUMOR = BY_NAME["liver"].id, BY_NAME["tumor"].id
WINDOW, TUMOR_ONLY = SlidingWindow((4, 4, 4)), LabelScheme((("tumor",),))
RULES = (RemoveSmall("tumor", 3), KeepLargest(("liver",)))
BODY = BodyBox(threshold_hu=-500)
SLIDING = SlidingEnsemble(("all",), WINDOW, postprocessing=RULES)
INFERENCES = {
    "region": RegionEnsemble("box", "all", WINDOW, WINDOW, (0, 1), 4.0, False, "logits", RULES),
    "sliding": SLIDING,
    "body": replace(SLIDING, region=BODY),
    "merged": MergedNetworks(SLIDING, SlidingEnsemble(("tumor",), WINDOW), (RULES[0],)),
    "two_stage": TwoStage("box", "all", "tumor", (4.0, 4.0, 4.0), BODY, (RULES[1],)),
}
STEPS = {
    "region": ["networks", "RemoveSmall", "KeepLargest"],
    "sliding": ["networks", "RemoveSmall", "KeepLargest"],
    "body": ["networks", "RemoveSmall", "KeepLargest"],
    "merged": [
        *("organs: networks", "organs: RemoveSmall", "organs: KeepLargest"),
        *("tumor: networks", "tumor over organs", "RemoveSmall"),
    ],
    "two_stage": ["organs: networks", "organs: KeepLargest", "tumor: networks", "tumor over organs"],
}
REGIONS = {"region": ["located region"], "body": ["body"], "two_stage": ["located region"]}
each = pytest.mark.parametrize("name", INFERENCES)


def _image():
    """A large and a small liver and a tumor of two voxels in a body of 0 in air."""
    image = np.full((16, 12, 12), -1000, np.float32)
    image[2:14, 2:10, :] = 0
    image[4:8, 4:8, 4:8] = image[11, 4, 4] = LIVER
    image[9, 6, 5:7] = TUMOR
    return image


def _case():
    networks = {
        "box": [fake_network(ABDOMEN, Sees(LIVER))],
        "all": [fake_network(SEPARATE)],
        "tumor": [fake_network(TUMOR_ONLY, Sees(TUMOR))],
    }
    return _image(), SPACING, networks


@each
def test_the_steps_have_names_and_the_last_one_is_the_result(name):
    steps = list(INFERENCES[name].steps(*_case()))
    assert [step.name for step in steps] == STEPS[name]
    assert np.array_equal(steps[-1].labels, INFERENCES[name](*_case()))
    assert steps[-1].spacing_mm == SPACING


@each
def test_a_step_shows_what_its_rule_took_away(name):
    steps = {step.name: step.labels for step in INFERENCES[name].steps(*_case())}
    before, after = (s for s in steps if s.endswith(("networks", "KeepLargest")) and not s.startswith("tumor"))
    assert (steps[before] == LIVER).sum() == (steps[after] == LIVER).sum() + 1


@each
def test_regions_are_named_boxes_or_nothing(name):
    regions = INFERENCES[name].regions(*_case())
    assert list(regions) == REGIONS.get(name, [])
    for box in regions.values():
        assert len(box) == 3 and (_image()[box] == LIVER).sum() == 4**3 + 1
        assert box != tuple(slice(0, size) for size in _image().shape)


@each
def test_windows_lie_on_a_grid_over_the_part_that_is_looked_at(name):
    image, spacing_mm, networks = _case()
    for record in INFERENCES[name].windows(image, spacing_mm, networks):
        extent_mm = [size * side for size, side in zip(image[record.box].shape, spacing_mm, strict=True)]
        assert [n * side for n, side in zip(record.shape, record.spacing_mm, strict=True)] == pytest.approx(extent_mm)
        covered = np.zeros(record.shape, bool)
        for corner in record.visits.corners:
            covered[tuple(slice(max(0, c), c + w) for c, w in zip(corner, record.visits.window, strict=True))] = True
        assert covered.all()
        assert record.facts()["windows run"] == len(record.visits.corners) == record.visits.dense


def test_every_window_that_is_run_is_recorded():
    for name, inference in INFERENCES.items():
        *case, networks = _case()
        inference(*case, networks)
        run = {stage: members[0].module.windows for stage, members in networks.items()}
        told = {stage: r.visits.count for r in inference.windows(*case, networks) for stage in r.stages}
        assert {stage: run[stage] for stage in told} == told, name


def test_a_window_that_is_larger_than_the_volume_begins_before_it():
    inference = replace(SLIDING, window=SlidingWindow((20, 4, 4)))
    (record,) = inference.windows(*_case())
    assert {corner[0] for corner in record.visits.corners} == {-2}  # 16 voxels in a window of 20


def test_a_sparse_scheme_says_what_it_left_out():
    inference = replace(SLIDING, window=SparseWindow((4, 4, 4), overlap=0.0, empty_voxels=1000))
    (record,) = inference.windows(*_case())
    assert record.facts()["windows run"] == 2 < record.facts()["all windows"] == 4 * 3 * 3  # slabs 0 and 2, empty


def test_a_whole_volume_is_one_window_padded_to_the_stride():
    (record,) = replace(SLIDING, window=WholeVolume()).windows(_image()[:13], SPACING, _case()[2])
    assert (record.visits.window, record.visits.corners) == ((14, 12, 12), ((0, 0, 0),))


@each
def test_a_constant_image_has_an_empty_last_step(name, caplog):
    *_, networks = _case()
    air = np.full((8, 8, 8), -1000, np.float32)
    assert not list(INFERENCES[name].steps(air, SPACING, networks))[-1].labels.any()


def test_volumes_are_in_ml_and_complete():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0] = LIVER
    volumes = Step("a", labels, (5.0, 5.0, 10.0)).volumes_ml()
    assert list(volumes) == list(TARGET_NAMES)
    assert (volumes["liver"], volumes["tumor"]) == (16 * 0.25, 0)
