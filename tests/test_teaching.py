"""Who teaches what: a label is drawn, filled, taken for absent, left out, or not asked for."""

from dataclasses import replace

import pandas as pd
import pytest

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES
from flare_core.cases.nifti import read_labels, write_labels
from flare_core.systems import SYSTEMS
from flare_core.teaching import (
    ABSENT,
    AFTER_FILLING,
    AS_ANNOTATED,
    DRAWN,
    FILLED,
    LEFT_OUT,
    UNASKED,
    before_and_after,
    fill_examples,
    gain_of_filling,
    kind_title,
    label_origins,
    label_quality,
    learned_labels,
    most_telling_case,
    one_of_each_kind,
    only,
    stage_table,
    taught_stage,
)
from flare_core.workspace import Workspace


def origins(system, stage, dataset, profile="smoke"):
    """The origins with the number of cases cut off the columns."""
    table = label_origins(SYSTEMS[system].at(profile).stage(stage), dataset.training)
    return table.rename(columns=lambda title: title.partition("\n")[0])


def test_every_stage_has_a_row_with_its_teacher_and_its_start(tiny_dataset):
    table = stage_table(SYSTEMS["stmt"].at("smoke"), tiny_dataset.training)
    assert table.loc["teacher", "labels filled by"] == "nobody"
    assert table.loc["organs", ["cases", "labels filled by"]].tolist() == [32, "teacher"]
    assert table.loc["tumor", "starts from"] == "tumor_supervised"
    assert table.loc["organs", "starts from"] == "random weights"


def test_the_stage_to_look_at_is_filled_if_any_is(tiny_dataset):
    found = {key: taught_stage(system.at("smoke"), tiny_dataset.training).name for key, system in SYSTEMS.items()}
    assert found == {
        "nvauto": "round2",
        "dkfz_bs8": "batch8",
        "dkfz_bs4_8": "batch8",
        "stmt": "organs",
        "efficient_nnunet": "student",
        "swinx": "finetuning",
    }


def test_filled_targets_are_filled_where_nobody_drew_them(tiny_dataset):
    table = origins("stmt", "organs", tiny_dataset)
    assert table.loc["liver", ["13 organs", "5 organs", "nothing"]].tolist() == [DRAWN, DRAWN, FILLED]
    assert table.loc["aorta", ["13 organs", "5 organs", "nothing"]].tolist() == [DRAWN, FILLED, FILLED]
    assert set(table.loc["tumor"]) == {UNASKED}


def test_a_system_without_a_teacher_takes_the_unmarked_for_absent(tiny_dataset):
    table = origins("dkfz_bs8", "batch8", tiny_dataset)
    assert table.loc["tumor", ["13 organs, tumor", "13 organs", "5 organs"]].tolist() == [DRAWN, ABSENT, ABSENT]
    assert set(table.loc[list(ORGAN_NAMES)].to_numpy().ravel()) == {UNASKED}
    assert "nothing" not in table.columns  # unlabeled cases teach it nothing


def test_a_target_that_is_never_filled_counts_as_absent_or_is_left_out(tiny_dataset):
    assert origins("nvauto", "round2", tiny_dataset, "paper").loc["tumor", "13 organs"] == ABSENT
    assert origins("nvauto", "round2", tiny_dataset, "smoke").loc["tumor", "13 organs"] == LEFT_OUT


def test_columns_name_their_kind_and_count_its_cases(tiny_dataset):
    stage = SYSTEMS["efficient_nnunet"].at("smoke").stage("student")
    columns = label_origins(stage, tiny_dataset.training).columns
    assert columns[-1] == "nothing\n14 cases"
    assert sum(int(title.partition("\n")[2].split()[0]) for title in columns) == len(tiny_dataset.training)
    kinds = ((), {"tumor"}, {"liver", "spleen"}, TARGET_NAMES)
    assert [kind_title(kind) for kind in kinds] == ["nothing", "tumor", "2 organs", "13 organs, tumor"]


def test_one_case_of_each_kind_is_the_first_of_it(tiny_dataset):
    chosen = one_of_each_kind(tiny_dataset.training)
    assert len({entry.annotated for entry in chosen}) == len(chosen)
    assert {entry.annotated for entry in chosen} == {entry.annotated for entry in tiny_dataset.training}
    assert chosen[0] == tiny_dataset.training[0]


def provenance(*rows):
    return pd.DataFrame(rows, columns=["case", "target", "source", "voxels"])


def test_the_most_telling_case_has_most_filled_voxels_beside_drawn_ones():
    stage = SYSTEMS["stmt"].at("smoke").stage("organs")
    table = provenance(
        ("a", "liver", "real", 9),
        ("a", "aorta", "pseudo", 5),
        ("b", "liver", "real", 1),
        ("b", "aorta", "pseudo", 6),
        ("c", "aorta", "pseudo", 99),  # nothing drawn
        ("a", "tumor", "real", 999),  # not asked of this network
    )
    assert most_telling_case(stage, table) == "b"
    assert most_telling_case(stage, table[table["case"] == "c"]) == "c"


