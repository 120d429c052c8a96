"""Our numbers beside the printed ones: every cell has a value or a reason, and values are those of the result files."""

import shutil

import numpy as np
import pandas as pd
import pytest

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES
from flare_core.evaluation.published import TABLES, counterparts, published_tables
from flare_core.models.segresnet import SegResNet
from flare_core.paper_tables import SOURCES, export_tables, our_results, paper_table, paper_tables, warning
from flare_core.paths import results_of
from flare_core.protocols import OURS, environments, protocol_differences, settings_beside
from flare_core.recipe import replaced
from flare_core.systems import SYSTEMS
from flare_core.training.losses import DiceFocal, DiceWeightedFocal
from flare_core.workspace import COHORTS, Workspace

RESULTS = ("scores", "summary", "efficiency", "efficiency_samples", "cross_validation")


def workspace(cohort, root):
    """A workspace on a tiny cohort whose committed results are those of `mini`."""
    work = Workspace("nvauto", "smoke", str(cohort), root)
    work.results.mkdir(parents=True)
    for name in RESULTS:
        shutil.copy(results_of("mini") / f"{name}.csv", work.results)
    return work


@pytest.fixture(scope="module")
def work(tiny_cohort, tmp_path_factory):
    return workspace(tiny_cohort, tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def tables(work):
    return {table.name: table for table in paper_tables(work)}


def cell(table, label, column, group=None):
    rows = table.cells[(table.cells["label"] == label) & (table.cells["column"] == column)]
    (row,) = (rows if group is None else rows[rows["group"] == group]).itertuples()
    return row


def committed(name, system):
    table = pd.read_csv(results_of("mini") / f"{name}.csv")
    return table[(table["system"] == system) & (table["variant"] == "as_published")]


def test_every_printed_cell_has_a_line_that_says_what_of_ours_belongs_there():
    lines = counterparts()
    assert set(lines["source"]) <= {"", *SOURCES}
    assert (lines["source"].ne("") | lines["reason"].ne("")).all(), "a source, or the reason why there is none"
    cells = published_tables()
    for line in lines.itertuples():
        same = cells[(cells["paper"] == line.paper) & (cells["table"] == int(line.table))]
        for name in ("label", "group", "column"):
            same = same[same[name].eq(getattr(line, name)) | (getattr(line, name) == "")]
        assert len(same), f"no printed cell fits {line}"


def test_all_tables_have_a_value_or_a_reason_in_every_cell(tables):
    assert list(tables) == [f"{paper}_table{n}" for paper, numbers in TABLES.items() for n in numbers]
    for table in tables.values():
        assert (table.cells["ours"].isna() == table.cells["empty"].ne("")).all(), table.name
        assert table.cells["ours"].notna().any(), table.name
        filled = table.cells[table.cells["ours"].notna()]
        assert filled[["source", "system", "profile", "recorded", "made"]].ne("").all(axis=None), table.name
        assert filled["cases_ours"].ge(1).all() or table.name == "nvauto_table1"
        assert len(table.layout()) == 2 * table.cells["label"].nunique()
    assert "Number labeled classes" not in tables["nvauto_table1"].layout().columns.to_list(), (
        "it repeats the names of the rows"
    )


def test_scores_are_the_means_over_cases_in_percent(tables):
    scores = committed("scores", "stmt")
    table = tables["stmt_table4"]
    liver = cell(table, "Liver", "DSC(%)", "Public Validation")
    expected = scores.loc[scores["target"] == "liver", "dsc"]
    assert liver.ours == pytest.approx(100 * expected.mean())
    assert liver.ours_spread == pytest.approx(100 * expected.std())
    assert liver.difference == pytest.approx(liver.ours - 97.41)
    assert (liver.seeds, liver.cases_ours, liver.made) == ("0", 20, "came along")
    average = cell(table, "Average", "NSD(%)", "Public Validation")
    by_target = scores.groupby("target")["nsd"]
    assert set(by_target.groups) == set(TARGET_NAMES)
    assert average.ours == pytest.approx(100 * by_target.mean().mean())
    assert average.ours_spread == pytest.approx(100 * by_target.std().mean()), (
        "as printed: the mean of the rows' spreads"
    )
    other = cell(table, "Liver", "DSC(%)", "Online Validation")
    assert np.isnan(other.ours) and "one validation set" in other.empty


def test_what_cannot_be_meant_is_not_compared(tables):
    flagged = pd.concat([table.cells for table in tables.values()]).query("flag in ('misprint', 'implausible')")
    assert flagged["ours"].notna().sum() == 25 and flagged["difference"].isna().all()
    misprint = cell(tables["stmt_table4"], "Esophagus", "DSC(%)", "Public Validation")
    assert (misprint.flag, misprint.printed[:5]) == ("misprint", "92.39")
    areas = tables["nvauto_table5"]
    assert not areas.colors()["Total GPU (MB)"].any() and areas.colors()["Running Time (s)"].any()


def test_a_counterpart_that_is_unlike_is_noted_under_the_table(tables):
    (note,) = (line for line in tables["efficient_nnunet_table6"].doubts if "four times the weights" in line)
    assert "on the student's grid" in note


def test_an_average_of_organs_leaves_the_tumor_out(tables):
    scores = committed("scores", "efficient_nnunet")
    average = cell(tables["efficient_nnunet_table4"], "Organ Average", "DSC(%)", "Public Validation")
    means = scores[scores["target"].isin(ORGAN_NAMES)].groupby("target")["dsc"].mean()
    assert average.ours == pytest.approx(100 * means.mean())
    assert average.ours_spread == pytest.approx(100 * means.std(ddof=0)), "as printed: over the targets"


def test_each_submission_of_a_paper_has_its_own_numbers(tables):
    table = tables["dkfz_table3"]
    for label, system in (("BS 8", "dkfz_bs8"), ("BS 4+8", "dkfz_bs4_8")):
        scores = committed("scores", system)
        expected = 100 * scores.loc[scores["target"] == "tumor", "dsc"].mean()
        assert cell(table, label, "DSC(%)", "Public Validation").ours == pytest.approx(expected)


def test_folds_are_those_that_are_trained(tables):
    table = tables["nvauto_table4"]
    rows = committed("cross_validation", "nvauto")
    rows = rows[rows["target"] == "liver"].groupby("fold")["dsc"].mean()
    assert cell(table, "Liver", "fold 1").ours == pytest.approx(100 * rows[1])
    assert cell(table, "Liver", "Average").ours == pytest.approx(100 * rows.mean())
    assert cell(table, "Liver", "Average").ours_spread == pytest.approx(100 * rows.std(ddof=0))
    assert cell(table, "Liver", "fold 2").empty == "this fold is not trained at the profile smoke (folds 0, 1 are)"


def test_costs_are_of_the_scan_of_the_same_size_and_compared_as_factors(tables):
    table = tables["nvauto_table5"]
    efficiency = pd.read_csv(results_of("mini") / "efficiency.csv")
    (row,) = efficiency[(efficiency["submission"] == "nvauto") & (efficiency["slices"] == 448)].itertuples()
    time = cell(table, "0063", "Running Time (s)")
    assert (time.ours, time.difference) == (row.seconds, pytest.approx(row.seconds / 28.7))
    assert cell(table, "0063", "Total GPU (MB)").ours == row.area_sum_mb_s
    assert cell(table, "0063", "Image Size").ours == 448
    assert time.device.endswith("memory of the host") and time.recorded == row.measured[:10]
    assert any("on a GPU" in line for line in table.doubts)
    minutes = cell(tables["efficient_nnunet_table6"], "Small nnU-Net", "Running Time")
    expected = efficiency.loc[efficiency["submission"] == "efficient_nnunet", "seconds"].mean()
    assert minutes.ours == pytest.approx(expected)


def test_subsets_are_counted_in_the_data_at_hand(work, tables):
    table = tables["nvauto_table1"]
    annotated = [len(entry.annotated or ()) for entry in work.annotated_dataset().training]
    assert table.cells["ours"].to_list() == [annotated.count(number) for number in (14, 6, 1, 0)]


def test_seeds_are_averaged_and_named(tiny_cohort, tmp_path):
    work = workspace(tiny_cohort, tmp_path)
    scores = pd.read_csv(work.results / "scores.csv")
    stmt = scores[scores["system"] == "stmt"]
    more = stmt.assign(seed=1, dsc=stmt["dsc"] / 2, recorded="2026-02-03T00:00:00+0000")
    pd.concat([scores, more]).to_csv(work.results / "scores.csv", index=False)
    liver = cell(paper_table(our_results(work), "stmt", 4), "Liver", "DSC(%)", "Public Validation")
    expected = committed("scores", "stmt").query("target == 'liver'")["dsc"].mean() * 0.75
    assert liver.ours == pytest.approx(100 * expected)
    assert (liver.seeds, liver.cases_ours) == ("0, 1", 20)
    assert liver.recorded == f"2026-02-03 to {stmt['recorded'].iloc[0][:10]}"


@pytest.mark.parametrize(
    ("paper", "number", "label", "column", "system", "variant"),
    [
        ("stmt", 3, "nnU-Net", "DSC(%)", "nvauto", "partial_as_full"),
        ("stmt", 3, "FSO", "DSC(%)", "stmt", "complete_only"),
        ("stmt", 3, "Self-training with part label", "NSD(%)", "stmt", "without_unlabeled"),
        ("stmt", 3, "FST", "DSC(%)", "stmt", "supervised_tumor"),
        ("efficient_nnunet", 6, "Small nnU-Net", "Val Organ DSC(%)", "efficient_nnunet", "labeled_only"),
        ("efficient_nnunet", 6, "Default nnU-Net", "Val Organ NSD(%)", "efficient_nnunet", "large_labeled_only"),
        ("efficient_nnunet", 6, "Default nnU-Net+unlabel", "Val Organ DSC(%)", "efficient_nnunet", "large"),
    ],
)
def test_an_ablation_fills_its_row_once_it_is_trained(
    paper, number, label, column, system, variant, tiny_cohort, tmp_path
):
    work = workspace(tiny_cohort, tmp_path)
    scores = pd.read_csv(work.results / "scores.csv")
    scores = scores[scores["variant"] == "as_published"]
    scores.to_csv(work.results / "scores.csv", index=False)
    group = "Organ" if label == "nnU-Net" else None  # the one row of these with two groups
    before = cell(paper_table(our_results(work), paper, number), label, column, group)
    command = f"flare retrain {system} --ablations {variant} --profile smoke"
    assert before.empty == f"{system}, {variant}: not trained at the profile smoke; {command}"
    assert np.isnan(before.ours)
    made = scores[scores["system"] == system].assign(variant=variant, dsc=0.25, nsd=0.5, seed=3)
    pd.concat([scores, made]).to_csv(work.results / "scores.csv", index=False)
    after = cell(paper_table(our_results(work), paper, number), label, column, group)
    assert after.ours == pytest.approx(25 if column.endswith("DSC(%)") else 50)
    assert (after.system, after.variant, after.seeds, after.empty) == (system, variant, "3", "")
    assert variant in SYSTEMS[system].at("study").ablations


def test_without_results_every_cell_says_so(tiny_cohort, tmp_path):
    work = Workspace("nvauto", "smoke", str(tiny_cohort), tmp_path)
    for table in paper_tables(work)[1:]:
        assert table.cells["ours"].isna().all() and table.cells["empty"].ne("").all()
        assert table._repr_html_() and table.to_latex() and table.to_markdown()


@pytest.mark.parametrize("profile", COHORTS)
def test_the_head_says_that_synthetic_numbers_are_not_flares(profile, tiny_cohort):
    assert "synthetic cohort" in warning(Workspace(profile=profile))
    assert "not results on FLARE's data" in warning(Workspace(profile=profile))
    assert "synthetic" not in warning(Workspace(profile=profile, data=str(tiny_cohort))).split(" come from ")[0]


def test_everything_is_exported_and_every_file_says_where_our_values_come_from(tables, tmp_path):
    files = export_tables(tables.values(), tmp_path / "out")
    assert len(files) == 14 * 3 == len(list((tmp_path / "out").iterdir()))
    for name in tables:
        for ending in ("md", "tex"):
            text = (tmp_path / "out" / f"{name}.{ending}").read_text()
            assert "values of ours: " in text.replace("\\", "")
            assert ending != "tex" or text.isascii()


def test_a_wrong_hyper_parameter_is_a_red_cell():
    differences = protocol_differences()
    html = settings_beside(differences).to_html()
    unequal = differences[~differences["equal"]]
    assert html.count("≠ printed") == len(unequal.groupby(["system", "stage", "key"])) > 0
    one = differences[differences["key"] == "epochs"].index[0]
    wrong = differences.copy()
    wrong.loc[one, ["ours", "equal"]] = ["7", False]
    changed = settings_beside(wrong)
    assert f"7  ≠ printed {differences.loc[one, 'published']}" in changed.to_html()
    assert changed.to_html().count("≠ printed") == html.count("≠ printed") + 1


def test_a_wrong_loss_or_initialization_is_a_red_cell(monkeypatch):
    wrong = (
        ("dkfz_bs8", "batch8.loss.loss", DiceFocal(), "Dice + focal"),
        ("nvauto", "round2.loss.loss", DiceWeightedFocal(), "DiceWeightedFocal"),
        ("nvauto", "round1.start", "localizer", "pretrained"),
        ("efficient_nnunet", "teacher.network", SegResNet(8, (1, 1), 1), "random"),
        ("swinx", "finetuning.start", "", "random"),
    )
    for key, where, value, _ in wrong:
        monkeypatch.setitem(SYSTEMS, key, replaced(SYSTEMS[key], where, value))
    differences = protocol_differences().query("key in ('loss', 'initialization') and not equal")
    found = {(row.system, row.stage, row.ours) for row in differences.itertuples()}
    assert found == {(key, where.partition(".")[0], ours) for key, where, _, ours in wrong}


def test_settings_with_most_red_cells_come_first():
    table = settings_beside(protocol_differences()).data
    red = table.apply(lambda column: column.str.contains("≠").sum())
    assert red.is_monotonic_decreasing and red.index[0] == "parameters"
    assert red.index[red.eq(0)].to_list() == [key for key in OURS if not red[key]], "the others as a stage has them"


def test_environments_of_the_papers_stand_beside_this_machine():
    table = environments()
    assert table.loc["CUDA version", ["nvauto", "swinx"]].to_list() == ["12.1", "11.8"]
    assert table.loc["Programming language", "here"].startswith("3.")
    assert table.loc["GPU (number and type)"].ne("").sum() == 5
