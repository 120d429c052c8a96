"""Each fold is judged on what it held out, on annotated targets alone, by its own network."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from flare_core import cross_validation
from flare_core.batch import BatchReport
from flare_core.cases.dataset import Dataset
from flare_core.cases.labels import TARGET_NAMES
from flare_core.cli import main
from flare_core.cross_validation import cross_validate, fold_means, held_out, only_fold, split_stage
from flare_core.inference.submission import Submission
from flare_core.workspace import Workspace


def network(fold, training_cases=0):
    return SimpleNamespace(facts={"fold": fold, "training_cases": training_cases})


@pytest.fixture
def work(tiny_cohort, tmp_path):
    """A workspace with a submission folder that only its hash is taken of."""
    work = Workspace("nvauto", "smoke", str(tiny_cohort), tmp_path)
    (work.run / "submission").mkdir(parents=True)
    (work.run / "submission" / "submission.json").write_text(json.dumps({"run_seed": 0}))
    return work


@pytest.fixture
def submission(work):
    """Localizer of fold 0, two folds of round 2 that learned from as many cases as the split leaves them."""
    stage = work.recipe().stage("round2")
    cases = stage.cases(work.annotated_dataset().training)
    parts = Dataset.folds(cases, stage.folds, 0)
    members = [network(fold, len(cases) - len(parts[fold])) for fold in (0, 1)]
    return Submission(None, {"localizer": [network(0)], "round2": members}, {"run_seed": 0})


def test_the_stage_is_the_last_one_that_is_split_and_tells_targets_apart(tmp_path):
    assert split_stage(Workspace("nvauto", "mini", root=tmp_path)).name == "round2"
    assert split_stage(Workspace("dkfz_bs4_8", "mini", root=tmp_path), "batch4").name == "batch4"
    for system, stage in (("nvauto", "localizer"), ("nvauto", "nothing"), ("stmt", "")):
        with pytest.raises(ValueError, match="split into folds"):
            split_stage(Workspace(system, "mini", root=tmp_path), stage)


def test_what_was_held_out_follows_from_the_seed_and_is_checked_against_what_was_learned(work, submission):
    stage, dataset = work.recipe().stage("round2"), work.annotated_dataset()
    found = held_out(submission, stage, dataset)
    assert list(found) == [0, 1] and not {e.id for e in found[0]} & {e.id for e in found[1]}
    assert all(entry.is_labeled for entries in found.values() for entry in entries)
    submission.networks["round2"][1].facts["training_cases"] += 1
    with pytest.raises(ValueError, match="round2, fold 1: learned from .* cases, but .* leaves it"):
        held_out(submission, stage, dataset)


def test_a_fold_is_predicted_by_its_own_networks_and_by_all_of_a_stage_that_lacks_it(submission):
    second = only_fold(submission, 1).networks
    assert second["round2"] == [submission.networks["round2"][1]]
    assert second["localizer"] == submission.networks["localizer"]


def test_annotated_targets_of_the_held_out_cases_are_scored_and_written(work, submission, monkeypatch):
    asked = {}

    def predict(images, out, chosen, name):
        """Give the complete truth as prediction."""
        out.mkdir(parents=True)
        for case, _ in images:
            shutil.copy(work.dataset().root / "labelsTrTrue" / f"{case}.nii.gz", out)
        asked[name.rpartition(", ")[2]] = [one.facts["fold"] for one in chosen.networks["round2"]]
        return BatchReport({case: None for case, _ in images})

    monkeypatch.setattr(cross_validation, "predict_files", predict)
    monkeypatch.setattr(cross_validation, "load_submission", lambda folder: submission)
    table = cross_validate(work)
    assert asked == {"round2 fold 0": [0], "round2 fold 1": [1]}
    entries = {entry.id: entry for entry in work.annotated_dataset().training}
    for case, rows in table.groupby("case"):
        assert set(rows["target"]) == set(entries[case].annotated)
    organs = table[table["target"] != "tumor"]
    assert (organs["dsc"] > 0.9).all(), "all that the truth shows beside them is a tumor that nobody marked"
    written = pd.read_csv(work.results / "cross_validation.csv")
    assert len(written) == len(table) and written["recorded"].notna().all()
    cross_validate_again = len(pd.read_csv(work.results / "cross_validation.csv"))
    shutil.rmtree(work.folder / "nvauto" / "cross_validation")
    cross_validate(work)
    assert len(pd.read_csv(work.results / "cross_validation.csv")) == cross_validate_again, "replaced, not added"


def test_a_case_that_fails_stops_it(work, submission, monkeypatch):
    monkeypatch.setattr(cross_validation, "predict_files", lambda images, *_: BatchReport({}, {"x": "broken"}))
    monkeypatch.setattr(cross_validation, "load_submission", lambda folder: submission)
    with pytest.raises(RuntimeError, match="round2, fold 0: cases failed: .*broken"):
        cross_validate(work)
    assert not (work.results / "cross_validation.csv").exists()


def test_means_are_those_of_the_cases_that_annotate_a_target():
    rows = [("a", "spleen", 0.2, 0.0, 0), ("b", "spleen", 0.6, 1.0, 0), ("c", "liver", 0.5, 0.5, 0)]
    means = fold_means(
        pd.DataFrame([*rows, ("d", "liver", 0.7, 0.1, 1)], columns=["case", "target", "dsc", "nsd", "fold"])
    )
    assert means.to_numpy().tolist() == [
        ["liver", 0, 0.5, 0.5, 1],
        ["liver", 1, 0.7, 0.1, 1],
        ["spleen", 0, 0.4, 0.5, 2],
    ]
    assert TARGET_NAMES.index("liver") < TARGET_NAMES.index("spleen")


def test_the_command_refuses_a_system_without_folds(capsys, tiny_cohort):
    assert main(["cross-validate", "stmt", "--profile", "smoke", "--data", str(tiny_cohort)]) == 2
    assert "stmt" in capsys.readouterr().err
