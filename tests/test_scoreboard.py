"""Scores of all systems: made now from predictions of the networks that are there, else the ones that came along."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_samples import add_image, add_index, add_labels

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.inference.submission import submission_hash
from flare_core.scoreboard import (
    CAME_ALONG,
    MADE_NOW,
    ablation_scores,
    evaluate_validation,
    has_predictions,
    has_tumor,
    predicted_case,
    ranked_cases,
    scoreboard,
    shown_entry,
)
from flare_core.workspace import Workspace

CASES = ("validation_00001", "validation_00002")


@pytest.fixture
def work_of(tiny_cohort, tmp_path):
    """Workspaces of any system on the tiny cohort, in a tree of their own."""
    return lambda system: Workspace(system, "smoke", str(tiny_cohort), tmp_path)


@pytest.fixture
def predict_perfectly(tiny_cohort):
    """Puts the references where a system's predictions go, as if its networks had made them."""

    def put(work):
        folder = work.run / "submission"
        folder.mkdir(parents=True)
        (folder / "submission.json").write_text("{}")
        shutil.copytree(tiny_cohort / "labelsVal", work.predictions)
        for file in work.predictions.glob("*.nii.gz"):
            record = work.predictions / ".flare" / file.name.replace(".nii.gz", ".json")
            record.parent.mkdir(exist_ok=True)
            record.write_text(json.dumps({"made_from": {"model": submission_hash(folder)}}))

    return put


@pytest.fixture
def foreign(tmp_path):
    """Predictions for a dataset with label values of its own, whose first validation case has no labels."""
    root = tmp_path / "foreign"
    work = Workspace("nvauto", "smoke", str(root), tmp_path)
    annotated = {"spleen_alone": ["spleen"], "with_tumor": ["spleen", "tumor"]}
    for case in ("no_labels", *annotated):
        add_image(root / "imagesVal" / f"{case}_0000.nii.gz")
        add_labels(work.predictions / f"{case}.nii.gz", spleen=30, tumor=10)
    add_labels(root / "labelsVal" / "spleen_alone.nii.gz", v1=30)
    add_labels(root / "labelsVal" / "with_tumor.nii.gz", v1=30, v2=10)
    add_index(root, labels={"background": 0, "spleen": 1, "tumor": 2}, annotated=annotated)
    return work


def write_committed(work, systems, variants=("as_published",)):
    """Result tables as `retrain` writes them, every score 0.25, false alarms of 3 ml."""
    work.results.mkdir(parents=True, exist_ok=True)
    scores = [(c, t, 0.25, 0.25, s, v) for s in systems for v in variants for c in CASES for t in TARGET_NAMES]
    rows = [*TARGET_NAMES, "organs", "tumor_bearing_cases", "tumor_free_cases"]
    summary = [
        (r, 1, 0.25, 0.25, 3.0 if r == rows[-1] else np.nan, s, v) for s in systems for v in variants for r in rows
    ]
    named = ["dsc", "nsd", "system", "variant"]
    pd.DataFrame(scores, columns=["case", "target", *named]).to_csv(work.results / "scores.csv")
    columns = ["row", "cases", "dsc", "nsd", "false_positive_ml", "system", "variant"]
    pd.DataFrame(summary, columns=columns).to_csv(work.results / "summary.csv")


def test_nothing_to_show_is_said_with_what_makes_it(work_of):
    work = work_of("nvauto")
    with pytest.raises(FileNotFoundError, match="06_inference"):
        scoreboard("smoke", work.data, work.root)
    with pytest.raises(FileNotFoundError, match="06_inference for nvauto"):
        evaluate_validation(work, work.rules)
    with pytest.raises(FileNotFoundError, match="06_inference for nvauto"):
        predicted_case(work, CASES[0])
    with pytest.raises(ValueError, match="no validation case 'nobody'"):
        predicted_case(work, "nobody")


