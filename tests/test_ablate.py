"""Experiments that train nothing: the right networks predict, every row is there, nothing is done twice."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from flare_core import ablate as experiments
from flare_core.evaluation.claim_list import read_claims
from flare_core.experiment_board import compared_trainings, experiment_table, inference_results
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run
from flare_core.training.schedule import train_system

TUMOR_AND_ORGANS = 14


@pytest.fixture(scope="module")
def place(tiny_dataset, tmp_path_factory):
    """nvauto and dkfz_bs4_8 trained in the smoke profile, where `ablate` looks for them."""
    root = tmp_path_factory.mktemp("runs")
    for key in ("nvauto", "dkfz_bs4_8"):
        train_system(Run(SYSTEMS[key].at("smoke"), "smoke", tiny_dataset, root / key / "seed0"))
    return SimpleNamespace(root=root, results=root / "results")


@pytest.fixture
def ablate(place, tiny_dataset, monkeypatch):
    """`ablate` in the smoke profile, with everything in the temporary place."""
    monkeypatch.setattr(experiments, "provide_cohort", lambda profile: tiny_dataset)
    monkeypatch.setattr(experiments, "results_of", lambda profile: place.results)
    monkeypatch.setattr(experiments, "run_of", lambda key, profile: place.root / key)
    monkeypatch.setattr(experiments, "submission_of", lambda key, profile: place.root / key / "seed0" / "submission")
    return lambda *systems, **options: experiments.ablate("smoke", systems, **options)


def read(place, name):
    return pd.read_csv(place.results / f"{name}.csv")


def test_every_experiment_that_needs_no_training_is_predicted_and_scored(ablate, place, tiny_dataset):
    ablate("nvauto")
    names = {name for name, _ in SYSTEMS["nvauto"].ablations.items() if not SYSTEMS["nvauto"].trains(name)}
    scores, facts, cases = (read(place, name) for name in ("inference_scores", "inference_facts", "cases"))
    assert set(scores["variant"]) == set(facts["variant"]) == {"as_published", *names}
    size = len(tiny_dataset.validation)
    assert (scores.groupby("variant").size() == TUMOR_AND_ORGANS * size).all()
    assert len(cases) == TUMOR_AND_ORGANS * size and (cases["volume_ml"] > 0).any()
    voxels = facts[facts["quantity"] == "network_voxels"].groupby("variant")["value"].sum()
    assert voxels["one_model"] < voxels["as_published"] < voxels["overlap"]
    assert {"windows", "false_tumor_ml", "located_share"} <= set(facts["quantity"])
    assert "seconds" not in set(facts["quantity"]), "seconds of a busy machine are no result"
    table = inference_results(place.results).set_index("experiment")
    assert table.loc["the method", "voxels"] == 1 and table.loc["one_model", "voxels"] < 1


def test_a_second_run_predicts_nothing_and_seconds_stay_until_the_networks_change(ablate, place):
    ablate("dkfz_bs4_8", timed=True)
    facts = read(place, "inference_facts")
    labels = {path: path.stat().st_mtime_ns for path in place.root.rglob("inference/*/*.nii.gz")}
    in_time = [path for path in sorted(labels, key=labels.get) if "dkfz_bs4_8" in path.parts]
    cases = [path.name for path in in_time]
    assert len(set(cases)) > 1 and cases == sorted(cases), "timed experiments take turns with every case"
    variants = list(dict.fromkeys(path.parent.name for path in in_time))
    first = {path.name: path.parent.name for path in reversed(in_time)}
    expected = [variants[number % len(variants)] for number in range(len(first))]
    assert list(reversed(first.values())) == expected, "and begin with the next one each time"
    ablate("dkfz_bs4_8")
    again = read(place, "inference_facts")
    assert labels == {path: path.stat().st_mtime_ns for path in place.root.rglob("inference/*/*.nii.gz")}
    keys = ["system", "variant", "case", "quantity", "target"]
    own = [t[t["system"] == "dkfz_bs4_8"].sort_values(keys).reset_index(drop=True) for t in (facts, again)]
    pd.testing.assert_frame_equal(*own)
    assert {"seconds", "network_s", "postprocess_s"} <= set(again["quantity"])
    stages = again[(again["quantity"] == "stage_s") & (again["variant"] == "as_published")]
    assert set(stages["target"]) == {"batch4", "batch8"} and (stages["value"] > 0).all()
    assert "split_dsc" not in set(again.loc[again["system"] == "dkfz_bs4_8", "quantity"]), "it segments no pairs"


def test_an_experiment_takes_networks_of_teachers_where_it_names_them(ablate, place, tiny_dataset):
    folder, system = place.root / "nvauto" / "seed0" / "submission", SYSTEMS["nvauto"].at("smoke")
    run = Run(system.ablated("first_round"), "smoke", tiny_dataset, folder, variant="first_round")
    submission = experiments.submission_for(run)
    assert set(submission.networks) == {"localizer", "round1"}
    assert [network.facts["stage"] for network in submission.networks["round1"]] == ["round1"] * 2
    other = replace(system, inference=replace(system.inference, members="round7"))
    with pytest.raises(FileNotFoundError, match="holds no network of round7"):
        experiments.submission_for(replace(run, system=other))


def test_systems_without_a_submission_are_refused(ablate):
    with pytest.raises(FileNotFoundError, match="no submission of swinx at the profile smoke"):
        ablate("swinx")


def test_every_experiment_is_a_value_at_every_profile():
    for key, system in SYSTEMS.items():
        for profile in ("smoke", "mini", "study", "paper"):
            for name in system.ablations:
                changed = system.at(profile).ablated(name)
                assert changed != system.at(profile) or profile == "smoke", (key, name)  # where all is small alike
                assert system.at(profile).trains(name) == (changed.stages != system.at(profile).stages)
    table = experiment_table()
    assert set(table["needs"]) == {"a training", "the same networks"}
    assert (table["why"].str.len() > 2).all()


def test_trained_experiments_build_networks_that_fit_their_cases(tiny_dataset):
    for system in SYSTEMS.values():
        for name in filter(system.trains, system.ablations):
            for stage in system.at("study").ablated(name).stages:
                assert stage.network.build(stage.scheme.channels) is not None
                assert stage.cases(tiny_dataset.training)


def test_curves_of_the_trainings_that_claims_compare(tmp_path):
    rows = [("as_published", "round1"), ("as_published", "round2"), ("partial_as_full", "round2")]
    history = [
        {"system": "nvauto", "variant": v, "stage": s, "fold": f, "seed": 0, "step": 80, "learning_rate": 0.1}
        for v, s in rows
        for f in (0, 1)
    ]
    claims = read_claims().only(["nvauto-partial-as-full"]).claims
    assert compared_trainings(tmp_path, "nvauto", claims) == {}
    pd.DataFrame(history).to_csv(tmp_path / "history.csv", index=False)
    curves = compared_trainings(tmp_path, "nvauto", claims)
    assert {name: len(curve) for name, curve in curves.items()} == {
        "partial_as_full: round2": 1,
        "the method: round1": 1,
    }
    pd.DataFrame(history[:4]).to_csv(tmp_path / "history.csv", index=False)
    assert compared_trainings(tmp_path, "nvauto", claims) == {}, "no experiment was trained"
    assert inference_results(tmp_path).empty


def test_scores_of_what_is_not_segmented_are_not_shown(tmp_path):
    kinds = {
        ("dkfz_bs8", "as_published"): "tumor",
        ("stmt", "as_published"): "both",
        ("stmt", "complete_only"): "organs",
    }
    keys = [{"case": "a", "system": system, "variant": variant} for system, variant in kinds]
    scores = [key | {"target": target, "dsc": 0.5} for key in keys for target in ("liver", "tumor")]
    pd.DataFrame(scores).to_csv(tmp_path / "inference_scores.csv")
    facts = [key | {"quantity": "network_voxels", "value": 10} for key in keys]
    pd.DataFrame(facts).to_csv(tmp_path / "inference_facts.csv")
    pd.DataFrame([{"case": "a", "target": "tumor", "volume_ml": 1.0}]).to_csv(tmp_path / "cases.csv")
    table = inference_results(tmp_path)
    assert table["organ DSC"].notna().tolist() == [kind != "tumor" for kind in kinds.values()]
    assert table["tumor DSC"].notna().tolist() == [kind != "organs" for kind in kinds.values()]
