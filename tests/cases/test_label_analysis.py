"""Tables of labels against counts made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from dataset_samples import GEOMETRY, add_image, add_index, add_labels
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core.batch import Engine
from flare_core.cases.dataset import Dataset, read_label_map
from flare_core.cases.label_analysis import LabelAnalysis, analyze, stmt_group, with_inferred_annotation
from flare_core.cases.label_counts import voxel_counts
from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES, TARGET_NAMES

KITS = Path(__file__).resolve().parents[3] / "shared" / "data" / "kits19_labels"
ALL_ORGANS = dict.fromkeys(ORGAN_NAMES, 2)


@pytest.fixture
def analysis(tmp_path) -> LabelAnalysis:
    """All organs and tumor; a removed gallbladder; five organs and tumor; tumor; unlabeled; validation."""
    made = {
        "a": {**ALL_ORGANS, "liver": 30, "tumor": 5},
        "b": {name: 1 for name in ORGAN_NAMES if name != "gallbladder"},
        "c": {**dict.fromkeys(FIVE_ORGANS, 3), "tumor": 1},
        "d": {"tumor": 4},
    }
    declared = {"a": TARGET_NAMES, "b": ORGAN_NAMES, "c": (*FIVE_ORGANS, "tumor"), "d": ("tumor",), "e": ()}
    for case in "abcde":
        add_image(tmp_path / f"imagesTr/{case}_0000.nii.gz")
    for case, voxels in made.items():
        add_labels(tmp_path / f"labelsTr/{case}.nii.gz", **voxels)
    add_image(tmp_path / "imagesVal/v_0000.nii.gz")
    add_labels(tmp_path / "labelsVal/v.nii.gz", liver=1)
    add_index(tmp_path, annotated={k: list(v) for k, v in declared.items()}, group={"a": "organs13"})
    return analyze(Dataset.load(tmp_path))


def test_analysis_says_what_is_declared_but_empty_and_refuses_labels_that_lie_elsewhere(tmp_path, caplog):
    for case in "ab":
        add_image(tmp_path / f"imagesTr/{case}_0000.nii.gz")
        add_labels(tmp_path / f"labelsTr/{case}.nii.gz", liver=3)
    add_index(tmp_path, annotated={"a": ["liver", "spleen", "tumor"], "b": ["liver"]})
    moved = tmp_path / "labelsTr/b.nii.gz"
    source = nibabel.load(moved)
    affine = source.affine.copy()
    affine[:3, 3] += 30
    nibabel.save(nibabel.Nifti1Image(np.asarray(source.dataobj), affine), moved)
    analysis = analyze(Dataset.load(tmp_path))
    assert list(analysis.failures) == ["b"] and "mm off" in analysis.failures["b"]
    assert [r.getMessage() for r in caplog.records if "empty" in r.getMessage()] == [
        f"{tmp_path / 'labelsTr/a.nii.gz'}: declared but empty: spleen"
    ], "a patient without a tumor is no alarm"


def test_presence_has_a_row_a_case_and_its_voxels(analysis):
    table = analysis.presence.set_index("case")
    assert list(table.index) == ["a", "b", "c", "d", "e", "v"]
    assert tuple(analysis.presence.columns[:15]) == ("case", *TARGET_NAMES)
    assert table.loc["a", list(TARGET_NAMES)].tolist() == [30] + [2] * 12 + [5]
    assert table.loc["b", ["liver", "gallbladder", "tumor"]].tolist() == [1, 0, 0]
    assert table.loc["e", list(TARGET_NAMES)].tolist() == [0] * 14
    assert table["labeled"].tolist() == [True, True, True, True, False, True]
    assert table["annotated_from"].tolist() == ["declared"] * 4 + ["unlabeled", "inferred"]
    assert table.loc["a", "group"] == "organs13"


def test_presence_has_volumes_and_annotation_flags(analysis):
    table = analysis.presence.set_index("case")
    assert table.loc["a", "voxel_ml"] == pytest.approx(0.01)
    assert table.loc["a", "liver_ml"] == pytest.approx(0.3)
    assert table.loc["e", "liver_ml"] == 0
    assert bool(table.loc["b", "gallbladder_annotated"]) is True  # looked for, not there
    assert bool(table.loc["c", "aorta_annotated"]) is False
    assert table.filter(like="_annotated").loc["e"].sum() == 0
    assert table.filter(regex="_annotated$").loc["v"].sum() == 1


def test_subsets_count_sets_of_annotated_targets(analysis):
    rows = [tuple(row) for row in analysis.subsets.itertuples(index=False)]
    five = "liver, right_kidney, spleen, pancreas, left_kidney, tumor"
    assert rows == [
        ("train", 1, 14, ", ".join(TARGET_NAMES)),
        ("train", 1, 13, ", ".join(ORGAN_NAMES)),
        ("train", 1, 6, five),
        ("train", 1, 1, "tumor"),
        ("train", 1, 0, "unlabeled"),
        ("validation", 1, 1, "liver"),
    ]


def test_groupings_go_by_what_the_files_show_and_by_what_is_annotated(analysis):
    table = analysis.groupings.set_index(["paper", "group"])
    expected = {
        ("stmt", "fully organ-labeled, tumor-labeled"): (1, 1),
        ("stmt", "fully organ-labeled, not tumor-labeled"): (0, 1),  # b: gallbladder annotated, not shown
        ("stmt", "partially organ-labeled, tumor-labeled"): (1, 1),
        ("stmt", "partially organ-labeled, not tumor-labeled"): (1, 0),
        ("stmt", "not organ-labeled, tumor-labeled"): (1, 1),
        ("stmt", "not organ-labeled, not tumor-labeled"): (0, 0),
        ("stmt", "unlabeled"): (1, 1),
        ("efficient_nnunet", "organ teacher"): (1, 2),
        ("efficient_nnunet", "tumor, as printed"): (1, 1),
        ("efficient_nnunet", "tumor, five organs"): (2, 2),
    }
    assert {key: (int(row.cases), int(row.cases_annotated)) for key, row in table.iterrows()} == expected


def test_the_command_needs_no_pandas_which_takes_longer_to_import_than_labels_to_count(analysis, tmp_path):
    code = "import sys; from flare_core import cli; print(cli.main(sys.argv[1:]), 'pandas' in sys.modules)"
    out = tmp_path.with_name(f"{tmp_path.name}_out")
    command = [sys.executable, "-c", code, "analyze", tmp_path, "-o", out]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "0 False" and (out / "presence.csv").is_file()


def test_tables_are_written_and_read_back(analysis, tmp_path):
    analysis.save(tmp_path / "out" / "deep")
    presence = pd.read_csv(tmp_path / "out/deep/presence.csv")
    assert presence["liver"].tolist() == [30, 1, 3, 0, 0, 1]
    for name in ("presence", "subsets", "groupings"):
        as_pandas = getattr(analysis, name).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        assert (tmp_path / f"out/deep/{name}.csv").read_text() == as_pandas
    assert pd.read_csv(tmp_path / "out/deep/subsets.csv")["cases"].sum() == 6
    assert pd.read_csv(tmp_path / "out/deep/groupings.csv").columns[0] == "paper"


def test_a_bad_file_does_not_stop_the_others(tmp_path):
    add_labels(tmp_path / "good.nii.gz", liver=2)
    add_labels(tmp_path / "strange.nii.gz", v15=2)
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:-9])
    (tmp_path / "bad name.nii.gz").write_bytes(b"")
    found = analyze(Dataset.load(tmp_path))
    assert found.presence["case"].tolist() == ["good"]
    assert sorted(found.failures) == ["bad name.nii.gz", "cut", "strange"]
    assert "found 15 (2 voxels)" in found.failures["strange"]


def test_a_folder_of_unlabeled_cases_has_tables_too(tmp_path):
    add_image(tmp_path / "imagesTr/a_0000.nii.gz")
    found = analyze(Dataset.load(tmp_path))
    assert found.presence["case"].tolist() == ["a"]
    assert found.subsets[["cases", "targets"]].values.tolist() == [[1, "unlabeled"]]


def test_a_value_for_either_kidney_gets_a_column_of_its_own(tmp_path):
    add_labels(tmp_path / "data/case.nii.gz", v1=6, v2=2)
    (tmp_path / "map.json").write_text(json.dumps({"1": ["right_kidney", "left_kidney"], "2": "tumor"}))
    found = analyze(Dataset.load(tmp_path / "data", read_label_map(tmp_path / "map.json")))
    row = found.presence.iloc[0]
    assert row["right_kidney+left_kidney"] == 6
    assert row["right_kidney+left_kidney_ml"] == pytest.approx(0.06)
    assert pd.isna(row["right_kidney"]) and pd.isna(row["left_kidney_ml"])
    assert row["tumor"] == 2
    assert row["right_kidney_annotated"] and row["left_kidney_annotated"] and not row["liver_annotated"]
    assert found.subsets["targets"].tolist() == ["right_kidney, left_kidney, tumor"]


def test_values_are_united_under_one_name(tmp_path):
    add_labels(tmp_path / "data/case.nii.gz", v3=6, v4=2)
    (tmp_path / "map.json").write_text(json.dumps({"3": "tumor", "4": "lesion"}))
    found = analyze(Dataset.load(tmp_path / "data", read_label_map(tmp_path / "map.json")))
    assert found.presence["tumor"].tolist() == [8]


def test_annotation_can_be_inferred_for_a_whole_dataset(tmp_path):
    add_image(tmp_path / "imagesTr/a_0000.nii.gz")
    add_image(tmp_path / "imagesTr/b_0000.nii.gz")
    add_labels(tmp_path / "labelsTr/a.nii.gz", liver=2, tumor=1)
    found = with_inferred_annotation(Dataset.load(tmp_path))
    assert [entry.annotated for entry in found.entries] == [{"liver", "tumor"}, frozenset()]


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (TARGET_NAMES, "fully organ-labeled, tumor-labeled"),
        (ORGAN_NAMES, "fully organ-labeled, not tumor-labeled"),
        (ORGAN_NAMES[1:], "partially organ-labeled, not tumor-labeled"),
        (("tumor",), "not organ-labeled, tumor-labeled"),
        ((), "not organ-labeled, not tumor-labeled"),
    ],
)
def test_stmt_groups(names, group):
    assert stmt_group(names) == group
    assert stmt_group(names, is_labeled=False) == "unlabeled"


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    filled=st.floats(0, 1),
    order=st.sampled_from(["C", "F"]),
    seed=st.integers(0, 99),
)
def test_counts_equal_bincount(shape, filled, order, seed):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < filled, rng.integers(0, 15, shape), 0).astype(np.uint8, order=order)
    np.testing.assert_array_equal(voxel_counts(labels), np.bincount(labels.ravel(), minlength=15))


def test_counts_of_nothing_and_of_what_is_no_target():
    assert voxel_counts(np.zeros((0, 3, 3), np.uint8)).tolist() == [0] * 15
    with pytest.raises(ValueError, match="target ids 0 to 14, got 15"):
        voxel_counts(np.full((30, 30, 30), 15, np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        voxel_counts(np.zeros((2, 2, 2), np.int16))


def test_voxel_volume_follows_the_spacing():
    assert GEOMETRY.voxel_ml == pytest.approx(0.01)


@pytest.mark.skipif(not KITS.is_dir(), reason="real label maps lie beside the project on some machines only")
def test_real_kidney_labels_have_the_volumes_of_kidneys(tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"1": ["right_kidney", "left_kidney"], "2": "tumor"}))
    found = analyze(Dataset.load(KITS, read_label_map(tmp_path / "map.json")))
    assert found.failures == {}
    assert analyze(
        Dataset.load(KITS, read_label_map(tmp_path / "map.json")), engine=Engine("threads", 2)
    ).presence.equals(found.presence)
    table = found.presence.set_index("case")
    assert len(table) == 6
    assert table.loc["case_00003", "right_kidney+left_kidney"] == 537300  # counted with nibabel and numpy.bincount
    assert table.loc["case_00003", "tumor"] == 13972
    assert table["right_kidney+left_kidney_ml"].between(150, 700).all()
