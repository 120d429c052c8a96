"""The sparse sliding window: which windows are run, and what it says where none was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_networks import Constant, Sees, fake_network

from flare_core.cases.labels import BY_NAME, SEPARATE, LabelScheme
from flare_core.inference.planes import Held
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.submission import PARTS
from flare_core.recipe import decode, encode
from flare_core.timing import Timings

PAPER = SparseWindow((192, 128, 32))  # the published patch 32 x 128 x 192 (z, y, x)
SMALL = SparseWindow((8, 8, 4), empty_voxels=20, half_empty_voxels=10, edge_voxels=3)
LIVER, AORTA, CAVA = (BY_NAME[name].id for name in ("liver", "aorta", "inferior_vena_cava"))
TUMOR = LabelScheme((("tumor",),))
ORGANS = fake_network(SEPARATE)
MIDDLE = (slice(8, 16), slice(8, 16))  # the central window of SMALL in a volume of 24 x 24 x Z


def _image(size_z=4):
    """An empty volume, three windows wide and deep, in the networks' intensities (see `_paint`)."""
    return np.zeros((24, 24, size_z), np.float32)


def _visit(scheme, network, image):
    """The scores of a volume, and the windows that they come from."""
    return scheme(network, image), scheme.visits(network, Held(image))


def _paint(image, box, target):
    image[box] = target / 20


@pytest.mark.parametrize(
    ("published_zyx", "scheme", "dense"),
    [((68, 333, 333), 36, 60), ((125, 333, 333), 63, 105), ((300, 380, 380), 162, 270)],
)
def test_the_window_counts_of_the_published_code(published_zyx, scheme, dense):
    shape = published_zyx[::-1]
    xs, ys, zs = PAPER.positions(shape)
    assert len(xs) * len(ys) * len(zs) == scheme
    assert sum(map(len, SlidingWindow(PAPER.window, PAPER.overlap).layers(shape))) == dense


def test_positions_leave_out_the_margin_of_a_wide_volume_and_span_a_narrow_one():
    xs, ys, zs = PAPER.positions((333, 333, 68))
    assert xs == [0, 70, 141]  # 333 < 2 x 192: from border to border
    assert ys == [38, 102, 166]  # 333 > 2 x 128: two windows around voxel 166
    assert zs == [0, 12, 24, 36]
    assert PAPER.positions((192, 100, 32)) == ([0], [0], [0])


def test_all_windows_are_run_where_every_one_is_full_of_foreground():
    eighth = SparseWindow((24, 16, 4))  # of the published window, over an eighth of 333 x 333 x 68
    network = fake_network(TUMOR, Constant([0.0, 1.0]))
    scores, visits = _visit(eighth, network, np.zeros((42, 42, 9), np.float32))
    assert (visits.count, visits.scheme, visits.dense) == (36, 36, 60)
    assert len(set(visits.corners)) == 36
    assert np.allclose(scores[1, :, 5:37], 1) and not scores[:, :, :5].any()


def test_an_empty_slab_costs_one_window_and_the_next_slab_nothing():
    scores, visits = _visit(SMALL, ORGANS, _image(size_z=16))  # slabs at 0, 2, ..., 12
    assert [corner[2] for corner in visits.corners] == [0, 4, 8, 12]
    assert not scores.any()


def test_after_a_skipped_slab_the_search_goes_on():
    image = _image(size_z=16)
    _paint(image, (*MIDDLE, slice(6, 10)), LIVER)
    _, visits = _visit(SMALL, ORGANS, image)
    per_slab = {z: [corner[2] for corner in visits.corners].count(z) for z in range(0, 13, 2)}
    # 0 is empty: 2 is skipped; 4, 6 and 8 see the liver; 10 is empty: 12 is skipped
    assert per_slab == {0: 1, 2: 0, 4: 9, 6: 9, 8: 9, 10: 1, 12: 0}


def test_foreground_below_the_limit_is_dropped_with_its_slab():
    image = _image()
    _paint(image, (slice(8, 10), slice(14, 16), slice(0, 4)), LIVER)  # 16 voxels
    scores, visits = _visit(SMALL, ORGANS, image)
    assert visits.count == 1 and not scores.any()
    scores, visits = _visit(replace(SMALL, empty_voxels=16), ORGANS, image)
    assert visits.count == 9 and scores[:, 8, 14, 0].argmax() == LIVER


def test_a_slab_with_nothing_in_front_is_dropped_but_the_next_is_looked_at():
    image = _image(size_z=8)  # slabs at 0, 2, 4
    _paint(image, (slice(8, 16), slice(8, 12), slice(0, 8)), LIVER)  # y 8..11 is behind; the front 60 % are 12..15
    scores, visits = _visit(SMALL, ORGANS, image)
    assert [corner[2] for corner in visits.corners] == [0, 2, 4] and not scores.any()
    assert _visit(replace(SMALL, half_empty_voxels=0), ORGANS, image)[1].count == 27
    in_front = image[:, ::-1]
    assert _visit(SMALL, ORGANS, in_front)[1].count == 27


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (slice(11, 15), {8}),  # within the central window
        (slice(8, 15), {8, 4}),  # reaches its back
        (slice(10, 16), {8, 12}),  # reaches its front
        (slice(8, 16), {8, 4, 12}),
    ],
)
def test_tubes_alone_call_only_for_the_windows_that_they_run_into(y, expected):
    image = _image()
    _paint(image, (slice(10, 13), y, slice(0, 4)), AORTA)
    _paint(image, (slice(13, 14), y, slice(0, 4)), CAVA)
    _, visits = _visit(SMALL, ORGANS, image)
    assert {corner[:2] for corner in visits.corners} == {(8, y) for y in expected}


