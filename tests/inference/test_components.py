"""Components found in slabs are those of the whole map."""

import tracemalloc

import cc3d
import numpy as np
import pytest

from flare_core.cases.labels import BY_NAME
from flare_core.inference import components as module
from flare_core.inference.components import find_components, parts_with
from flare_core.inference.postprocessing import KeepComponents, KeepLargest, LongestRun, RemoveSmall, SplitPairs

TARGETS = ("liver", "right_kidney", "spleen")
LIVER, RIGHT_KIDNEY, SPLEEN, AORTA = (BY_NAME[name].id for name in (*TARGETS, "aorta"))
RULES = [
    SplitPairs(),
    LongestRun(("liver",)),
    RemoveSmall("spleen", 10**9),
    KeepLargest(TARGETS),
    KeepComponents(TARGETS, 2, 3),
]


@pytest.fixture(params=[1, 3, 32])
def planes(request, monkeypatch):
    monkeypatch.setattr(module, "PLANES", request.param)
    return request.param


def _speckled(filled, shape=(7, 9, 41), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.choice([LIVER, RIGHT_KIDNEY, SPLEEN, AORTA], shape) * (rng.random(shape) < filled)).astype(np.uint8)


def _whole(found):
    """Return the map of a `Components`' numbers."""
    numbers = np.zeros(found.labels.shape, int)
    for box, components in found.slabs():
        numbers[box] = components
    return numbers


def _drawn(*places, target=LIVER):
    labels = np.zeros((5, 1, 8), np.uint8)
    for x, z in places:
        labels[x, 0, z] = target
    return labels


@pytest.mark.parametrize("filled", [0.02, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("order", ["C", "F"])
def test_components_are_those_of_the_whole_map(planes, filled, order):
    labels = np.asarray(_speckled(filled), order=order)
    found = find_components(labels, TARGETS)
    numbers, wanted = _whole(found), np.where(labels == AORTA, 0, labels)
    whole = cc3d.connected_components(wanted, connectivity=26)
    pairs = np.unique(np.stack((numbers.ravel(), whole.ravel())), axis=1)
    assert pairs.shape[1] == whole.max() + 1 == found.voxels.size, "each has one number, and no number two"
    assert (found.owners[numbers] == wanted).all() and found.owners[0] == found.voxels[0] == 0
    assert (np.bincount(numbers.ravel())[1:] == found.voxels[1:]).all()
    largest = int(found.voxels.argmax())
    assert found.centers([largest])[0] == pytest.approx(np.argwhere(numbers == largest).mean(0))


def test_arms_that_meet_in_a_later_slab_are_one_component(planes):
    arms = [(x, z) for x in (0, 4) for z in range(6)] + [(x, 6) for x in range(1, 4)]
    found = find_components(_drawn(*arms), TARGETS)
    assert found.voxels.tolist() == [0, 15] and found.centers([1]).tolist() == [[2.0, 0.0, (2 * 15 + 3 * 6) / 15]]


def test_a_corner_joins_voxels_across_slabs_and_another_target_does_not(planes):
    stairs = _drawn((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))
    assert find_components(stairs, TARGETS).voxels.tolist() == [0, 5]
    stairs[2, 0, 2] = SPLEEN
    found = find_components(stairs, TARGETS)
    assert sorted(zip(found.owners.tolist(), found.voxels.tolist(), strict=True))[1:] == [
        (LIVER, 2),
        (LIVER, 2),
        (SPLEEN, 1),
    ]
    assert find_components(stairs, ("spleen",)).voxels.tolist() == [0, 1]


def test_an_empty_map_has_no_components(planes):
    empty = np.zeros((3, 4, 5), np.uint8)
    found = find_components(empty, TARGETS)
    assert found.voxels.tolist() == [0] and not list(found.slabs()) and not list(parts_with(empty, "liver"))
    assert found.centers([]).shape == (0, 3)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rules_clean_slab_by_slab_as_they_clean_a_whole_map(rule, monkeypatch):
    labels = _speckled(0.3)
    labels[1:4, 2:6, 3:30] = LIVER
    labels[5, 2:6, 10:40] = SPLEEN
    labels[3, 7, 5:38] = AORTA
    labels[..., 33:35] = RIGHT_KIDNEY  # so that the liver has two runs of slices
    whole = rule(labels, (1.0, 1.0, 1.0))
    assert (whole != labels).any()
    monkeypatch.setattr(module, "PLANES", 4)
    assert (rule(labels, (1.0, 1.0, 1.0)) == whole).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_map_of_twenty_times_as_many_slices_takes_no_more_memory(rule):
    peaks = []
    for slices in (64, 1280):
        labels = np.zeros((80, 80, slices), np.uint8, order="F")
        labels[10:70, 10:70] = LIVER
        labels[20:30, 20:30] = labels[60:65, 60:65] = RIGHT_KIDNEY
        labels[30:40, 30:40, ::2] = SPLEEN
        tracemalloc.start()
        rule.clean(labels, (1.0, 1.0, 1.0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 16 * 80 * 80 * (module.PLANES + 1)
