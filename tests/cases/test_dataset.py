"""A folder becomes a list of cases: every known layout, every mistake in dataset.json, folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_samples import LABELS, add_image, add_index, add_labels

from flare_core.cases.dataset import Dataset, Entry, read_label_map
from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES
from flare_core.cases.nifti import BadInput


def cohort(root: Path) -> Path:
    """Our own layout: two labeled cases, one unlabeled, one for validation."""
    for case in ("FLARE_1", "FLARE_2", "FLARE_3"):
        add_image(root / f"imagesTr/{case}_0000.nii.gz")
        add_labels(root / f"labelsTrTrue/{case}.nii.gz", liver=20, spleen=9)
    add_labels(root / "labelsTr/FLARE_1.nii.gz", liver=20, spleen=9)
    add_labels(root / "labelsTr/FLARE_2.nii.gz", liver=20)
    add_image(root / "imagesVal/FLARE_9_0000.nii.gz")
    add_labels(root / "labelsVal/FLARE_9.nii.gz", liver=20)
    annotated = {"FLARE_1": [*ORGAN_NAMES, "tumor"], "FLARE_2": list(FIVE_ORGANS), "FLARE_3": []}
    add_index(root, annotated=annotated, group={"FLARE_1": "organs13", "FLARE_3": "unlabeled"})
    return root


def test_our_cohort_loads(tmp_path):
    dataset = Dataset.load(cohort(tmp_path))
    assert dataset.name == "by hand"
    assert [entry.id for entry in dataset.training] == ["FLARE_1", "FLARE_2", "FLARE_3"]
    assert [entry.id for entry in dataset.validation] == ["FLARE_9"]
    first, second, third = dataset.training
    assert first.annotated == {*ORGAN_NAMES, "tumor"}
    assert second.annotated == set(FIVE_ORGANS)
    assert (third.labels, third.annotated, third.is_labeled) == (None, frozenset(), False)
    assert (first.group, second.group, third.group) == ("organs13", None, "unlabeled")
    assert third.truth == tmp_path / "labelsTrTrue/FLARE_3.nii.gz"
    assert dataset.validation[0].annotated is None
    assert any("inferred" in line for line in dataset.warnings)


def test_c2_42_declared_and_inferred_annotation_are_told_apart_when_a_case_is_read(tmp_path):
    dataset = Dataset.load(cohort(tmp_path))
    declared = dataset.training[1].load()
    assert (declared.annotated, declared.annotated_from) == (frozenset(FIVE_ORGANS), "declared")
    assert declared.warnings == ("labels: declared but empty: right_kidney, spleen, pancreas, left_kidney",)
    inferred = dataset.validation[0].load()
    assert (inferred.annotated, inferred.annotated_from) == ({"liver"}, "inferred")
    unlabeled = dataset.training[2].load()
    assert (unlabeled.annotated, unlabeled.annotated_from, unlabeled.labels) == (frozenset(), "unlabeled", None)
    assert unlabeled.image.data.max() == 50


def test_a_target_that_the_table_does_not_name_is_a_warning(tmp_path):
    cohort(tmp_path)
    add_index(tmp_path, annotated={"FLARE_1": ["liver"]})
    (case,) = (entry.load() for entry in Dataset.load(tmp_path).training if entry.id == "FLARE_1")
    assert "labels: present but not declared as annotated: spleen" in case.warnings


def test_labels_off_the_image_grid_are_refused(tmp_path):
    cohort(tmp_path)
    path = tmp_path / "labelsTr/FLARE_1.nii.gz"
    import nibabel as nib

    image = nib.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), moved), path)
    with pytest.raises(BadInput, match="3 mm off"):
        Dataset.load(tmp_path).training[0].load()


@pytest.mark.parametrize("unlabeled", ["unlabeledTr1800", "unlabelTr1800"])
@pytest.mark.parametrize("inside", ["", "FLARE23"])
def test_the_flare23_release_loads_by_its_names(tmp_path, unlabeled, inside):
    root = tmp_path / inside
    add_image(root / "imagesTr2200/FLARE23_0001_0000.nii.gz")
    add_labels(root / "labelsTr2200/FLARE23_0001.nii.gz", liver=7)
    add_image(root / unlabeled / "FLARE23_2201_0000.nii.gz")
    add_image(root / "validation/FLARE23Ts_0001_0000.nii.gz")
    add_labels(root / "val-gt-50cases-for-sanity-check/FLARE23Ts_0001.nii.gz", liver=7)
    dataset = Dataset.load(tmp_path)
    assert [(e.id, e.is_labeled) for e in dataset.training] == [("FLARE23_0001", True), ("FLARE23_2201", False)]
    assert [(e.id, e.is_labeled) for e in dataset.validation] == [("FLARE23Ts_0001", True)]
    assert dataset.training[0].annotated is None
    assert dataset.training[0].load().annotated == {"liver"}


def test_corrected_labels_in_a_dated_subfolder_replace_those_beside_it(tmp_path, caplog):
    for case in ("A", "B"):
        add_image(tmp_path / f"imagesTr2200/{case}_0000.nii.gz")
        add_labels(tmp_path / f"labelsTr2200/{case}.nii.gz", liver=7)
    add_labels(tmp_path / "labelsTr2200/20230507-fix/B.nii.gz", liver=8)
    dataset = Dataset.load(tmp_path)
    assert dataset.training[0].labels == tmp_path / "labelsTr2200/A.nii.gz"
    assert dataset.training[1].labels == tmp_path / "labelsTr2200/20230507-fix/B.nii.gz"
    assert "1 files taken from 20230507-fix (1 replace others)" in caplog.text


def test_a_release_whose_files_all_lie_in_dated_subfolders_loads(tmp_path):
    add_image(tmp_path / "imagesTr2200/2023-04-01/A_0000.nii.gz")
    add_labels(tmp_path / "labelsTr2200/20230401/A.nii.gz", liver=7)
    assert [e.is_labeled for e in Dataset.load(tmp_path).training] == [True]


@pytest.mark.parametrize("version", [1, 2])
def test_an_nnunet_raw_folder_loads_with_its_own_numbers(tmp_path, version):
    add_image(tmp_path / "imagesTr/case_1_0000.nii.gz")
    add_labels(tmp_path / "labelsTr/case_1.nii.gz", v1=4, v2=3)
    names = {"background": 0, "Spleen": 1, "Inferior vena cava (IVC)": 2}
    labels = names if version == 2 else {str(value): name for name, value in names.items()}
    (tmp_path / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"})
    )
    dataset = Dataset.load(tmp_path)
    case = dataset.training[0].load()
    assert dataset.name == tmp_path.name
    assert case.annotated == {"spleen", "inferior_vena_cava"}
    assert np.bincount(case.labels.data.ravel())[[3, 6]].tolist() == [4, 3]


def test_a_plain_folder_of_labels_loads(tmp_path):
    add_labels(tmp_path / "case_00003.nii.gz", liver=2)
    dataset = Dataset.load(tmp_path)
    assert [(e.id, e.image) for e in dataset.entries] == [("case_00003", None)]
    assert dataset.training == ()
    assert dataset.entries[0].load().image is None


def test_a_plain_folder_of_images_loads_as_unlabeled_cases(tmp_path):
    add_image(tmp_path / "a_0000.nii.gz")
    assert [(e.id, e.is_labeled) for e in Dataset.load(tmp_path).training] == [("a", False)]


def test_a_label_file_whose_number_looks_like_a_channel_finds_its_image(tmp_path):
    add_image(tmp_path / "imagesTr/FLARE23_0000_0000.nii.gz")
    add_labels(tmp_path / "labelsTr/FLARE23_0000.nii.gz", liver=2)
    assert [(e.id, e.is_labeled) for e in Dataset.load(tmp_path).entries] == [("FLARE23_0000", True)]


@pytest.mark.parametrize("pair", [("a.nii", "a.nii.gz"), ("a.nii.gz", "a_0000.nii.gz"), ("a.nii.gz", "A_0000.nii.gz")])
def test_c2_45_two_files_for_one_case_are_refused_before_anything_starts(tmp_path, pair):
    for name in pair:
        add_image(tmp_path / "imagesTr" / name)
    with pytest.raises(BadInput, match="one file a case, found .*nii.* and .*nii"):
        Dataset.load(tmp_path)


def test_c2_45_the_same_case_in_training_and_validation_is_refused(tmp_path):
    add_image(tmp_path / "imagesTr/a_0000.nii.gz")
    add_image(tmp_path / "imagesVal/A_0000.nii.gz")
    with pytest.raises(BadInput, match="each case once"):
        Dataset.load(tmp_path)


def test_c2_46_a_file_with_an_unsafe_name_is_left_out_and_named(tmp_path, caplog):
    add_image(tmp_path / "imagesTr/good_0000.nii.gz")
    add_image(tmp_path / "imagesTr/-rf_0000.nii.gz")
    dataset = Dataset.load(tmp_path)
    assert [e.id for e in dataset.entries] == ["good"]
    assert [name for name, _ in dataset.rejected] == ["-rf_0000.nii.gz"]
    assert "expected a case name" in caplog.text


def test_hidden_and_other_files_are_no_cases(tmp_path):
    add_image(tmp_path / "imagesTr/good_0000.nii.gz")
    (tmp_path / "imagesTr/.good_0000.nii.gz.tmp-12").write_bytes(b"")
    (tmp_path / "imagesTr/._good_0000.nii.gz").write_bytes(b"")
    (tmp_path / "imagesTr/readme.txt").write_text("hello")
    assert [e.id for e in Dataset.load(tmp_path).entries] == ["good"]


def test_a_folder_without_cases_says_what_was_searched(tmp_path):
    with pytest.raises(BadInput, match="one of imagesTr, imagesTr2200, .*found none"):
        Dataset.load(tmp_path)
    with pytest.raises(BadInput, match="expected a dataset folder"):
        Dataset.load(tmp_path / "absent")


def test_two_datasets_side_by_side_are_not_guessed_between(tmp_path):
    for name in ("one", "two"):
        add_image(tmp_path / name / "imagesTr/a_0000.nii.gz")
    with pytest.raises(BadInput, match="expected one dataset, found one, two"):
        Dataset.load(tmp_path)


def test_cases_of_the_table_without_files_are_reported(tmp_path):
    cohort(tmp_path)
    add_index(tmp_path, annotated={"FLARE_1": ["liver"], "FLARE_3": ["liver"], "FLARE_77": []})
    (tmp_path / "imagesTr/FLARE_2_0000.nii.gz").unlink()
    warnings = Dataset.load(tmp_path).warnings
    assert "1 cases of dataset.json have no file: FLARE_77" in warnings
    assert "1 cases declared as annotated have no label file: FLARE_3" in warnings
    assert "1 label files have no image: FLARE_2" in warnings


GOOD = {"name": "x", "labels": LABELS, "annotated": {"a": ["liver"]}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", r"\$\.labels: missing"),
        ("[]", r"\$: expected an object, found \[\]"),
        ("", r"\$: no JSON"),
        ("{'name': 1}", r"\$: no JSON .*line 1, column 2"),
        ("\ufeff" + json.dumps(GOOD), r"\$: found a byte order mark"),
        ('{"labels": {"liver": 1, "liver": 2}}', r"\$\.labels\.liver: found this key twice"),
        ('{"labels": {}, "annotated": {"a": ["liver"], "a": []}}', r"\$\.annotated\.a: found this key twice"),
        ('{"labels": {"liver": NaN}}', r"\$\.labels\.liver: found NaN"),
        ('{"labels": {"liver": 1}, "traits": {"a": [1, -Infinity]}}', r"\$\.traits\.a\[1\]: found -Infinity"),
        ('{"labels": {"liver": "1"}}', r'\$\.labels\.liver: expected a whole number, found "1"'),
        ('{"labels": {"liver": true}}', r"\$\.labels\.liver: expected a whole number, found true"),
        ('{"labels": {"whole_liver": [1, 14]}}', r"\$\.labels\.whole_liver: expected a whole number, found \[1, 14\]"),
        ('{"labels": {"livr": 1}}', r"\$\.labels\.livr: .*found 'livr'"),
        ('{"labels": {"liver": 1, "spleen": 1}}', r"\$\.labels\.spleen: expected each value once"),
        ('{"labels": {}, "name": 3}', r"\$\.name: expected a text, found 3"),
        ('{"labels": {}, "annotated": ["a"]}', r"\$\.annotated: expected an object"),
        ('{"labels": {}, "annotated": {"a": "liver"}}', r"\$\.annotated\.a: expected a list"),
        ('{"labels": {}, "annotated": {"a": ["liver", "livr"]}}', r"\$\.annotated\.a\[1\]: .*found 'livr'"),
        ('{"labels": {}, "group": {"a": null}}', r"\$\.group\.a: expected a text, found null"),
    ],
)
def test_m10_a_wrong_dataset_json_is_refused_with_the_path_to_the_key(tmp_path, text, words):
    add_image(tmp_path / "imagesTr/a_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=words) as caught:
        Dataset.load(tmp_path)
    assert caught.value.path == tmp_path / "dataset.json"


def test_m10_bytes_that_are_no_text_and_endless_nesting_are_refused(tmp_path):
    add_image(tmp_path / "imagesTr/a_0000.nii.gz")
    (tmp_path / "dataset.json").write_bytes(b'{"labels": "\xff"}')
    with pytest.raises(BadInput, match="expected UTF-8, found 0xff at byte 12"):
        Dataset.load(tmp_path)
    (tmp_path / "dataset.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match="nested too deep"):
        Dataset.load(tmp_path)


def map_file(tmp_path: Path, content: object) -> Path:
    (tmp_path / "map.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path / "map.json"


def test_a_label_map_renames_drops_unites_and_leaves_open(tmp_path):
    content = {"1": ["right_kidney", "left_kidney"], "2": "Tumo" + "ur", "3": "lesion", "9": "background"}
    found = read_label_map(map_file(tmp_path, content))
    assert found.ids == {1: 2, 2: 14, 3: 14, 9: 0}
    assert found.united == {"right_kidney": ("right_kidney", "left_kidney")}


def test_a_value_for_either_side_teaches_neither(tmp_path):
    add_labels(tmp_path / "case.nii.gz", v1=6, v2=2)
    label_map = read_label_map(map_file(tmp_path, {"1": ["right_kidney", "left_kidney"], "2": "tumor"}))
    (tmp_path / "map.json").unlink()
    case = Dataset.load(tmp_path, label_map).entries[0].load()
    assert case.annotated == {"tumor"}
    assert "labels: right_kidney+left_kidney share one value: stored as right_kidney" in case.warnings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, r"\$: expected at least one value"),
        ({"one": "liver"}, r"\$\.one: expected a label value"),
        ({"1": "kidney"}, r"\$\.1: expected background or one of"),
        ({"1": 2}, r"\$\.1: expected a text or a list"),
        ({"1": ["liver", 3]}, r"\$\.1: expected a text, found 3"),
        ({"1": ["right_kidney", "left_kidney"], "2": "right_kidney"}, "voxels could not be told apart"),
        ('{"1": "liver", "1": "spleen"}', r"\$\.1: found this key twice"),
    ],
)
def test_a_wrong_label_map_is_refused_with_the_path_to_the_key(tmp_path, content, words):
    with pytest.raises(BadInput, match=words):
        read_label_map(map_file(tmp_path, content))


def entries(count: int) -> list[Entry]:
    return [
        Entry(f"case_{i:03d}", "train", Path("x"), None, group="rare" if i % 10 == 0 else "usual") for i in range(count)
    ]


@pytest.mark.parametrize(("cases", "count"), [(250, 5), (11, 5), (3, 5), (0, 2), (7, 1)])
def test_folds_share_all_cases_out_evenly(cases, count):
    folds = Dataset.folds(entries(cases), count)
    assert len(folds) == count
    assert sorted(e.id for fold in folds for e in fold) == [e.id for e in entries(cases)]
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_order():
    once = Dataset.folds(entries(20), 5, 0)
    assert once == Dataset.folds(entries(20)[::-1], 5, 0)
    assert once != Dataset.folds(entries(20), 5, 1)
    assert [e.id for e in once[0]] == ["case_000", "case_001", "case_013", "case_017"]  # the same on every machine


def test_folds_can_deal_small_groups_out_evenly():
    folds = Dataset.folds(entries(50), 5, 0, spread_groups=True)
    assert [sum(e.group == "rare" for e in fold) for fold in folds] == [1] * 5


def test_folds_need_at_least_one():
    with pytest.raises(ValueError, match="at least 1 fold"):
        Dataset.folds(entries(3), 0)
