"""The plain metrics against answers derived by hand, against brute force, and against DeepMind's package."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from evaluation import shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flare_core.cases.boxes import bounding_box
from flare_core.evaluation import surface
from flare_core.evaluation.metrics import dsc, label_boxes, nsd
from flare_core.evaluation.surface import area_table, surface_of

ORACLE = json.loads(Path(__file__).with_name("oracle.json").read_text())
SPACINGS = st.sampled_from([(1, 1, 1), (0.8, 0.8, 2.5), (0.6, 1.1, 5.0), (2, 1, 0.5)])
MASKS = arrays(bool, (5, 4, 6))


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], edge: int) -> np.ndarray:
    return shapes.union(shape, [("box", start, tuple(first + edge for first in start))])


def float32_header(spacing: tuple) -> tuple[float, ...]:
    return tuple(float(np.float32(edge)) for edge in spacing)


def test_dsc_of_half_overlapping_bars_is_one_half():
    reference, prediction = np.zeros((6, 1, 1), bool), np.zeros((6, 1, 1), bool)
    reference[0:4], prediction[2:6] = True, True
    assert dsc(reference, prediction) == 2 * 2 / (4 + 4)


def test_dsc_counts_beyond_what_eight_bits_hold():
    reference, prediction = np.ones((20, 20, 20), bool), np.ones((20, 20, 20), bool)
    prediction[10:] = False
    assert dsc(reference, prediction) == 2 * 4000 / 12000


@pytest.mark.parametrize("metric", [dsc, lambda a, b: nsd(a, b, (1, 1, 1), 2)])
def test_empty_masks(metric):
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    assert math.isnan(metric(empty, empty))
    assert metric(empty, full) == metric(full, empty) == 0


def test_surface_area_of_a_cube_is_that_of_its_chamfered_marching_cubes_shell():
    # A cube of n voxels: 6 faces of (n-1)^2 whole elements, 12 edges of n-1 elements cut at 45 degrees (sqrt(1/2)),
    # 8 corners with one triangle each (sqrt(3)/8).
    shell = surface_of(cube((9, 9, 9), (2, 2, 2), 5))
    assert np.bitwise_count(shell.present).sum() == 6 * 16 + 12 * 4 + 8
    assert shell.area_mm2(area_table((1, 1, 1))) == pytest.approx(6 * 16 + 12 * 4 * math.sqrt(0.5) + math.sqrt(3))


def test_surface_area_of_a_flat_plate_follows_the_spacing():
    # A whole face element between two slices has the area of a voxel's face: 0.5 x 3 along X, 2 x 3 along Y, 2 x 0.5.
    areas = area_table((2, 0.5, 3))
    lower_x, lower_y, lower_z = 0b11110000, 0b11001100, 0b10101010
    assert areas[[lower_x, lower_y, lower_z]] == pytest.approx([0.5 * 3, 2 * 3, 2 * 0.5])


def test_inside_and_outside_have_the_same_surface():
    areas = area_table((0.7, 1.3, 2.9))
    assert areas[0] == areas[255] == 0
    assert np.array_equal(areas, areas[::-1])  # code 255 - c is the complement of code c
    assert (areas[1:255] > 0).all()


@pytest.mark.parametrize("edge", [4, 5, 9])
def test_nsd_of_cubes_shifted_by_two_voxels_within_one(edge):
    # Reference shell: planes x = 0..n; prediction: x = 2..n+2. Of the reference's, plane x = 0 is 2 mm away from
    # everything; of plane x = n, the inner (n-3)^2 elements are more than 1 mm from the prediction's side walls.
    n = edge
    plane = (n - 1) ** 2 + 4 * (n - 1) * math.sqrt(0.5) + 4 * math.sqrt(3) / 8
    whole = 6 * (n - 1) ** 2 + 12 * (n - 1) * math.sqrt(0.5) + math.sqrt(3)
    reference, prediction = cube((16, 16, 16), (2, 2, 2), n), cube((16, 16, 16), (4, 2, 2), n)
    assert nsd(reference, prediction, (1, 1, 1), 1) == pytest.approx(1 - (plane + (n - 3) ** 2) / whole)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_tolerance_is_in_mm_along_every_axis(axis):
    spacing = (0.5, 1.0, 3.0)
    reference = cube((24, 24, 24), (6, 6, 6), 6)
    prediction = np.roll(reference, 2, axis)
    assert nsd(reference, prediction, spacing, 2 * spacing[axis]) == 1
    assert nsd(reference, prediction, spacing, 2 * spacing[axis] - 0.01) < 1


def test_float32_headers_decide_ties_as_the_official_code_does():
    # Moved by (3, 4, 0) voxels of float32(0.8) mm, the farthest corners are 4.00000006 mm apart: not within 4 mm.
    # Of float32(0.6) mm a shift by 5 is 3.0000001 mm; of float32(0.7) it is 3.4999999 mm: within 3.5 mm.
    for step, spacing, tolerance, agrees in (
        ((3, 4), 0.8, 4, False),
        ((5, 0), 0.6, 3, False),
        ((5, 0), 0.7, 3.5, True),
    ):
        edge = float(np.float32(spacing))
        reference = cube((24, 24, 9), (4, 4, 2), 1)
        prediction = np.roll(reference, step, (0, 1))
        shell = [nsd(reference, prediction, (edge, edge, 2.5), t) for t in (tolerance, tolerance + 1e-5)]
        assert (shell[0] == 1) is agrees
        assert shell[1] == 1


def test_a_mask_at_the_border_of_the_array_has_its_surface_there():
    inside, at_border = cube((9, 9, 9), (3, 3, 3), 3), cube((3, 3, 3), (0, 0, 0), 3)
    areas = area_table((1, 1, 1))
    assert surface_of(inside).area_mm2(areas) == surface_of(at_border).area_mm2(areas)


@pytest.mark.parametrize("name", shapes.PAIRS)
@pytest.mark.parametrize("is_rough", [False, True])
def test_metrics_equal_deepminds(name, is_rough):
    shape, spacing, first, second, tolerance = shapes.PAIRS[name]
    reference, prediction = shapes.union(shape, first), shapes.union(shape, second)
    if is_rough:
        reference, prediction, tolerance = shapes.rough(reference, 1), shapes.rough(prediction, 2), tolerance / 2
    expected = ORACLE["roughened_half_tolerance" if is_rough else "pairs"][name]
    found = dsc(reference, prediction), nsd(reference, prediction, float32_header(spacing), tolerance)
    assert found == pytest.approx(expected, abs=1e-12)


def neighborhood_codes(mask: np.ndarray) -> np.ndarray:
    """The code of every 2 x 2 x 2 neighborhood, that of voxel (0, 0, 0) being the last of its first."""
    mask = np.pad(mask, 1)
    corners = [mask[x : mask.shape[0] - 1 + x, y : mask.shape[1] - 1 + y, z : mask.shape[2] - 1 + z]
               for x in (0, 1) for y in (0, 1) for z in (0, 1)]  # fmt: skip
    return np.tensordot(128 >> np.arange(8), np.array(corners).astype(int), 1)


def test_the_rough_shapes_show_every_neighborhood():
    codes = set()
    for shape, _, first, _, _ in shapes.PAIRS.values():
        codes |= set(np.unique(neighborhood_codes(shapes.rough(shapes.union(shape, first), 1))).tolist())
    assert codes == set(range(256))


def brute_force_nsd(reference, prediction, spacing, tolerance) -> float:
    """Compare every element with every other one."""
    shells = [neighborhood_codes(mask) for mask in (reference, prediction)]
    places = [np.argwhere((codes > 0) & (codes < 255)) for codes in shells]
    apart = np.sqrt((((places[0][:, None] - places[1][None]) * np.array(spacing)) ** 2).sum(axis=-1))
    near = [(apart <= tolerance).any(axis=1), (apart <= tolerance).any(axis=0)]
    areas = [area_table(spacing)[codes[tuple(where.T)]] for codes, where in zip(shells, places, strict=True)]
    return sum(area[close].sum() for area, close in zip(areas, near, strict=True)) / sum(a.sum() for a in areas)


@settings(max_examples=150, deadline=None)
@given(MASKS, MASKS, SPACINGS, st.sampled_from([0, 0.5, 1, 1.6, 2, 2.5, 3, 5]))
def test_nsd_equals_brute_force(reference, prediction, spacing, tolerance):
    if reference.any() and prediction.any():
        expected = brute_force_nsd(reference, prediction, spacing, tolerance)
        assert nsd(reference, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), SPACINGS, st.sampled_from([0, 1, 2.5, 5, 9]), st.sampled_from("CF"))
def test_nsd_equals_brute_force_over_several_words_and_slabs(seed, spacing, tolerance, order):
    # Rows of 64 neighborhoods and more take several words; few elements in a large grid are far apart, and some of a
    # row's last neighborhoods lie next to the following row's first ones in memory.
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers((1, 1, 60), (24, 12, 140)))
    reference, prediction = (np.asarray(rng.random(shape) < 4 / np.prod(shape), order=order) for _ in range(2))
    reference[0, 0, -1] = prediction[-1, -1, 0] = True
    expected = brute_force_nsd(reference, prediction, spacing, tolerance)
    assert nsd(reference, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-12)
    with pytest.MonkeyPatch.context() as patch:  # a few planes at a time
        patch.setattr(surface, "_SPREAD_BYTES", 0)
        assert nsd(reference, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", shapes.PAIRS)
def test_a_reach_too_long_for_spreading_gives_the_same(name, monkeypatch):
    shape, spacing, first, second, tolerance = shapes.PAIRS[name]
    masks = shapes.rough(shapes.union(shape, first), 1), shapes.rough(shapes.union(shape, second), 2)
    found = nsd(*masks, float32_header(spacing), tolerance / 2)
    monkeypatch.setattr(surface, "LONGEST_REACH", 0)
    assert nsd(*masks, float32_header(spacing), tolerance / 2) == pytest.approx(found, abs=1e-12)


def test_a_spacing_in_the_wrong_unit_costs_no_memory():
    reference, prediction = cube((80, 80, 80), (2, 2, 2), 5), cube((80, 80, 80), (70, 70, 70), 5)
    assert nsd(reference, prediction, (1e-6, 1e-6, 1e-6), 2) == 1
    assert nsd(reference, prediction, (1e6, 1e6, 1e6), 2) == 0


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, SPACINGS)
def test_metrics_are_symmetric_bounded_and_grow_with_the_tolerance(reference, prediction, spacing):
    if not reference.any() and not prediction.any():
        return
    assert dsc(reference, prediction) == dsc(prediction, reference)
    assert 0 <= dsc(reference, prediction) <= 1
    values = [nsd(reference, prediction, spacing, tolerance) for tolerance in (0, 1, 2, 4, 30)]
    assert values == sorted(values)
    assert values[0] >= 0
    assert values[-1] == (1 if reference.any() and prediction.any() else 0)
    assert values[2] == pytest.approx(nsd(prediction, reference, spacing, 2), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(MASKS, SPACINGS)
def test_a_mask_agrees_wholly_with_itself(mask, spacing):
    if mask.any():
        assert dsc(mask, mask) == 1
        assert nsd(mask, mask, spacing, 0) == 1


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS, SPACINGS, st.permutations(range(3)))
def test_nsd_follows_the_axes(reference, prediction, spacing, order):
    if reference.any() and prediction.any():
        turned = [np.asfortranarray(mask.transpose(order)) for mask in (reference, prediction)]
        expected = nsd(reference, prediction, spacing, 1.6)
        assert nsd(*turned, [spacing[axis] for axis in order], 1.6) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 14)), st.sampled_from("CF"))
def test_label_boxes_equal_each_mask_s_own_box(labels, order):
    boxes = label_boxes(np.asarray(labels, order=order))
    assert boxes == {label: bounding_box(labels == label) for label in range(1, 15) if (labels == label).any()}


def test_wrong_input_is_named():
    mask, other = np.ones((3, 3, 3), bool), np.ones((3, 3, 4), bool)
    with pytest.raises(ValueError, match="one grid"):
        dsc(mask, other)
    with pytest.raises(ValueError, match="boolean"):
        nsd(mask.astype(np.int8), mask.astype(np.int8), (1, 1, 1), 1)
    with pytest.raises(ValueError, match="three spacings"):
        nsd(mask, mask, (1, 1), 1)
    with pytest.raises(ValueError, match="positive spacings"):
        nsd(mask, mask, (1, 0, 1), 1)
    for tolerance in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="at least 0"):
            nsd(mask, mask, (1, 1, 1), tolerance)
