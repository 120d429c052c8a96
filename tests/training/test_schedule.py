"""Trainings of several runs: each once, after those it needs; a failure leaves the others alone."""

import shutil
from dataclasses import replace

import pytest
import torch

from flare_core.cases.dataset import Dataset
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run
from flare_core.training.schedule import Unfinished, plan_tasks, train_runs, train_system
from flare_core.training.selection import PartlyLabeledCases

PAIR = ("dkfz_bs8", "dkfz_bs4_8")
"""The second one averages the first one's network with one of its own."""


@pytest.fixture
def runs(tiny_dataset, tmp_path):
    """A run of every system in the smoke profile, with common trainings."""
    return {
        key: Run(system.at("smoke"), "smoke", tiny_dataset, tmp_path / key, trainings=tmp_path / "trainings")
        for key, system in SYSTEMS.items()
    }


def weights(run):
    names = (path.relative_to(run.submission) for path in run.submission.rglob("*.safetensors"))
    return {name: (run.submission / name).read_bytes() for name in sorted(names)}


def test_every_task_comes_once_and_after_those_it_needs(runs):
    tasks = plan_tasks(list(runs.values()))
    before = set()
    for key, task in tasks.items():
        assert task.needs <= before, task
        before.add(key)
    alone = sum(len(plan_tasks([run])) for run in runs.values())
    assert len(tasks) == alone - 4, "batch8 and the teacher of two systems are prepared and trained once"


@pytest.fixture
def one_thread():
    """As many as each of two jobs gets on two cores: with another number, sums are rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_side_by_side_gives_the_same_networks_as_one_after_the_other(runs, tiny_dataset, tmp_path, one_thread):
    for run in train_runs([runs[key] for key in PAIR], jobs=2):
        train_system(run)
        alone = replace(run, folder=tmp_path / "alone", trainings=None)
        train_system(alone)
        assert weights(run) == weights(alone) != {}
    assert len(list((tmp_path / "trainings").glob("batch8-*"))) == 1
    assert plan_tasks([runs[key] for key in PAIR]) == {}


def test_what_another_command_has_trained_meanwhile_is_not_trained_again(runs, monkeypatch):
    run = runs["dkfz_bs8"]
    planned = plan_tasks([run])
    list(train_runs([run]))
    monkeypatch.setattr("flare_core.training.schedule.train_fold", None)
    for task in planned.values():
        task(threads=1)


def test_a_case_that_has_changed_is_trained_on_anew_even_where_its_size_is_the_same(runs, tiny_cohort, tmp_path):
    run = replace(runs["nvauto"], dataset=Dataset.load(shutil.copytree(tiny_cohort, tmp_path / "cohort")))
    stage = run.system.stages[-1]
    before = run.stage_folder(stage)
    assert before.name == runs["nvauto"].stage_folder(stage).name, "where the cases lie does not count"
    for path in (stage.cases(run.dataset.training)[0].image, stage.cases(run.dataset.training)[0].labels):
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
        assert (after := run.stage_folder(stage)) != before
        before = after


def test_a_training_that_fails_stops_only_what_needs_it(runs, caplog):
    good, bad = (runs[key] for key in PAIR)
    nobody = replace(bad.system.stage("batch4"), cases=PartlyLabeledCases(("tumor",)))
    stages = tuple(nobody if stage.name == "batch4" else stage for stage in bad.system.stages)
    found = []
    with pytest.raises(Unfinished, match="dkfz_bs4_8 batch4, preparation: stage batch4: no case"):
        for run in train_runs([replace(bad, system=replace(bad.system, stages=stages)), good], jobs=2):
            found.append(run)
    assert found == [good]
