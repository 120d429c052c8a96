"""Random files and volumes: nothing crashes, hangs, or is read wrongly in silence, and what must hold always holds.

Each property is tried some dozen times here and some thousand times by `make test-all`, always with the same seeds.
What "read wrongly in silence" means for a file is said in `file_flips`.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dataset_samples import LABELS, add_image
from file_flips import flip_files
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from nifti_samples import nifti, packed
from reliability import recorded

from flare_core.cases.dataset import Dataset
from flare_core.cases.label_analysis import analyze
from flare_core.cases.labels import BY_NAME, MERGED_PAIRS, TARGET_NAMES
from flare_core.cases.nifti import BadInput, read_image, write_labels
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing, resample_labels
from flare_core.evaluation.flare_rules import RULES, official_round, score_case
from flare_core.inference.postprocessing import SplitPairs
from flare_core.inference.stored_network import BadModel, read_network
from flare_core.inference.submission import load_submission
from flare_core.paths import WEIGHTS
from flare_core.training.pseudo_labels import fill_missing

SPACINGS = st.tuples(*[st.floats(0.3, 9)] * 3)
SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)
MAPS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 14)))
PRESENCE = st.sets(st.sampled_from(TARGET_NAMES))


@st.composite
def orientations(draw) -> str:
    """One of the 48 ways to store a volume, such as PSR."""
    order = draw(st.permutations(("RL", "AP", "SI")))
    return "".join(draw(st.sampled_from(pair)) for pair in order)


@given(MAPS, SPACINGS, orientations(), st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 4)]), st.integers(1, 3))
def through_the_grid_and_back(folder, labels, spacing, axes, codes, finer):
    """A network that repeats its input gives the labels back, voxel by voxel, in the image's own geometry."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-31.5, 12.25, 100.5)
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    stored, place = nib.apply_orientation(labels, transform), affine @ inv_ornt_aff(transform, labels.shape)
    (folder / "in.nii.gz").write_bytes(packed(nifti(stored.astype(np.int16) * 50 - 100, place, codes=codes)))
    volume = read_image(folder / "in.nii.gz")
    grid = Preprocessing(tuple(edge / finer for edge in volume.spacing_mm), IntensityWindow(-100, 600))
    shape = grid.grid_shape(volume.data.shape, volume.spacing_mm)
    assert shape == tuple(finer * side for side in labels.shape)
    assert np.isfinite(grid.image_to_grid(volume.data, volume.spacing_mm)).all()
    on_grid = grid.labels_to_grid(np.rint((volume.data + 100) / 50).astype(np.uint8), volume.spacing_mm)
    write_labels(folder / "out.nii.gz", resample_labels(on_grid, volume.data.shape), volume.geometry)
    given_, written = nib.load(folder / "in.nii.gz"), nib.load(folder / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, given_.affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), stored)


@given(SHAPES, SPACINGS, SPACINGS, st.integers(0, 2**32 - 1))
def onto_any_grid(folder, shape, spacing, target, seed):
    """Any grid has a voxel at least and invents neither values nor labels."""
    rng = np.random.default_rng(seed)
    image, labels = rng.normal(0, 300, shape).astype(np.float32), rng.integers(0, 15, shape).astype(np.uint8)
    grid = Preprocessing(target, IntensityWindow(-2000, 2000))
    found, back = grid.image_to_grid(image, spacing), grid.labels_to_grid(labels, spacing)
    assert found.shape == back.shape == grid.grid_shape(shape, spacing) and min(found.shape) >= 1
    window = (image + 2000) / 4000
    assert window.min() - 1e-5 <= found.min() and found.max() <= window.max() + 1e-5
    assert set(np.unique(resample_labels(back, shape))) <= set(np.unique(labels))


@given(MAPS, SPACINGS)
def merged_and_split(folder, labels, spacing):
    """Merging and splitting pairs moves voxels between a pair's two sides and nowhere else."""
    split = SplitPairs()(MERGED_PAIRS.to_targets(MERGED_PAIRS.merge(labels)), spacing)
    for name in TARGET_NAMES:
        target = BY_NAME[name]
        ids = [target.id] + ([BY_NAME[target.partner].id] if target.partner else [])
        assert np.array_equal(np.isin(split, ids), np.isin(labels, ids)), name