def test_an_organ_beside_the_tubes_calls_for_all_windows():
    image = _image()
    _paint(image, (slice(10, 14), slice(11, 15), slice(0, 4)), AORTA)
    _paint(image, (10, 11, 0), LIVER)
    assert _visit(SMALL, ORGANS, image)[1].count == 9


def test_which_targets_are_tubes_is_a_field():
    image = _image()
    _paint(image, (slice(10, 14), slice(11, 15), slice(0, 4)), LIVER)
    assert _visit(replace(SMALL, tubes=("liver",)), ORGANS, image)[1].count == 1


def test_a_tumor_network_has_no_tubes_and_limits_of_zero_run_every_window():
    image = _image(size_z=8)
    _paint(image, (slice(9, 12), slice(11, 15), slice(0, 8)), 1)
    tumor = fake_network(TUMOR, Sees(1))
    assert _visit(SMALL, tumor, image)[1].count == 27
    image[:] = 0
    _paint(image, (9, 9, 3), 1)  # a single voxel
    assert not SMALL(tumor, image).argmax(0).any()
    every = replace(SMALL, empty_voxels=0, half_empty_voxels=0)
    scores, visits = _visit(every, tumor, image)
    assert visits.count == visits.scheme == 27
    assert np.argwhere(scores.argmax(0)).tolist() == [[9, 9, 3]]


def test_what_no_window_covers_is_background():
    image = _image(size_z=8)
    _paint(image, (slice(8, 16), slice(8, 16), slice(0, 4)), LIVER)
    _paint(image, (0, 0, slice(0, 8)), LIVER)  # in the margin that is never looked at
    scores = SMALL(ORGANS, image)
    labels = scores.argmax(0)
    assert (labels[8:16, 8:16, :4] == LIVER).all() and labels[0, 0].sum() == 0
    assert not scores[:, 0, 0].any()


def test_where_windows_meet_their_scores_are_averaged():
    image = _image(size_z=6)
    _paint(image, (slice(4, 20), slice(4, 20), slice(0, 6)), LIVER)
    scores = SMALL(ORGANS, image)
    inside = scores[:, 4:20, 4:20]
    assert np.allclose(inside[LIVER], 9, atol=1e-4)
    probabilities = SMALL(ORGANS, image, probabilities=True)[:, 4:20, 4:20]
    assert np.allclose(probabilities.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_batch_changes_nothing(batch):
    image = _image()
    _paint(image, (slice(6, 18), slice(9, 20), slice(0, 4)), LIVER)
    scores, visits = _visit(replace(SMALL, batch=batch), ORGANS, image)
    expected, expected_visits = _visit(SMALL, ORGANS, image)
    assert np.array_equal(scores, expected) and visits == expected_visits


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 20, 3), (20, 5, 4), (8, 8, 1)])
def test_volumes_smaller_than_a_window_are_padded(shape):
    image = np.full(shape, LIVER / 20, np.float32)
    scores, visits = _visit(replace(SMALL, empty_voxels=1, half_empty_voxels=0), ORGANS, image)
    assert scores.shape == (15, *shape) and visits.corners[0][2] <= 0
    covered = scores.any(0)
    assert covered.any() and (scores.argmax(0)[covered] == LIVER).all()


def test_the_value_is_stored_and_rebuilt():
    assert decode(encode(SMALL), PARTS) == SMALL


class Ramp(torch.nn.Module):
    """Says the second channel the more, the further a voxel lies along x in its window: from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        ramp = torch.linspace(0, 1, x.shape[2]).view(1, 1, -1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return torch.cat([torch.zeros_like(ramp), ramp], 1)


def test_mirrored_views_are_averaged_and_each_of_them_is_counted():
    image = np.random.default_rng(0).normal(size=(12, 12, 6)).astype(np.float32)
    scheme = replace(SMALL, empty_voxels=0, half_empty_voxels=0, tubes=())
    network = fake_network(TUMOR, Ramp())
    with Timings().listening() as plain:
        scheme(network, image)
    with Timings().listening() as mirrored:
        scores = replace(scheme, mirror_axes=(0,))(network, image)
    assert np.allclose(scores[1], 0.5, atol=1e-6), "a ramp and its mirror image average to its middle"
    assert mirrored.counts["windows"] == plain.counts["windows"]
    assert mirrored.counts["voxels"] == 2 * plain.counts["voxels"] > 0
