"""Real labels win; only what nobody annotated is filled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core.cases.dataset import Dataset, Entry
from flare_core.cases.labels import BY_NAME, FIVE_ORGANS, TARGET_NAMES
from flare_core.cases.nifti import Geometry, read_labels, write_image, write_labels
from flare_core.training.pseudo_labels import fill_missing, write_pseudo_labels

LIVER, SPLEEN, AORTA, TUMOR = (BY_NAME[name].id for name in ("liver", "spleen", "aorta", "tumor"))


def test_every_rule_on_one_line_of_voxels():
    #                 real liver  pred liver  pred aorta  real over pred  pred tumor  nothing
    real = np.array([LIVER, 0, 0, SPLEEN, 0, 0], np.uint8)
    predicted = np.array([0, LIVER, AORTA, AORTA, TUMOR, 0], np.uint8)
    filled = fill_missing(real, predicted, annotated=FIVE_ORGANS, never=("tumor",))
    assert filled.tolist() == [LIVER, 0, AORTA, SPLEEN, 0, 0]


def test_an_unlabeled_case_takes_the_whole_prediction_but_what_is_never_filled():
    predicted = np.array([LIVER, TUMOR, 0], np.uint8)
    assert fill_missing(None, predicted, annotated=()).tolist() == [LIVER, TUMOR, 0]
    assert fill_missing(None, predicted, annotated=(), never=("tumor",)).tolist() == [LIVER, 0, 0]


def test_maps_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="use the same grid"):
        fill_missing(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), ())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=st.sets(st.sampled_from(TARGET_NAMES)),
    never=st.sets(st.sampled_from(TARGET_NAMES)),
)
def test_properties_of_filling(seed, annotated, never):
    rng = np.random.default_rng(seed)
    known = np.array([0, *(BY_NAME[name].id for name in sorted(annotated))], np.uint8)
    real = rng.choice(known, (4, 4, 4))
    predicted = rng.integers(0, 15, (4, 4, 4)).astype(np.uint8)
    filled = fill_missing(real, predicted, annotated, never)
    assert np.array_equal(filled[real > 0], real[real > 0])  # real labels win
    for name in annotated:  # an annotated target is exactly where the person drew it
        assert np.array_equal(filled == BY_NAME[name].id, real == BY_NAME[name].id)
    for name in never - annotated:
        assert not (filled == BY_NAME[name].id).any()
    assert np.array_equal(fill_missing(filled, predicted, annotated, never), filled)  # filling twice changes nothing


@pytest.fixture
def entries(tmp_path):
    """One case with five organs annotated, one complete, one whose image is missing."""
    geometry = Geometry.from_spacing((4, 4, 4), (4, 4, 4))
    image = np.zeros((4, 4, 4), np.float32)
    image[1] = 50
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = LIVER
    made = []
    for name, annotated in (("part", FIVE_ORGANS), ("whole", TARGET_NAMES), ("lost", FIVE_ORGANS)):
        files = tmp_path / f"{name}_0000.nii.gz", tmp_path / f"{name}.nii.gz"
        write_image(files[0], image, geometry)
        write_labels(files[1], labels, geometry)
        made.append(Entry(name, "train", *files, annotated=frozenset(annotated)))
    (tmp_path / "lost_0000.nii.gz").write_bytes(b"")
    return made


def test_cases_are_filled_with_provenance_and_a_bad_one_does_not_stop_the_others(entries, tmp_path):
    asked = []

    def teacher(image_hu, spacing_mm):
        asked.append(image_hu.shape)
        return np.full(image_hu.shape, AORTA, np.uint8)

    out = tmp_path / "out"
    report = write_pseudo_labels(entries, teacher, out, never=("tumor",), teacher="t1")
    assert set(report.results) == {"part", "whole"} and list(report.failures) == ["lost"]
    assert len(asked) == 1  # the complete case needs no teacher
    filled = read_labels(out / "labelsTr" / "part.nii.gz").data
    assert filled[0, 0, 0] == LIVER and (filled == AORTA).sum() == 63
    table = pd.read_csv(out / "provenance.csv").set_index(["case", "target"])
    assert table.loc[("part", "aorta"), "source"] == "pseudo" and table.loc[("part", "aorta"), "voxels"] == 63
    assert table.loc[("part", "liver"), "source"] == "real" and table.loc[("part", "tumor"), "source"] == "none"
    assert set(table.loc["whole", "source"]) == {"real"}

    write_pseudo_labels(entries, teacher, out, never=("tumor",), teacher="t1")
    assert len(asked) == 1  # the same teacher is not asked again
    write_pseudo_labels(entries, teacher, out, never=("tumor",), teacher="t2")
    assert len(asked) == 2


def test_a_dataset_of_nothing_gives_an_empty_report(tmp_path):
    assert write_pseudo_labels([], None, tmp_path, never=(), teacher="t").found == 0
    assert Dataset.folds([], 5) == ((),) * 5
