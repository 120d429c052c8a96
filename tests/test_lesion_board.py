"""Lesions of all systems: counted now where predictions are, else as they came along."""

import json
import shutil

import pandas as pd
import pytest

from flare_core import lesion_board as board
from flare_core.inference.submission import submission_hash
from flare_core.workspace import Workspace


@pytest.fixture
def work(tiny_cohort, tmp_path):
    """The references lie where nvauto's predictions go, as if its networks had made them."""
    work = Workspace("nvauto", "smoke", str(tiny_cohort), tmp_path)
    (work.run / "submission").mkdir(parents=True)
    (work.run / "submission" / "submission.json").write_text("{}")
    shutil.copytree(tiny_cohort / "labelsVal", work.predictions)
    for entry in work.dataset().validation:
        record = work.predictions / ".flare" / f"{entry.id}.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"made_from": {"model": submission_hash(work.submission)}}))
    return work


def test_what_is_predicted_here_is_counted_now_and_the_others_came_along(work):
    work.results.mkdir(parents=True)
    rows = [("x", 3, 1, 5, 4, "stmt", "as_published"), ("y", 1, 1, 1, 0, "stmt", "as_published")]
    rows += [("x", 3, 3, 3, 0, "stmt", "other"), ("x", 9, 0, 9, 9, "nvauto", "as_published")]
    columns = ["case", "lesions", "found", "predicted", "false_positives", "system", "variant"]
    pd.DataFrame(rows, columns=columns).to_csv(work.results / "lesions.csv", index=False)
    table = board.lesion_board("smoke", work.data, work.root)
    assert table.loc["stmt"].to_list() == [2, 4, 2, 0.5, 2.0, "came along"]
    assert table.loc["nvauto", ["cases", "sensitivity", "false_positives_a_case", "counted"]].to_list() == [
        2,
        1.0,
        0.0,
        "made now",
    ]
    assert list(table.index) == ["nvauto", "stmt"]


def test_no_system_gives_no_row(tiny_cohort, tmp_path):
    assert board.lesion_board("smoke", str(tiny_cohort), tmp_path).empty


def test_rows_are_recorded_with_what_made_them(work, monkeypatch):
    class Nothing:
        failures = {}
        facts = {"run_seed": 5}

    monkeypatch.setattr(board, "predict_validation", lambda work: Nothing)
    monkeypatch.setattr(board, "load_submission", lambda folder: Nothing)
    board.record_lesions(work)
    written = pd.read_csv(work.results / "lesions.csv")
    assert written["case"].to_list() == [entry.id for entry in work.dataset().validation]
    assert written[["system", "variant", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["nvauto", "as_published", 5]
    ]
    monkeypatch.setattr(Nothing, "failures", {"x": "broken"})
    with pytest.raises(RuntimeError, match="broken"):
        board.record_lesions(work)
