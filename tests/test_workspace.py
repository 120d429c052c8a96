"""A workspace finds data and networks, says what is missing, and never writes where another profile's things are."""

import json
import os
import shutil

import numpy as np
import pytest

from flare_core import paths
from flare_core.cases.dataset import Dataset
from flare_core.cases.labels import TARGET_NAMES
from flare_core.evaluation.flare_rules import FLARE23, FLARE24_TASK1
from flare_core.systems import SYSTEMS
from flare_core.workspace import COHORTS, CohortSize, Workspace, embedded_cohort


def test_unknown_words_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="choose from nvauto"):
        Workspace("nvuato")
    with pytest.raises(ValueError, match="choose from smoke"):
        Workspace(profile="minni")
    with pytest.raises(ValueError, match="needs real data"):
        Workspace(profile="paper")


def test_what_notebooks_make_never_reaches_committed_folders(tmp_path):
    mini = Workspace(root=tmp_path)
    assert mini.figures == tmp_path / "runs" / "mini" / "nvauto" / "figures"
    assert mini.results == tmp_path / "data" / "results" / "mini"
    for other in (Workspace(profile="smoke", root=tmp_path), Workspace(data=str(tmp_path / "mine"), root=tmp_path)):
        assert other.figures.is_relative_to(tmp_path / "runs")
        assert other.results.is_relative_to(tmp_path / "runs")
        assert other.run.is_relative_to(tmp_path / "runs")
    assert mini.run != Workspace(data=str(tmp_path / "mine"), root=tmp_path).run


def test_what_is_shown_of_a_system_is_what_it_predicts():
    for key, system in SYSTEMS.items():
        work = Workspace(key)
        assert work.targets == (TARGET_NAMES if system.segments_organs else ("tumor",))
        assert work.rules == (FLARE23 if system.segments_organs else FLARE24_TASK1)
        assert work.scope.startswith(key) and ("only" in work.scope) != system.segments_organs
    assert Workspace("dkfz_bs8").targets == Workspace("dkfz_bs4_8").targets == ("tumor",)


def test_what_is_annotated_is_read_from_the_files_where_it_is_not_recorded(tiny_cohort, tmp_path):
    shutil.copytree(tiny_cohort, tmp_path / "mine")
    index = json.loads((tmp_path / "mine" / "dataset.json").read_text())
    del index["annotated"]
    (tmp_path / "mine" / "dataset.json").write_text(json.dumps(index))
    work = Workspace(profile="smoke", data=str(tmp_path / "mine"), root=tmp_path)
    assert any(entry.annotated is None for entry in work.dataset().training)
    known = {entry.id: entry.annotated for entry in Dataset.load(tiny_cohort).training}
    for entry in work.annotated_dataset().training:
        assert entry.annotated <= known[entry.id]  # a target that the patient lacks cannot be read from a file
        assert bool(entry.annotated) == bool(known[entry.id])


def test_every_profile_keeps_its_runs_apart(tmp_path):
    folders = [Workspace(profile=profile, root=tmp_path).predictions for profile in COHORTS]
    assert len(set(folders)) == len(folders)


def test_missing_networks_are_said_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="make retrain"):
        _ = Workspace(root=tmp_path).submission
    with pytest.raises(FileNotFoundError, match="flare train nvauto"):
        _ = Workspace(data=str(tmp_path / "mine"), root=tmp_path).submission
    with pytest.raises(FileNotFoundError, match="train the system first"):
        Workspace(root=tmp_path).history()


def test_shipped_networks_serve_mini_and_no_other_profile(tmp_path):
    folder = tmp_path / "weights" / "nvauto"
    folder.mkdir(parents=True)
    (folder / "submission.json").write_text("{}")
    assert Workspace(root=tmp_path).submission == folder
    with pytest.raises(FileNotFoundError):
        _ = Workspace(profile="smoke", root=tmp_path).submission
    with pytest.raises(FileNotFoundError, match="teacher round1"):
        Workspace(root=tmp_path).teacher("round1")


def test_learning_curves_come_from_the_results_or_else_from_the_run(tmp_path):
    kept = tmp_path / "data" / "results" / "mini" / "history.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text(
        "system,variant,stage,fold,step,seed\nnvauto,as_published,round1,0,9,0\nnvauto,other,round1,0,8,0\n"
        "nvauto,as_published,round1,0,6,1\nx,as_published,a,0,7,0\n"
    )
    assert Workspace(root=tmp_path).history()["step"].tolist() == [9]
    mine = Workspace(data=str(tmp_path / "mine"), root=tmp_path)
    own = mine.run / "round_one-12345678" / "fold3" / "history.csv"
    own.parent.mkdir(parents=True)
    own.write_text("step,loss\n5,0.5\n")
    (row,) = mine.history().to_dict("records")
    assert np.isnan(row.pop("validation_dice"))  # nothing was validated
    assert row == {"step": 5, "loss": 0.5, "stage": "round_one", "fold": "3"}
    with pytest.raises(FileNotFoundError, match="no learning curves of stmt"):
        Workspace("stmt", root=tmp_path).history()


@pytest.fixture
def two_cases(monkeypatch):
    monkeypatch.setitem(COHORTS, "smoke", CohortSize("tiny", training=1, validation=1))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})


def test_the_cohort_is_made_once_and_anew_for_another_generator(tmp_path, two_cases, monkeypatch):
    place = embedded_cohort("smoke", tmp_path)
    assert len(Dataset.load(place).entries) == 2
    index = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps(index | {"name": "kept"}))
    assert embedded_cohort("smoke", tmp_path) == place
    assert Dataset.load(place).name == "kept"
    monkeypatch.setattr("flare_core.workspace.generator_digest", lambda size: "f" * 64)
    assert embedded_cohort("smoke", tmp_path).name == "tiny-ffffffff"
    assert place.is_dir()


def test_an_interrupted_cohort_is_not_taken_for_a_cohort(tmp_path, two_cases, monkeypatch):
    def interrupted(folder, *sizes, **options):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flare_core.cases.cohort.write_cohort", interrupted)
        embedded_cohort("smoke", tmp_path)
    assert [path.name.startswith(".") for path in tmp_path.iterdir()] == [True]


def test_the_paths_of_the_tree_are_absolute():
    assert all(os.path.isabs(path) for path in (paths.ROOT, paths.RUNS, paths.submission_of("nvauto", "mini")))
