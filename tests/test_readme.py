"""The README says what the result files say."""

import pandas as pd
import pytest

from flare_core import readme
from flare_core.paths import WEIGHTS, results_of
from flare_core.systems import SYSTEMS
from flare_core.targets import targets_block


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda path: path.name)
def test_every_number_of_the_tables_comes_from_the_committed_results(page):
    text = page.read_text()
    assert readme.filled(text, readme.PAGES[page]) == text


def test_what_is_not_measured_is_not_met_and_a_peer_without_memory_is_said_to_be(tmp_path):
    assert "met" not in targets_block(tmp_path).replace("not measured", "")
    own = {"input": "synthetic 512x512x499", "network": "paper", "tool": "flare_core", "processor": "some", "cores": 2}
    own |= {"runs": 2, "seconds_median": 200.0, "peak_mib": 2048, "outcome": "done"}
    peer = own | {"tool": "nnunetv2", "seconds_median": None, "peak_mib": 20480, "outcome": "out of memory"}
    short = [row | {"input": "synthetic 512x512x100", "outcome": "done"} for row in (own, peer)]
    short[1] |= {"seconds_median": 700.0}
    pd.DataFrame([own, peer, *short]).to_csv(tmp_path / "prediction.csv")
    block = targets_block(tmp_path)
    assert "| 512x512x499 | 200 s, 2.0 GiB; nnU-Net out of memory beyond 20 GiB | met |" in block
    assert "| 512x512x100 | 3.5 times as fast: 200 and 700 s (2 runs and 2 runs) | **missed** |" in block
    assert "| 512x512x215 |  | not measured |" in block


def test_what_makes_the_difference_is_said_where_all_our_ways_were_measured(tmp_path):
    row = {"input": "synthetic 512x512x100", "network": "paper", "processor": "some", "cores": 2, "runs": 2}
    seconds = {"flare_core": 10.0, "flare_core, OpenVINO float32": 20.0, "flare_core, torch float32": 60.0}
    rows = [row | {"tool": t, "seconds_median": s, "peak_mib": 1} for t, s in (seconds | {"nnunetv2": 70.0}).items()]
    pd.DataFrame(rows).to_csv(tmp_path / "prediction.csv")
    said = "of this 3.0 times by OpenVINO, both float32, and 2.0 by bfloat16; ours with torch: 60 s |  |"
    assert said in targets_block(tmp_path)


def test_a_difference_of_our_evaluation_misses_its_target(tmp_path):
    row = {"input": "synthetic 512x512x500", "processor": "some", "cores": 2, "runs": 3}
    row |= {"seconds_median": 1.0, "peak_mib": 400}
    same = {"largest_dsc_difference": 0.0, "largest_nsd_difference": 0.0}
    ours = row | same | {"tool": "flare_core", "largest_nsd_difference": 0.5}
    pd.DataFrame([ours, row | same | {"tool": "surface-distance"}]).to_csv(tmp_path / "evaluation.csv")
    assert "| all inputs | largest difference 0.5 | **missed** |" in targets_block(tmp_path)


def test_a_network_that_sees_nothing_proves_nothing_by_its_score(tmp_path):
    row = {"equal_foreground": 0.995, "equal_foreground_worst_case": 0.95, "processor": "some", "cores": 2}
    blind = row | {"submission": "blind", "mean_dsc_float32_torch": 0.02, "dsc_points_difference": 0.0}
    sees = row | {"submission": "sees", "mean_dsc_float32_torch": 70.0, "dsc_points_difference": -0.2}
    pd.DataFrame([blind, sees]).to_csv(tmp_path / "backends.csv")
    block = targets_block(tmp_path)
    assert "99.50% of foreground voxels equal (of a single case: 95.0%) | met |" in block
    assert "| worst of sees | mean DSC 0.20 points apart | **missed** |" in block
    assert "| blind | nothing follows" in block


def test_memory_that_grows_or_an_estimate_that_is_exceeded_misses_its_target(tmp_path):
    row = {"submission": "some", "file": ".nii", "processor": "some", "cores": 2, "seconds_min": 1.0, "peak_mib": 100}
    short = row | {"slices": 100, "peak_filled_mib": 200, "beyond_arrays_mib": 100, "estimate_mib": 300}
    long = row | {
        "slices": 200,
        "peak_filled_mib": 400,
        "beyond_arrays_mib": 165,
        "estimate_mib": 399,
        "seconds_min": 2.0,
    }
    pd.DataFrame([short, long]).to_csv(tmp_path / "scaling.csv")
    block = targets_block(tmp_path)
    assert "+65 MiB beyond the arrays, 64 allowed | **missed** |" in block
    assert "no estimate exceeded | **missed** |" in block and "10.00 ms a slice" in block
    assert "| swinx |  | not measured |" in block


def test_what_a_submission_does_not_segment_has_no_score(tmp_path, monkeypatch):
    rows = ["organs", "tumor_bearing_cases", "tumor_free_cases"]
    table = pd.DataFrame({"row": rows, "cases": 2, "dsc": 0.5, "nsd": 0.25, "false_positive_ml": 0.0, "seed": 0})
    runs = [("dkfz_bs8", "as_published"), ("stmt", "complete_only"), ("stmt", "supervised_tumor")]
    runs.append(("stmt", "renamed since"))
    rows = [table.assign(system=s, variant=v, seed=n, submission=f"hash{n}") for s, v in runs for n in (0, 1)]
    pd.concat(rows).to_csv(tmp_path / "summary.csv", index=False)
    monkeypatch.setattr(readme, "results_of", lambda profile: tmp_path)
    assert readme.results_block().splitlines()[2:] == [
        "| `dkfz_bs8` | the method | tumor only |  | 0.500 (2) | 0.250 | 0.0 (2) |",
        "| `stmt` | complete only | 0.500 | 0.250 | organs only |  |  |",
        "| `stmt` | supervised tumor | 0.500 | 0.250 | 0.500 (2) | 0.250 | 0.0 (2) |",
    ]


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="once each"):
        readme.filled("# Nothing here")


def test_the_mini_profile_keeps_what_was_asked_of_it():
    """Organs at 0.70 or more, and training on partial labels as they are at least 20 points worse."""
    summary = pd.read_csv(results_of("mini") / "summary.csv").set_index(["system", "variant", "row"])
    organs = summary.loc[("nvauto", "as_published", "organs"), "dsc"]
    assert organs >= 0.70
    assert organs - summary.loc[("nvauto", "partial_as_full", "organs"), "dsc"] >= 0.20
    assert all(
        summary.loc[(key, "as_published", "organs"), "dsc"] >= 0.60 for key in SYSTEMS if SYSTEMS[key].segments_organs
    )
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 30e6


def test_every_row_of_the_study_says_how_its_network_was_trained():
    summary = pd.read_csv(results_of("study") / "summary.csv")
    assert set(summary.system) == set(SYSTEMS)
    assert summary[["seed", "steps", "device"]].notna().all(axis=None) and (summary.steps > 0).all()


@pytest.mark.parametrize("profile", ["mini", "study"])
def test_experiments_were_made_with_the_networks_of_the_results(profile):
    """`flare ablate` predicts again, on whatever processor: the third digit may differ."""
    trained, used = (pd.read_csv(results_of(profile) / f"{name}.csv") for name in ("scores", "inference_scores"))
    both = trained.merge(used, on=["system", "variant", "seed", "case", "target"])
    changes = (both.dsc_x - both.dsc_y).groupby([both.system, both.variant]).mean().abs()
    assert len(changes) and changes.max() < 0.003, f"flare ablate {changes.idxmax()[0]} --profile {profile}"