def test_where_nobody_fills_the_most_telling_case_has_most_drawn_voxels():
    stage = SYSTEMS["dkfz_bs8"].at("smoke").stage("batch8")
    table = provenance(("a", "tumor", "real", 5), ("b", "tumor", "real", 7), ("c", "liver", "real", 99))
    assert most_telling_case(stage, table) == "b"


def test_labels_of_a_system_without_a_teacher_are_prepared_as_they_are(tiny_cohort, tiny_dataset, tmp_path):
    work = Workspace("dkfz_bs8", "smoke", str(tiny_cohort), tmp_path)
    stage = work.recipe().stage("batch8")
    entries = one_of_each_kind(tiny_dataset.training)  # an unlabeled one among them
    table = fill_examples(work, stage, entries)
    assert set(table["source"]) == {"real", "none"}
    assert set(table["case"]) == {entry.id for entry in entries if entry.is_labeled}
    entry = next(entry for entry in entries if "tumor" in entry.annotated and len(entry.annotated) > 5)
    learned, drawn = learned_labels(work, stage, entry.id), read_labels(entry.labels)
    assert (learned.data == 14).sum() == (drawn.data == 14).sum() > 0
    assert set(learned.data.ravel()) == {0, 14}


def test_filling_is_held_against_the_truth_before_and_after(tiny_cohort, tiny_dataset, tmp_path):
    work = Workspace("nvauto", "smoke", str(tiny_cohort), tmp_path)
    stage = work.recipe().stage("round2")
    partial = next(e for e in tiny_dataset.training if e.is_labeled and 0 < len(e.annotated) < 13)
    unlabeled = next(e for e in tiny_dataset.training if not e.is_labeled)
    for entry in (partial, unlabeled):  # as if a perfect teacher had filled them
        truth = read_labels(entry.truth)
        write_labels(work.run / "pseudo_labels" / "labelsTr" / f"{entry.id}.nii.gz", truth.data, truth.geometry)
    gain = gain_of_filling(work, stage, [partial, unlabeled])
    assert (gain.loc[gain["stage"] == AFTER_FILLING, "dsc"] == 1).all()
    before = gain[gain["stage"] == AS_ANNOTATED]
    assert (before.loc[before["case"] == unlabeled.id, "dsc"] == 0).all()
    organs = before[(before["case"] == partial.id) & (before["target"] != "tumor")]  # lesions may be left unmarked
    assert organs["dsc"].tolist() == [float(name in partial.annotated) for name in organs["target"]]
    view = before_and_after(work, stage, partial)[AFTER_FILLING]
    assert (view.labels == view.prediction).all()


def test_without_a_truth_or_a_teacher_there_is_nothing_to_hold_against(tiny_cohort, tiny_dataset, tmp_path):
    work = Workspace("nvauto", "smoke", str(tiny_cohort), tmp_path)
    entry = next(entry for entry in tiny_dataset.training if entry.is_labeled)
    assert before_and_after(work, work.recipe().stage("round2"), replace(entry, truth=None)) == {}
    tumor_only = Workspace("dkfz_bs8", "smoke", str(tiny_cohort), tmp_path)
    assert gain_of_filling(tumor_only, tumor_only.recipe().stage("batch8"), [entry]).empty


def test_a_missing_teacher_is_named(tiny_cohort, tiny_dataset, tmp_path):
    work = Workspace("stmt", "smoke", str(tiny_cohort), tmp_path)
    (work.run / "submission").mkdir(parents=True)
    (work.run / "submission" / "submission.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="the teacher teacher is not in"):
        fill_examples(work, work.recipe().stage("organs"), tiny_dataset.training[:1])


def test_only_keeps_the_named_targets(tiny_dataset):
    entry = next(entry for entry in tiny_dataset.training if entry.is_labeled)
    labels = read_labels(entry.labels)
    kept = only(labels, ["liver", "spleen"])
    assert set(kept.data.ravel()) <= {0, 1, 3}
    assert (kept.data == 1).sum() == (labels.data == 1).sum()


def test_quality_is_that_of_the_stage_by_source_and_nothing_where_there_is_no_record(tmp_path):
    class Named:
        id, group = "a", "organs5"

    work = Workspace("nvauto", "mini", root=tmp_path)
    stage = work.recipe().stage("round2")
    assert label_quality(work, stage, [Named]).empty
    work.results.mkdir(parents=True)
    columns = "stage,case,target,source,voxels,dsc,system,variant\n"
    rows = ["round2,a,aorta,pseudo,3,0.5,nvauto,as_published", "round2,a,aorta,pseudo,3,0.1,nvauto,other"]
    rows += ["round1,a,aorta,pseudo,3,0.2,nvauto,as_published", "round2,a,aorta,pseudo,3,0.3,stmt,as_published"]
    (work.results / "pseudo_labels.csv").write_text(columns + "\n".join(rows) + "\n")
    assert label_quality(work, stage, [Named]).to_numpy().tolist() == [["a", "aorta", 0.5, "organs5"]]