def test_references_are_read_as_their_dataset_says(foreign):
    evaluation = evaluate_validation(foreign, FLARE23)
    assert list(evaluation.cases) == ["spleen_alone", "with_tumor"] and evaluation.is_complete
    rows = evaluation.summary_table().set_index("row")
    assert rows.loc[["spleen", "tumor_bearing_cases"], "dsc"].tolist() == [1, 1]
    assert rows.loc["tumor_free_cases", "cases"] == 0  # in the other one nobody looked for tumors
    assert evaluation.lesions_table()["case"].tolist() == ["with_tumor"]
    assert [entry.id for entry in foreign.dataset().validation if has_tumor(entry)] == ["with_tumor"]


def test_a_missing_prediction_scores_zero_and_is_named(foreign):
    (foreign.predictions / "with_tumor.nii.gz").unlink()
    evaluation = evaluate_validation(foreign, FLARE23)
    assert "prediction missing" in evaluation.failures["with_tumor"]
    assert evaluation.summary_table().set_index("row").loc["spleen", "dsc"] == 0.5


def test_predictions_of_other_cases_are_no_predictions(foreign):
    for file in foreign.predictions.iterdir():
        file.rename(file.with_name(f"other_{file.name}"))
    with pytest.raises(FileNotFoundError, match="no prediction of a labeled case in .*06_inference for"):
        evaluate_validation(foreign, FLARE23)


def test_scores_are_kept_with_the_files_that_they_follow_from(foreign):
    evaluate_validation(foreign, FLARE23, write=True)
    records = {path: path.stat().st_mtime_ns for path in foreign.run.rglob("scores.csv/*.json")}
    assert len(records) == 2 and (foreign.run / "scores.csv").is_file()
    evaluate_validation(foreign, FLARE23, write=True)
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_validation_cases_without_labels_give_no_scores(foreign):
    shutil.rmtree(Path(foreign.data) / "labelsVal")
    with pytest.raises(ValueError, match="foreign: expected reference labels .* labelsVal"):
        evaluate_validation(foreign, FLARE23)


def test_rows_say_what_was_scored_now_and_what_came_along(work_of, predict_perfectly):
    work = work_of("stmt")
    write_committed(work, ("nvauto", "dkfz_bs8", "stmt"))
    predict_perfectly(work)
    board = scoreboard("smoke", work.data, work.root)
    table = board.table()
    assert table["scores"].to_dict() == {"nvauto": CAME_ALONG, "dkfz_bs8": CAME_ALONG, "stmt": MADE_NOW}
    assert table.loc["stmt", ["organ DSC", "tumor DSC"]].tolist() == [1, 1]
    assert table.loc["nvauto", ["organ DSC", "organ NSD", "tumor DSC", "false tumor (ml)"]].tolist() == [0.25] * 3 + [3]
    assert (work.run / "scores.csv").is_file() and not (work_of("nvauto").run / "scores.csv").exists()


def test_a_system_for_tumors_has_no_organ_scores(work_of):
    work = work_of("nvauto")
    write_committed(work, ("nvauto", "dkfz_bs8"))
    board = scoreboard("smoke", work.data, work.root)
    assert np.isnan(board.table().loc["dkfz_bs8", "organ DSC"])
    assert set(board.scores.loc[board.scores["system"] == "dkfz_bs8", "target"]) == {"tumor"}
    measures = board.means().groupby("system")["measure"].unique()
    assert len(measures["nvauto"]) == 4
    assert list(measures["dkfz_bs8"]) == ["Tumor if any, DSC", "Tumor if any, NSD"]


def test_tumors_are_drawn_for_cases_that_have_one_only(work_of, tiny_dataset):
    work = work_of("nvauto")
    write_committed(work, ("nvauto",))
    board = scoreboard("smoke", work.data, work.root)
    assert board.tumor_cases == {entry.id for entry in tiny_dataset.validation if has_tumor(entry)}
    means = board.means()
    assert set(means.loc[means["measure"].str.startswith("Tumor"), "case"]) == board.tumor_cases
    assert set(means.loc[means["measure"].str.startswith("Organs"), "case"]) == set(CASES)