@given(st.integers(3, 9), st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def sides_that_the_aorta_divides(folder, half, depth, slices, seed):
    """Pairs that lie on their own sides of the aorta come back exactly, whatever they look like."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((2 * half + 1, depth, slices), np.uint8)
    names = rng.choice(["right_kidney", "right_adrenal_gland", "liver", ""], (half, depth, slices))
    for side, other in ((slice(half + 1, None), False), (slice(half - 1, None, -1), True)):
        for name in ("right_kidney", "right_adrenal_gland", "liver"):
            target = BY_NAME[name]
            own = BY_NAME[target.partner] if other and target.partner else target
            labels[side][names == name] = own.id
    labels[half] = BY_NAME["aorta"].id
    merged = MERGED_PAIRS.to_targets(MERGED_PAIRS.merge(labels))
    np.testing.assert_array_equal(SplitPairs()(merged, (1, 1, 1)), labels)


@given(MAPS, st.integers(0, 2**32 - 1), PRESENCE, PRESENCE)
def gaps_filled(folder, truth, seed, annotated, never):
    """A pseudo-label never changes, adds to or removes what a person drew or looked for."""
    ids = np.array([BY_NAME[name].id for name in sorted(annotated)], np.uint8)
    real = np.where(np.isin(truth, ids), truth, 0).astype(np.uint8)
    predicted = np.random.default_rng(seed).integers(0, 15, truth.shape).astype(np.uint8)
    filled = fill_missing(real, predicted, annotated, never)
    for name in TARGET_NAMES:
        mine, drawn, said = (array == BY_NAME[name].id for array in (filled, real, predicted))
        expected = drawn if name in annotated else np.zeros_like(drawn) if name in never else said & (real == 0)
        assert np.array_equal(mine, expected), name
    taught = MERGED_PAIRS.annotated_channels(annotated)
    for channel, group in enumerate(MERGED_PAIRS.groups, start=1):
        assert taught[channel] == (set(group) <= annotated)


@given(MAPS, st.integers(0, 2**32 - 1), SPACINGS, st.sampled_from(sorted(RULES)), PRESENCE)
def cases_scored(folder, reference, seed, spacing, name, annotated):
    """Scores are bounded, whole for a case compared with itself, and the Dice coefficient is that of sets of voxels."""
    rules, rng = RULES[name], np.random.default_rng(seed)
    changed = rng.random(reference.shape) < rng.random()
    prediction = np.where(changed, rng.integers(0, 15, reference.shape), reference).astype(np.uint8)
    if rules.is_binary:
        reference, prediction = ((one == 14) * np.uint8(14) for one in (reference, prediction))
    for own in score_case(rules, reference, reference, spacing, annotated):
        assert np.isnan(own.dsc) or own.dsc == own.nsd == 1
    scores = score_case(rules, reference, prediction, spacing, annotated)
    turned = score_case(rules, prediction, reference, spacing, annotated)
    for score, other in zip(scores, turned, strict=True):
        target = BY_NAME[score.target]
        for value in (score.dsc, score.nsd):
            assert np.isnan(value) or 0 <= value <= 1
        if rules.has_slice_range and target.is_tubular:
            continue  # the reference's slices count, so the two sides differ
        assert (score.dsc, score.nsd) == pytest.approx((other.dsc, other.nsd), abs=1e-4, nan_ok=True)
        first, second = ({tuple(v) for v in np.argwhere(one == target.id)} for one in (reference, prediction))
        if first or second and not np.isnan(score.dsc):
            expected = official_round(2 * len(first & second) / (len(first) + len(second)))
            assert np.isnan(score.dsc) or score.dsc == expected
    for missing in score_case(rules, reference, None, spacing, annotated):
        assert np.isnan(missing.dsc) or missing.dsc == missing.nsd == 0


PROPERTIES = {
    "volumes in 48 orientations, through the network's grid and back": through_the_grid_and_back,
    "volumes resampled to any grid": onto_any_grid,
    "label maps whose pairs are merged and split": merged_and_split,
    "label maps whose pairs the aorta divides": sides_that_the_aorta_divides,
    "label maps completed by pseudo-labels": gaps_filled,
    "label maps scored under four sets of rules": cases_scored,
}


@pytest.fixture(autouse=True)
def silent():
    """Thousands of warnings about damaged files say nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


def hold(name: str, folder: Path, examples: int) -> None:
    """Try a property on so many examples, always the same ones."""
    fixed = settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    fixed(PROPERTIES[name])(folder)


@pytest.mark.parametrize("name", PROPERTIES)
def test_what_must_hold_holds_on_random_volumes(name, tmp_path):
    hold(name, tmp_path, 40)


def test_a_damaged_file_is_refused_or_read_as_its_bytes_say(tmp_path):
    outcomes = flip_files(200, tmp_path)
    assert sum(outcomes.values()) >= 190
    assert {kind for kind, _ in outcomes} == {"compressed", "uncompressed"}
    assert outcomes["compressed", "refused"] > 20 * outcomes["compressed", "as before"]
    assert {outcome for kind, outcome in outcomes if kind == "compressed"} <= {"refused", "as before"}


class Described:
    """Opens networks as far as their description goes."""

    @staticmethod
    def open(folder: Path):
        return read_network(folder)


def flip_descriptions(count: int, folder: Path, seed: int = 0) -> Counter[tuple[str, str]]:
    """Damage dataset.json, model.json and submission.json; anything but a refusal or a use of what is said fails."""
    add_image(folder / "imagesTr" / "case_1_0000.nii.gz")
    content = {"name": "x", "labels": LABELS, "annotated": {"case_1": ["liver"]}, "group": {"case_1": "a"}}
    model = shutil.copytree(WEIGHTS / "dkfz_bs8", folder / "model")
    uses = {
        folder / "dataset.json": lambda: analyze(Dataset.load(folder)),
        model / "batch8_fold0" / "model.json": lambda: read_network(model / "batch8_fold0"),
        model / "submission.json": lambda: load_submission(model, Described()),
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    whole = {path: path.read_bytes() for path in uses}
    for use in uses.values():
        use()
    rng, outcomes = np.random.default_rng(seed), Counter()
    for trial in range(count):
        path = list(uses)[trial % len(uses)]
        raw = bytearray(whole[path])
        for _ in range(int(rng.integers(1, 4))):
            raw[int(rng.integers(len(raw)))] = rng.choice(list(b'0123456789"{}[],:-.')) if rng.random() < 0.7 else 200
        path.write_bytes(raw)
        try:
            uses[path]()
            outcomes[path.name, "used as it says"] += 1
        except (BadInput, BadModel) as error:
            assert "\n" not in str(error), (trial, error)
            outcomes[path.name, "refused"] += 1
        path.write_bytes(whole[path])
    return outcomes


def test_a_damaged_description_is_refused_in_one_line_or_used_as_it_says(tmp_path):
    outcomes = flip_descriptions(150, tmp_path)
    assert len(outcomes) == 6, "each of the three files was refused and used"


FLIPS, EXAMPLES, DESCRIPTIONS, LONGEST_S = 5000, 1500, 3000, 600


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_what_must_hold_holds_on_thousands_of_random_volumes(name, tmp_path):
    with recorded(name, "make test-all") as row:
        hold(name, tmp_path, EXAMPLES)
        row.update(tried=EXAMPLES, outcome="all as they must be")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["compressed", "uncompressed"])
def test_thousands_of_damaged_files(kind, tmp_path):
    with recorded(f"damaged NIfTI files, {kind}", "make test-all") as row:
        outcomes = flip_files(FLIPS, tmp_path, (kind,), 1, LONGEST_S)
        row.update(tried=outcomes.total(), outcome=f"{in_words(outcomes)}; none read wrongly in silence")


@pytest.mark.slow
def test_thousands_of_damaged_descriptions(tmp_path):
    with recorded("damaged dataset.json, model.json, submission.json", "make test-all") as row:
        outcomes = flip_descriptions(DESCRIPTIONS, tmp_path, 1)
        row.update(tried=outcomes.total(), outcome=in_words(outcomes))


def in_words(outcomes: Counter) -> str:
    """Say how often each outcome was met, the most frequent first."""
    together = Counter()
    for key, number in outcomes.items():
        together[key[1]] += number
    return ", ".join(f"{number} {what}" for what, number in together.most_common())
