"""Files in, score tables out: pairing, missing and unusable predictions, geometry, and what the tables hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from evaluation import shapes

from flare_core.batch import Engine
from flare_core.cases.labels import TARGET_NAMES
from flare_core.cases.nifti import BadInput, Geometry, read_labels, write_labels
from flare_core.evaluation.evaluate import evaluate_files, evaluate_folders
from flare_core.evaluation.evaluate_case import LabelMaps, evaluate_case
from flare_core.evaluation.flare_rules import FLARE23, FLARE24_TASK1, PARTIAL, STRICT, score_case
from flare_core.evaluation.tables import score_table, write_csv


def save(path: Path, stored: np.ndarray, spacing=(1.0, 1.0, 1.0), axes="RAS", origin=(0.0, 0.0, 0.0)) -> Path:
    """Write an array so that the file holds it as it is, whatever the axes are called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], float) * spacing
    order = ["RLAPSI".index(letter) // 2 for letter in axes]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored_axis, world in enumerate(order):
        affine[world, stored_axis] = steps[stored_axis, stored_axis] * (1 if axes[stored_axis] in "RAS" else -1)
    affine[:3, 3] = origin
    geometry = Geometry.from_affine(stored.shape, affine)
    write_labels(path, geometry.to_ras(stored), geometry)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases a, b, c of the recorded shapes in `references` and `predictions`."""
    for seed, case in enumerate("abc"):
        reference, prediction, spacing = shapes.case(seed)
        save(tmp_path / "references" / f"{case}.nii.gz", reference, spacing)
        save(tmp_path / "predictions" / f"{case}.nii.gz", prediction, spacing)
    return tmp_path / "predictions", tmp_path / "references"


def test_a_file_that_cannot_be_called_so_is_its_own_failure_and_the_others_are_scored(folders, tmp_path):
    predictions, references = folders
    for folder in folders:
        (folder / "a b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes())
    (predictions / "b c.nii.gz").write_bytes((predictions / "a.nii.gz").read_bytes())
    found = evaluate_folders(predictions, references, FLARE23, tmp_path / "out" / "scores.csv")
    assert sorted(found.cases) == ["a", "b", "c"] and list(found.failures) == ["a b.nii.gz"]
    assert "rename the file" in found.failures["a b.nii.gz"] and "b c.nii.gz" in found.warnings[0]


def test_lesions_are_counted_a_case_where_tumors_are_annotated(tmp_path):
    reference, prediction = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), np.uint8)
    reference[1:3, 1, 1] = reference[7, 7, 7] = prediction[1, 1, 1] = prediction[4, 4, 4] = 14
    for case in ("a", "b", "unmarked", "missing"):
        save(tmp_path / "references" / f"{case}.nii.gz", reference)
        if case != "missing":
            save(tmp_path / "predictions" / f"{case}.nii.gz", reference if case == "b" else prediction)
    annotated = {"unmarked": ("liver",)}
    folders = tmp_path / "predictions", tmp_path / "references"
    evaluation = evaluate_folders(*folders, FLARE23, tmp_path / "s.csv", annotated)
    table = pd.read_csv(tmp_path / "s_lesions.csv")
    assert table.to_numpy().tolist() == [["a", 2, 1, 2, 1], ["b", 2, 2, 2, 0], ["missing", 2, 0, 0, 0]]
    assert list(table.columns) == ["case", "lesions", "found", "predicted", "false_positives"]
    assert not evaluation.is_complete


def test_folders_give_the_two_tables(folders, tmp_path):
    evaluation = evaluate_folders(*folders, FLARE23, tmp_path / "out" / "scores.csv")
    assert evaluation.is_complete
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert list(scores.columns) == ["case", "target", "dsc", "nsd"]
    assert list(scores["case"].unique()) == ["a", "b", "c"]
    assert list(scores["target"][:14]) == list(TARGET_NAMES)
    reference, prediction, spacing = shapes.case(1)
    spacing = tuple(float(np.float32(edge)) for edge in spacing)
    expected = [(s.dsc, s.nsd) for s in score_case(FLARE23, reference, prediction, spacing)]
    assert list(scores[scores["case"] == "b"][["dsc", "nsd"]].itertuples(index=False, name=None)) == expected
    summary = pd.read_csv(tmp_path / "out" / "scores_summary.csv").set_index("row")
    assert list(summary.columns) == ["cases", "dsc", "nsd", "false_positive_ml"]
    assert summary.loc["liver", "dsc"] == round(scores[scores["target"] == "liver"]["dsc"].mean(), 4)
    assert list(summary.index[-3:]) == ["organs", "tumor_bearing_cases", "tumor_free_cases"]
    names = [".flare", "scores.csv", "scores_lesions.csv", "scores_summary.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "IPL"])
def test_arrays_are_compared_as_stored(tmp_path, axes):
    # The slice range runs along the third axis of the file, wherever that points in the patient.
    reference, prediction, spacing = shapes.case(5)
    first = save(tmp_path / "reference.nii.gz", reference, spacing, axes)
    second = save(tmp_path / "prediction.nii.gz", prediction, spacing, axes)
    spacing = tuple(float(np.float32(edge)) for edge in spacing)
    assert evaluate_case(second, first, FLARE23).scores == score_case(FLARE23, reference, prediction, spacing)


def test_several_cases_at_once_give_the_same_tables_and_failures(folders, tmp_path):
    (folders[0] / "b.nii.gz").write_bytes(b"no volume")
    alone, together = (
        evaluate_folders(*folders, FLARE23, tmp_path / f"{n}.csv", engine=Engine("threads", n)) for n in (1, 3)
    )
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()
    assert list(together.cases) == ["a", "b", "c"]
    assert together.failures == alone.failures
    assert list(together.failures) == ["b"]


def test_two_files_are_paired_whatever_their_names(folders, tmp_path):
    predictions, references = folders
    evaluation = evaluate_files(predictions / "b.nii.gz", references / "a.nii.gz", FLARE23, tmp_path / "scores.csv")
    assert list(evaluation.cases) == ["a"]
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 14


def test_a_missing_prediction_scores_zero_and_is_named(folders, caplog):
    predictions, references = folders
    whole = evaluate_folders(predictions, references, FLARE23)
    (predictions / "b.nii.gz").unlink()
    evaluation = evaluate_folders(predictions, references, FLARE23)
    assert not evaluation.is_complete
    assert list(evaluation.failures) == ["b"]
    assert "missing" in evaluation.failures["b"]
    assert "b failed: " in caplog.text
    table = evaluation.scores_table()
    assert len(table) == 3 * 14
    assert (table[table["case"] == "b"][["dsc", "nsd"]] == 0).all(axis=None)
    assert evaluation.cases["a"] == whole.cases["a"]
    assert evaluation.summary[0].dsc < whole.summary[0].dsc
    assert evaluation.summary[0].cases == 3


def test_an_unreadable_prediction_scores_zero_and_the_others_go_on(folders):
    predictions, references = folders
    content = (predictions / "a.nii.gz").read_bytes()
    (predictions / "a.nii.gz").write_bytes(content[: len(content) // 2])
    save(predictions / "b.nii.gz", np.zeros((4, 4, 4), np.uint8))
    evaluation = evaluate_folders(predictions, references, FLARE23)
    assert set(evaluation.failures) == {"a", "b"}
    assert "shape" in evaluation.failures["b"]
    assert {s.dsc for s in evaluation.cases["a"].scores} == {0}
    assert {s.dsc for s in evaluation.cases["c"].scores} != {0}


def test_an_unreadable_reference_gives_no_scores(folders):
    predictions, references = folders
    (references / "a.nii.gz").write_bytes(b"not an image")
    evaluation = evaluate_folders(predictions, references, FLARE23)
    assert list(evaluation.failures) == ["a"]
    assert list(evaluation.cases) == ["b", "c"]


def test_another_place_in_the_patient_warns_and_is_an_error_under_strict_rules(tmp_path):
    reference, prediction, spacing = shapes.case(0)
    first = save(tmp_path / "reference.nii.gz", reference, spacing)
    near = save(tmp_path / "near.nii.gz", prediction, spacing, origin=(1e-4, 0, 0))
    far = save(tmp_path / "far.nii.gz", prediction, spacing, origin=(0, 3, 0))
    assert evaluate_case(near, first, STRICT).problem is None
    relaxed = evaluate_case(far, first, FLARE23)
    assert relaxed.problem is None
    assert any("3.00 mm apart" in line for line in relaxed.warnings)
    assert relaxed.scores == evaluate_case(near, first, FLARE23).scores
    for rules in (STRICT, PARTIAL):
        strict = evaluate_case(far, first, rules, TARGET_NAMES)
        assert "3 mm off" in strict.problem
        assert {s.dsc for s in strict.scores} == {0}


def test_the_same_labels_stored_along_other_axes_score_1_but_for_the_official_rules(tmp_path):
    reference, _, spacing = shapes.case(0)
    first = save(tmp_path / "reference.nii.gz", reference, spacing)
    affine = read_labels(first).geometry.affine
    turned = tmp_path / "turned.nii.gz"
    nibabel.save(nibabel.Nifti1Image(reference, affine).as_reoriented([[0, -1], [1, -1], [2, 1]]), turned)
    for rules in (STRICT, PARTIAL):
        result = evaluate_case(turned, first, rules, TARGET_NAMES)
        assert result.problem is None and np.nanmin([s.dsc for s in result.scores]) == 1
    official = evaluate_case(turned, first, FLARE23)
    assert any("turned or mirrored axes?" in line for line in official.warnings)
    assert min(s.dsc for s in official.scores) < 1


def test_label_maps_say_what_foreign_values_mean(tmp_path):
    reference, _, spacing = shapes.case(0)
    first = save(tmp_path / "reference.nii.gz", reference, spacing)
    foreign = save(tmp_path / "foreign.nii.gz", np.where(reference > 0, reference + 100, 0).astype(np.uint8), spacing)
    meaning = {value + 100: value for value in range(1, 15)}
    assert evaluate_case(first, foreign, STRICT, maps=LabelMaps(reference=meaning)).problem is None
    result = evaluate_case(foreign, first, STRICT, maps=LabelMaps(prediction=meaning))
    assert result.problem is None and np.nanmin([s.dsc for s in result.scores]) == 1
    assert "--prediction-map" in evaluate_case(foreign, first, STRICT).problem


def test_folders_without_a_common_case_are_refused_with_both_names(tmp_path):
    reference, _, spacing = shapes.case(0)
    save(tmp_path / "one" / "imagesTr_A.nii.gz", reference, spacing)
    save(tmp_path / "other" / "labelsTr_A.nii.gz", reference, spacing)
    with pytest.raises(BadInput, match="imagesTr_A here, labelsTr_A in"):
        evaluate_folders(tmp_path / "one", tmp_path / "other", FLARE23)


def test_partial_rules_take_the_annotated_targets_or_say_that_they_guess(folders):
    predictions, references = folders
    annotated = {"a": ("liver", "spleen"), "b": ()}
    evaluation = evaluate_folders(predictions, references, PARTIAL, annotated=annotated)
    scored = evaluation.scores_table().dropna().groupby("case")["target"].agg(set)
    assert scored["a"] == {"liver", "spleen"}
    assert "b" not in scored
    assert not any("annotated" in line for line in evaluation.cases["a"].warnings)
    assert any("annotated" in line for line in evaluation.cases["c"].warnings)


def test_flare24_names_a_prediction_that_is_no_tumor_map(folders):
    predictions, references = folders
    evaluation = evaluate_folders(predictions, references, FLARE24_TASK1)
    assert set(evaluation.failures) == {"a", "b", "c"}
    assert list(evaluation.scores_table()["target"].unique()) == ["tumor"]


def test_predictions_without_a_reference_are_named_and_not_scored(folders):
    predictions, references = folders
    (references / "c.nii.gz").unlink()
    evaluation = evaluate_folders(predictions, references, FLARE23)
    assert list(evaluation.cases) == ["a", "b"]
    assert evaluation.is_complete
    assert any("c" in line for line in evaluation.warnings)


def test_folders_that_cannot_be_evaluated_are_refused(folders, tmp_path):
    predictions, references = folders
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="found none"):
        evaluate_folders(predictions, tmp_path / "empty", FLARE23)
    with pytest.raises(BadInput, match="not there"):
        evaluate_folders(tmp_path / "nowhere", references, FLARE23)
    (references / "a.nii").write_bytes(b"")
    with pytest.raises(BadInput, match="both case a"):
        evaluate_folders(predictions, references, FLARE23)


def test_the_same_scores_give_the_same_bytes(folders, tmp_path):
    for name in ("one.csv", "two.csv"):
        evaluate_folders(*folders, FLARE23, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one_summary.csv").read_bytes() == (tmp_path / "two_summary.csv").read_bytes()


def test_a_csv_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_csv(pd.DataFrame({"a": [1]}), tmp_path / "table.csv")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_csv(pd.DataFrame({"a": [2]}), tmp_path / "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "a\n1\n"


def test_score_table_reads_like_the_papers():
    scores = pd.DataFrame(
        [("a", "liver", 0.9, 0.8), ("b", "liver", 0.7, 0.6), ("a", "spleen", 0.5, None), ("a", "tumor", 0.2, 0.1)],
        columns=["case", "target", "dsc", "nsd"],
    )
    table = score_table(scores)
    assert list(table.index) == ["Liver", "Spleen", "Organ mean", "Tumor"]
    assert table.loc["Liver", "DSC mean"] == 80
    assert table.loc["Liver", "DSC SD"] == pytest.approx(14.14)
    assert table.loc["Organ mean", "DSC mean"] == 65
    assert np.isnan(table.loc["Spleen", "NSD mean"])


def test_evaluation_imports_neither_torch_nor_monai():
    code = (
        "import sys, flare_core.evaluation.evaluate, flare_core.evaluation.figures; "
        "print(sorted({'torch', 'monai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