def test_predictions_of_other_networks_are_not_taken_for_those_of_now(work_of, predict_perfectly):
    work = work_of("nvauto")
    assert not has_predictions(work)
    predict_perfectly(work)
    assert has_predictions(work)
    (work.run / "submission" / "submission.json").write_text('{"retrained": true}')
    assert not has_predictions(work)


def test_an_incomplete_set_of_predictions_does_not_count(work_of, predict_perfectly):
    work = work_of("nvauto")
    predict_perfectly(work)
    (work.predictions / f"{CASES[0]}.nii.gz").unlink()
    assert not has_predictions(work)


def test_a_predicted_case_shows_what_the_system_predicts(work_of, predict_perfectly):
    for system, known in (("nvauto", {1, 14}), ("dkfz_bs8", {14})):
        work = work_of(system)
        predict_perfectly(work)
        case = predicted_case(work, CASES[0])
        assert known <= set(case.reference.data.ravel()) and np.array_equal(case.reference.data, case.prediction.data)
        assert set(case.prediction.data.ravel()) <= ({0, 14} if system == "dkfz_bs8" else set(range(15)))
        assert case.view().title == CASES[0] and case.view("worst").title == "worst"
        assert case.reference.data[case.middle_of("tumor")] == 14
        assert case.lowest_target({"tumor": 0.5}) == "tumor"


def test_the_lowest_target_is_one_that_was_drawn(work_of, predict_perfectly):
    work = work_of("dkfz_bs8")
    predict_perfectly(work)
    case = predicted_case(work, CASES[0])
    assert case.lowest_target(pd.Series({"liver": 0.0, "tumor": 0.5})) == "tumor"  # no liver in what it shows
    assert case.lowest_target({"liver": 0.0, "aorta": 0.5}) == "liver"
    assert case.middle_of("liver") == tuple(size // 2 for size in case.image.data.shape)


def test_cases_are_ranked_by_their_mean_and_tumor_systems_by_cases_with_a_tumor():
    rows = [("a", "liver", 0.9), ("a", "tumor", 0.1), ("b", "liver", 0.2), ("b", "tumor", 0.2), ("c", "tumor", 1.0)]
    scores = pd.DataFrame(rows, columns=["case", "target", "dsc"])
    assert ranked_cases(scores, {"a", "b"}).to_dict() == pytest.approx({"b": 0.2, "a": 0.5, "c": 1.0})
    tumors = scores[scores["target"] == "tumor"]
    assert list(ranked_cases(tumors, {"a", "b"}).index) == ["a", "b"]
    assert list(ranked_cases(tumors, set()).index) == ["a", "b", "c"]


def test_the_shown_case_has_a_tumor_if_any_has(tiny_dataset):
    entries = tiny_dataset.validation
    assert has_tumor(shown_entry(entries))
    without = [entry for entry in tiny_dataset.training if not entry.is_labeled]
    assert shown_entry(without) == without[0]
    labeled = next(entry for entry in tiny_dataset.training if entry.is_labeled and not has_tumor(entry))
    assert shown_entry([*without, labeled]) == labeled


def test_ablations_are_shown_by_name_and_only_where_there_are_some(work_of):
    work = work_of("nvauto")
    assert ablation_scores(work).empty
    write_committed(work, ("nvauto",), ("as_published", "partial_as_full"))
    assert list(ablation_scores(work)["system"].unique()) == ["the method", "partial as full"]
    assert ablation_scores(work_of("stmt")).empty
    assert set(ablation_scores(work)["target"]) == {*ORGAN_NAMES, "tumor"}
    write_committed(work, ("stmt",), ("as_published", "complete_only"))
    targets = ablation_scores(work_of("stmt")).groupby("variant")["target"].unique()
    assert set(targets["complete_only"]) == set(ORGAN_NAMES) == set(targets["as_published"]) - {"tumor"}
