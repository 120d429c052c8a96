"""Result tables: the rows of a system, variant and seed that are made again are replaced, the others stay."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from flare_core import retrain as retraining
from flare_core.paths import WEIGHTS
from flare_core.retrain import retrain, ship, update_results
from flare_core.scoreboard import mean_over_seeds
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run

COLUMNS = ["case", "dsc", "system", "variant", "seed"]


@pytest.fixture
def update(tmp_path):
    """Write rows (case, dsc) of a system, variant and seed; return the whole table."""

    def write(system, rows, variant="as_published", seed=0):
        run = Run(SYSTEMS[system], "mini", None, Path(), seed, variant=variant)
        table = pd.DataFrame(rows, columns=COLUMNS[:2]).assign(system=system, variant=variant, seed=seed)
        return pd.read_csv(update_results(table, tmp_path / "scores.csv", run)).to_numpy().tolist()

    return write


@pytest.fixture
def wanted(monkeypatch):
    """Return which systems and variants a call of `retrain` would train, as system:variant."""

    def ask(*systems, ablations, **options):
        asked = []
        monkeypatch.setattr(retraining, "provide_cohort", lambda profile: None)
        monkeypatch.setattr(retraining, "train_runs", lambda runs, jobs: asked.extend(runs) or [])
        retrain("smoke", systems=systems, ablations=ablations, **options)
        return [f"{run.system.key}:{run.variant}" for run in asked]

    return ask


def test_ablations_are_trained_by_name_all_or_none(wanted):
    assert wanted("stmt", "swinx", ablations=()) == ["stmt:as_published", "swinx:as_published"]
    assert wanted("stmt", ablations=["every_component", "complete_only"]) == ["stmt:as_published", "stmt:complete_only"]
    trained = {name for name in SYSTEMS["stmt"].ablations if SYSTEMS["stmt"].trains(name)}
    assert set(wanted("stmt", ablations=None)) == {f"stmt:{name}" for name in trained | {"as_published"}}
    named = wanted("stmt", "swinx", ablations=["from_scratch"])
    assert named == ["stmt:as_published", "swinx:as_published", "swinx:from_scratch"]


def test_ablations_are_trained_alone_where_the_method_is_to_stay(wanted):
    assert wanted("stmt", "swinx", ablations=["from_scratch"], alone=True) == ["swinx:from_scratch"]
    assert "stmt:as_published" not in wanted("stmt", ablations=None, alone=True)
    with pytest.raises(ValueError, match="name the ablations that are to be trained alone"):
        wanted("stmt", ablations=(), alone=True)


def test_an_ablation_that_no_system_has_is_named_before_anything_is_made(wanted):
    with pytest.raises(ValueError, match="no ablation complete_onyl; choose from complete_only, every_component"):
        wanted("stmt", ablations=["complete_onyl"])
    with pytest.raises(ValueError, match="no ablation stmt; .*systems are named before --ablations"):
        wanted(ablations=["stmt"])


def test_rows_of_other_systems_stay_and_the_order_is_that_of_the_systems(update):
    update("swinx", [("a", 0.1)])
    update("nvauto", [("a", 0.2)])
    update("stmt", [("b", 0.3), ("a", 0.4)])
    assert update("nvauto", [("a", 0.25)]) == [
        ["a", 0.25, "nvauto", "as_published", 0],
        ["b", 0.3, "stmt", "as_published", 0],
        ["a", 0.4, "stmt", "as_published", 0],
        ["a", 0.1, "swinx", "as_published", 0],
    ]


def test_variants_and_seeds_are_kept_apart(update):
    update("nvauto", [("a", 0.1)], seed=1)
    update("nvauto", [("a", 0.2)], variant="naive_tumor")
    update("nvauto", [("a", 0.3)])
    update("nvauto", [("a", 0.4)], seed=1)
    assert [row[1:] for row in update("nvauto", [("a", 0.5)], variant="naive_tumor")] == [
        [0.3, "nvauto", "as_published", 0],
        [0.4, "nvauto", "as_published", 1],
        [0.5, "nvauto", "naive_tumor", 0],
    ]


def test_systems_and_ablations_that_are_gone_and_rows_that_are_no_longer_made_go(update, tmp_path):
    rows = ["a,0.1,nobody,as_published,0", "a,0.2,dkfz_bs8,as_published,0", "a,0.3,nvauto,as_published,0"]
    rows.append("a,0.4,nvauto,renamed,0")
    (tmp_path / "scores.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    assert update("dkfz_bs8", []) == [["a", 0.3, "nvauto", "as_published", 0]]


def test_a_table_without_rows_has_its_columns(update, tmp_path):
    assert update("dkfz_bs8", []) == []
    assert (tmp_path / "scores.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_numbers_of_others_are_written_back_as_they_were(update, tmp_path):
    row = "a,0.1234567890123456,stmt,as_published,0\n"
    (tmp_path / "scores.csv").write_text(",".join(COLUMNS) + "\n" + row)
    update("nvauto", [("a", 0.5)])
    assert row in (tmp_path / "scores.csv").read_text()


def test_commands_that_write_at_once_lose_no_row(update):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: update("stmt", [("a", 0.5)], seed=seed), range(12)))
    assert [row[-1] for row in update("nvauto", [])] == list(range(12))


@pytest.fixture
def shipping(tmp_path, monkeypatch):
    """A submission as a run leaves it, and where an older one with its card lies."""
    submission, target = tmp_path / "submission", tmp_path / "weights" / "dkfz_bs8"
    monkeypatch.setattr(retraining, "WEIGHTS", target.parent)
    shutil.copytree(WEIGHTS / "dkfz_bs8", submission, ignore=shutil.ignore_patterns("README.md"))
    target.mkdir(parents=True)
    (target / "README.md").write_text("card of the older one")
    (target / "older.txt").write_text("older")
    return submission, target


def test_a_submission_is_shipped_with_its_card(shipping):
    submission, target = shipping
    ship(submission, target)
    names = {path.relative_to(submission) for path in submission.rglob("*")}
    assert {path.relative_to(target) for path in target.rglob("*")} == names | {Path("README.md")}
    assert (target / "README.md").read_text() == (WEIGHTS / "dkfz_bs8" / "README.md").read_text()
    assert list(target.parent.iterdir()) == [target]
    ship(submission, submission.with_name("of_a_profile_that_is_not_shipped"))
    assert not (submission.with_name("of_a_profile_that_is_not_shipped") / "README.md").exists()


@pytest.mark.parametrize("broken", ["shutil.copytree", "flare_core.model_cards.card"])
def test_what_was_shipped_stays_until_all_that_takes_its_place_is_there(shipping, monkeypatch, broken):
    submission, target = shipping

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(broken, killed)
        ship(submission, target)
    assert (target / "older.txt").exists() and (target / "README.md").exists()
    ship(submission, target)
    assert list(target.parent.iterdir()) == [target] and not (target / "older.txt").exists()


def test_what_was_shipped_comes_back_where_the_last_step_was_not_done(shipping, monkeypatch):
    submission, target = shipping
    rename = os.rename

    def killed(old, new):
        if Path(new) == target:
            raise KeyboardInterrupt
        rename(old, new)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", killed)
        ship(submission, target)
    assert not target.exists()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr("shutil.copytree", lambda *_: (_ for _ in ()).throw(OSError("full")))
        ship(submission, target)
    assert (target / "older.txt").exists()


def test_seeds_are_averaged_for_display():
    rows = [("a", 0.2, "stmt", "as_published", 0), ("b", 0.5, "stmt", "as_published", 0)]
    rows += [("a", 0.4, "stmt", "as_published", 1), ("b", 0.7, "stmt", "as_published", 1)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.assign(submission=[f"hash{seed}" for seed in table["seed"]], steps=8000 + 80 * table["seed"])
    table = mean_over_seeds(table)
    assert table.columns.tolist() == ["case", "system", "variant", "dsc"]
    assert table.dsc.round(6).tolist() == [0.3, 0.6]
