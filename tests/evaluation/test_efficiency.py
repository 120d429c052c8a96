"""The efficiency harness: real processes, areas by hand, rows kept and replaced, failures named, a false GPU."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from flare_core import cli
from flare_core.efficiency_board import (
    EfficiencyBoard,
    alike,
    as_subject,
    cost_and_accuracy,
    efficiency_board,
    find_scans,
    growth,
    published_efficiency,
    readable,
    scans_of_sizes,
)
from flare_core.evaluation import efficiency_figures as figures
from flare_core.evaluation.efficiency import (
    Conditions,
    Subject,
    measure_efficiency,
    organizers_area,
    trapezoid_area,
)
from flare_core.evaluation.efficiency_table import COLUMNS, STAGES, EfficiencyTables, samples_file
from flare_core.evaluation.memory import MB, Gpu, watch_process
from flare_core.evaluation.tables import write_csv
from flare_core.output_lock import only_run
from flare_core.paths import WEIGHTS
from flare_core.systems import SYSTEMS
from flare_core.workspace import Workspace

SUBJECT = Subject("ours", Path("nowhere"), "a" * 64)
PREDICTOR = """
import json, os, sys, time
from pathlib import Path
image, out = Path(sys.argv[2]), Path(sys.argv[4])
time.sleep(0.15)  # to be there at the second sample: the first may find a process that has just begun
with open(Path(__file__).with_name("calls.txt"), "a") as calls:
    calls.write(" ".join(sys.argv[1:2] + sys.argv[7:]) + "\\n")
case = image.name.removesuffix("_0000.nii.gz")
if "bad" in case:
    print("reading", case)
    sys.exit(f"{case}: BadInput: a broken file")
if "silent" in case:
    print(f"plan for {case}: one window at a time")
    sys.exit(3)
if "endless" in case:
    time.sleep(60)
(out / ".flare").mkdir(parents=True)
(out / f"{case}.nii.gz").write_bytes(b"labels")
told = {"made_from": {"precision": "bfloat16", "computed_by": "abacus"}}
if "wordless" not in case:
    told |= {"seconds": 0.01, "timings": {"read": 0.004, "network": 0.005}}
(out / ".flare" / f"{case}.json").write_text(json.dumps(told))
"""


@pytest.fixture
def predictor(tmp_path):
    """Conditions that start a program which behaves like `flare predict`, and notes how often it was called."""
    script = tmp_path / "predictor.py"
    script.write_text(PREDICTOR)
    return Conditions(program=(sys.executable, str(script)), warm_up=False)


def calls(tmp_path) -> list[str]:
    return (tmp_path / "calls.txt").read_text().splitlines()


def scans(tmp_path, *names):
    paths = [tmp_path / f"{name}_0000.nii.gz" for name in names]
    for path in paths:
        path.write_bytes(path.name.encode())
    return list(zip(names, paths, strict=True))


def test_areas_by_hand():
    assert organizers_area([100.0, 200.0, 300.0]) == 60  # 600 MB times 0.1 s
    assert organizers_area([4.0, 3.0]) == 1  # 0.7, rounded as theirs
    assert trapezoid_area([0.0, 1.0, 3.0], [0.0, 100.0, 200.0]) == 350  # 50 + 2 * 150
    assert trapezoid_area([0.5], [100.0]) == 0
    assert organizers_area([]) == trapezoid_area([], []) == 0
    with pytest.raises(ValueError, match="a time a sample"):
        trapezoid_area([0.0], [])


def test_a_process_that_holds_a_known_amount_for_a_known_time_is_seen(tmp_path):
    child = "import time; time.sleep(0.5); block = b'x' * (300 * 2**20); time.sleep(1)"
    record = watch_process([sys.executable, "-c", child], tmp_path / "log.txt")
    mb = np.array([sample.host_mb for sample in record.samples])
    times = np.array([sample.time_s for sample in record.samples])
    assert record.exit_code == 0 and record.seconds >= 1.5
    assert mb[0] < 50 and 300 < mb.max() < 350  # the interpreter alone has some ten MB
    assert np.all(np.diff(times) >= 0.1) and times[-1] <= record.seconds
    held = times[mb > 300]
    assert 0.4 < held[0] and held[-1] - held[0] > 0.5  # on a busy machine samples are late
    assert trapezoid_area(times, mb) >= 300 * (held[-1] - held[0])
    assert 300 < record.high_water_mb < 350
    assert np.isnan(record.gpu_before_mb)


def test_children_of_the_process_count(tmp_path):
    block = "import time; block = b'x' * (200 * 2**20); time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {block!r}])"
    record = watch_process([sys.executable, "-c", parent], tmp_path / "log.txt")
    assert max(sample.host_mb for sample in record.samples) > 200


def test_a_process_that_takes_too_long_is_ended_with_its_children(tmp_path):
    parent = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True); p.wait()"
    )
    start = time.perf_counter()
    record = watch_process([sys.executable, "-c", parent], tmp_path / "log.txt", longest_s=1.5)
    assert record.is_late and time.perf_counter() - start < 30
    time.sleep(0.2)
    state = Path(f"/proc/{int(record.output)}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_rows_say_what_a_case_cost_and_where_the_time_went(tmp_path, predictor):
    out = tmp_path / "results" / "efficiency.csv"
    report = measure_efficiency([SUBJECT], scans(tmp_path, "first", "wordless"), out, predictor)
    tables = EfficiencyTables.read(out)
    first, wordless = tables.rows.to_dict("records")
    assert (report.found, report.failures) == (2, {})
    assert tuple(tables.rows.columns) == COLUMNS
    assert first["precision"] == "bfloat16" and first["backend"] == "abacus" and first["memory"] == "host"
    assert first["read_s"] == 0.004 and np.isnan(first["resample_s"])
    assert sum(first[f"{stage}_s"] for stage in STAGES if first[f"{stage}_s"] > 0) == pytest.approx(
        first["seconds"], abs=0.02
    )
    assert all(np.isnan(wordless[f"{stage}_s"]) for stage in STAGES)
    part = tables.samples[tables.samples["run"] == first["run"]]
    assert set(part["memory"]) == {"host"} and part["mb"].max() == first["peak_mb"] > 1
    assert np.isnan(first["slices"])  # no header that could be read


def test_what_is_there_is_kept_unless_forced_or_measured_otherwise(tmp_path, predictor):
    out, images = tmp_path / "efficiency.csv", scans(tmp_path, "first", "second")
    measure_efficiency([SUBJECT], images[:1], out, predictor)
    kept = EfficiencyTables.read(out).rows["run"].tolist()
    measure_efficiency([SUBJECT], images, out, predictor)
    assert len(calls(tmp_path)) == 2 and EfficiencyTables.read(out).rows["run"].tolist()[:1] == kept
    exact = Conditions(options=("--precision", "exact"), program=predictor.program, warm_up=False)
    measure_efficiency([SUBJECT], images, out, exact)
    assert calls(tmp_path)[2:] == ["predict --precision exact"] * 2
    assert len(EfficiencyTables.read(out).rows) == 4
    retrained = Subject("ours", Path("nowhere"), "b" * 64)
    measure_efficiency([retrained], images, out, predictor)
    assert len(calls(tmp_path)) == 6 and len(EfficiencyTables.read(out).rows) == 4  # in the place of the older ones
    measure_efficiency([retrained], images, out, predictor, force=True)
    tables = EfficiencyTables.read(out)
    assert len(calls(tmp_path)) == 8 and set(tables.samples["run"]) == set(tables.rows["run"])
    images[0][1].write_bytes(b"another image of that name")
    measure_efficiency([retrained], images, out, predictor)
    assert len(calls(tmp_path)) == 9


def test_a_row_keeps_its_samples_until_another_one_is_there(tmp_path, predictor, monkeypatch):
    out, images = tmp_path / "efficiency.csv", scans(tmp_path, "first")
    measure_efficiency([SUBJECT], images, out, predictor)
    before = EfficiencyTables.read(out)

    def killed(table, path):
        if path == out and not table.equals(before.rows):
            raise KeyboardInterrupt
        return write_csv(table, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flare_core.evaluation.efficiency_table.write_csv", killed)
        patch.setattr("time.strftime", lambda *_: "a second later")
        measure_efficiency([SUBJECT], images, out, predictor, force=True)
    after = EfficiencyTables.read(out)
    kept = after.samples[after.samples["run"].isin(after.rows["run"])]
    assert after.rows.equals(before.rows) and kept.equals(before.samples)
    measure_efficiency([SUBJECT], images, out, predictor)
    assert EfficiencyTables.read(out).samples.equals(before.samples), "those without a row are gone"


def test_hashes_that_look_like_numbers_stay_what_they_are(tmp_path, predictor):
    out, images = tmp_path / "efficiency.csv", scans(tmp_path, "0001")
    subject = Subject("ours", Path("nowhere"), "12345e678901")
    measure_efficiency([subject], images, out, predictor)
    measure_efficiency([subject], images, out, predictor)
    row = EfficiencyTables.read(out).rows.iloc[0]
    assert (row["submission_sha256"], row["case"], len(calls(tmp_path))) == ("12345e678901", "0001", 1)


def test_a_first_start_goes_before_the_measured_ones(tmp_path, predictor):
    out = tmp_path / "efficiency.csv"
    warm = Conditions(program=predictor.program)
    measure_efficiency([SUBJECT], scans(tmp_path, "first", "second"), out, warm)
    first, second = EfficiencyTables.read(out).rows["first_start_s"]
    assert len(calls(tmp_path)) == 3 and first > 0 and np.isnan(second)


def test_a_failed_case_is_named_and_tried_again_and_the_others_go_on(tmp_path, predictor):
    out, images = tmp_path / "efficiency.csv", scans(tmp_path, "bad", "endless", "fine", "silent")
    images.append(("missing", tmp_path / "missing_0000.nii.gz"))
    hurried = Conditions(program=predictor.program, warm_up=False, longest_s=3)
    report = measure_efficiency([SUBJECT], images, out, hurried)
    rows = EfficiencyTables.read(out).rows.set_index("case")
    assert set(report.results) == {"ours fine"} and len(report.failures) == 4
    assert rows.loc["bad", "failure"] == "BadInput: a broken file" and np.isnan(rows.loc["bad", "seconds"])
    assert rows.loc["endless", "failure"] == "not done after 3 s"
    assert rows.loc["silent", "failure"] == "exit code 3 without a word"
    assert rows["failure"].isna()["fine"] and "missing" not in rows.index
    measure_efficiency([SUBJECT], images[:1], out, hurried)
    assert len(calls(tmp_path)) == 5 and len(EfficiencyTables.read(out).rows) == 4


def test_a_foreign_table_and_a_second_writer_are_refused(tmp_path, predictor):
    out = tmp_path / "efficiency.csv"
    out.write_text("case,dsc\nfirst,1\n")
    with pytest.raises(ValueError, match="no such table"):
        measure_efficiency([SUBJECT], [], out, predictor)
    with only_run(tmp_path), pytest.raises(ValueError, match="in use by process"):
        measure_efficiency([SUBJECT], [], out, predictor)
    assert out.read_text() == "case,dsc\nfirst,1\n"


class FalseNvml:
    """Stands in for the driver's library: 1000 MB belong to others, the child's part grows by 500 MB a reading."""

    class NVMLError(Exception):
        pass

    def __init__(self, names_processes: bool, grows_mb: float = 500) -> None:
        self.names_processes, self.grows_mb, self.used = names_processes, grows_mb, 1000 - grows_mb

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index:
            raise self.NVMLError
        return "handle"

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return b"False GPU"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        self.used += self.grows_mb
        return SimpleNamespace(total=16_000 * MB, free=(16_000 - self.used) * MB)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if not self.names_processes:
            raise self.NVMLError
        children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == os.getpid()]
        own = [SimpleNamespace(pid=pid, usedGpuMemory=250 * MB) for pid in children]
        return [*own, SimpleNamespace(pid=1, usedGpuMemory=9000 * MB)]


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


@pytest.mark.parametrize("names_processes", [True, False])
def test_a_used_gpu_counts_as_the_organizers_count_it(tmp_path, predictor, monkeypatch, names_processes):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = Gpu.find(FalseNvml(names_processes))
    on_gpu = Conditions(program=predictor.program, gpu=gpu, warm_up=False)
    out = tmp_path / "efficiency.csv"
    measure_efficiency([SUBJECT], scans(tmp_path, "first"), out, on_gpu)
    tables = EfficiencyTables.read(out)
    row = tables.rows.iloc[0]
    whole = tables.samples.loc[tables.samples["memory"] == "gpu", "mb"]
    assert row["memory"] == "gpu" and row["gpu_before_mb"] == 1000 and row["processor"].endswith("+ False GPU")
    assert row["peak_mb"] == whole.max() == 1000 + 500 * len(whole)
    assert row["area_sum_mb_s"] == round(whole.sum() / 10)
    assert 1 < row["host_peak_mb"] < 1000
    assert (row["gpu_process_peak_mb"] == 250) if names_processes else np.isnan(row["gpu_process_peak_mb"])


def test_a_gpu_that_nobody_uses_leaves_the_memory_of_the_process(tmp_path, predictor, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    idle = Conditions(program=predictor.program, gpu=Gpu.find(FalseNvml(False, grows_mb=0.5)), warm_up=False)
    measure_efficiency([SUBJECT], scans(tmp_path, "first"), tmp_path / "efficiency.csv", idle)
    row = EfficiencyTables.read(tmp_path / "efficiency.csv").rows.iloc[0]
    assert row["memory"] == "host" and row["peak_mb"] == row["host_peak_mb"]


def test_only_a_visible_device_is_found(monkeypatch):
    for wanted, is_found in (("0", True), ("0,1", True), ("1", False), ("", False), ("none", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        assert (Gpu.find(FalseNvml(True)) is not None) == is_found


@pytest.fixture
def dataset(tmp_path):
    """A dataset folder by its names alone."""
    (tmp_path / "data" / "imagesVal").mkdir(parents=True)
    scans(tmp_path / "data" / "imagesVal", "first", "second")
    return tmp_path / "data"


def test_scans_are_found_in_files_folders_and_datasets(dataset):
    validation = find_scans([dataset / "imagesVal"])
    assert find_scans([dataset]) == validation and [case for case, _ in validation] == ["first", "second"]
    with pytest.raises(ValueError, match="no such file"):
        find_scans([dataset / "nowhere"])
    with pytest.raises(ValueError, match=r"no submission\.json"):
        as_subject(dataset)


def test_a_scan_of_a_size_is_made_once(tmp_path):
    ((case, path),) = scans_of_sizes([2], tmp_path)
    made = path.stat().st_mtime_ns
    assert case == "slices_002" and scans_of_sizes([2], tmp_path) == [(case, path)]
    assert path.stat().st_mtime_ns == made and [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match="slices"):
        scans_of_sizes([0], tmp_path)


def test_the_command_refuses_before_it_starts_anything(tmp_path, dataset):
    there = ["--cases", str(dataset), "-o"]
    for arguments in (
        ["efficiency", str(tmp_path), *there, str(tmp_path / "out.csv")],
        ["efficiency", str(WEIGHTS / "nvauto"), *there, str(tmp_path)],
    ):
        assert cli.main(arguments) == cli.REFUSED
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(SystemExit):
        cli.main(["efficiency", str(WEIGHTS / "nvauto"), "-o", str(tmp_path / "out.csv")])


def test_published_rows_are_complete_and_misprints_flagged():
    table = published_efficiency()
    cases = table[table["what"] == "case"]
    assert cases.groupby("system").size().to_dict() == dict.fromkeys(SYSTEMS, 8)
    assert set(cases["slices"]) == {55, 100, 150, 215, 334, 448, 499, 554}
    assert (cases.groupby("image_id")["slices"].nunique() == 1).all()
    assert set(table.loc[table["flag"].notna(), "flag"]) == {"area_mb_s", "text"}
    assert table["reason"].notna().equals(table["flag"].notna())
    is_impossible = cases["area_mb_s"] / cases["seconds"] > cases["peak_mb"]
    assert set(cases[is_impossible]["system"]) == {"nvauto"}
    assert (cases[is_impossible]["flag"] == "area_mb_s").all() and is_impossible.sum() == 8


def board(made_now: bool = True) -> EfficiencyBoard:
    """Two submissions at three sizes: time 2 + slices / 50, peak 400 + slices, constant memory."""
    rows, samples = [], []
    for name in ("nvauto", "dkfz_bs8"):
        for size in (55, 100, 150):
            run, seconds, peak = f"{name}{size}", 2 + size / 50, 400.0 + size
            row = {"submission": name, "case": str(size), "slices": size, "seconds": seconds, "peak_mb": peak}
            row |= {"area_sum_mb_s": seconds * peak, "memory": "host", "processor": "P", "run": run}
            rows.append(row | {"start_s": 1.0, "network_s": 1.0, "made": "came along"})
            samples += [
                {"submission": name, "run": run, "time_s": t, "memory": "host", "mb": peak} for t in (0.0, seconds)
            ]
    if made_now:
        rows.append(rows[0] | {"seconds": 4.0, "made": "made now"})
    return EfficiencyBoard(pd.DataFrame(rows).reindex(columns=[*COLUMNS, "made"]), pd.DataFrame(samples))


def test_growth_and_means_by_hand():
    lines = growth(board().shown)
    assert lines.loc["nvauto"].round(6).tolist() == [2, 2, 1, 100, 1]
    assert growth(board().shown.head(2)).empty
    scores = pd.DataFrame({"organ DSC": [0.7, np.nan], "tumor DSC": [0.1, 0.2]}, index=["nvauto", "dkfz_bs8"])
    table = cost_and_accuracy(board().shown, scores)
    assert table["measure"].str[:6].tolist() == ["Organs", "Tumors", "Tumors"]
    assert table["seconds"].unique() == pytest.approx([2 + (55 + 100 + 150) / 150])
    assert board().slices() == [55, 150] and board().systems == ["nvauto", "dkfz_bs8"]
    assert cost_and_accuracy(board().shown.iloc[:0], scores).empty


def test_only_rows_of_one_way_are_compared():
    rows = board().rows
    other = rows.iloc[3:5].assign(options="--precision exact", seconds=99.0)
    mixed = EfficiencyBoard(pd.concat([rows, other], ignore_index=True), board().samples)
    assert mixed.shown["seconds"].max() < 99 and set(mixed.shown["made"]) == {"came along"}
    assert mixed.measured["seconds"].max() == 99
    assert "options" in readable(mixed.rows) and "options" not in readable(rows)
    assert "precision" not in readable(rows) and f"precision {rows['precision'].iloc[0]}" in alike(rows)
    assert "precision" in readable(rows.assign(precision=[str(n) for n in range(len(rows))]))
    only_now = EfficiencyBoard(rows.tail(1), board().samples)
    assert len(only_now.shown) == 1 and only_now.slices() == [55]


def test_figures_draw_full_and_small_boards():
    full, scores = board(), pd.DataFrame({"organ DSC": [0.7], "tumor DSC": [0.1]}, index=["nvauto"])
    one = EfficiencyBoard(full.rows.tail(1), full.samples)
    for part in (full, one):
        names = part.systems
        drawn = [
            figures.memory_over_time(part.samples, part.shown, names),
            figures.cost_over_slices(part.measured, published_efficiency(), names, part.limits, "mini"),
            figures.accuracy_against_time(cost_and_accuracy(part.shown, scores), names),
            figures.where_time_goes(part.shown, part.slices(), names),
        ]
        for figure in drawn:
            assert figure._repr_png_().startswith(b"\x89PNG")
        words = [text.get_text() for legend in drawn[1].legends for text in legend.get_texts()]
        assert "area as printed by nvauto: ten times too large" in words
        assert "ours (mini networks), one case measured anew for this figure" in words
    assert {axes.get_ylim() for axes in drawn[2].axes} == {(0, 1)}, "organs and tumors on one scale"
    ends = [text.get_text() for text in drawn[3].axes[0].texts]
    assert ends == [" 4.0 s"]  # the stages that are told, and the rest


@pytest.mark.parametrize("draw", [
    lambda rows: figures.memory_over_time(rows, rows, []),
    lambda rows: figures.cost_over_slices(rows, rows, []),
    lambda rows: figures.accuracy_against_time(rows, []),
    lambda rows: figures.where_time_goes(rows, [], []),
])  # fmt: skip
def test_figures_refuse_nothing_at_all(draw):
    with pytest.raises(ValueError, match="needs"):
        draw(board().rows.iloc[:0])


def test_committed_rows_say_whether_their_networks_are_still_there(tmp_path):
    work = Workspace("nvauto", "mini")
    found = efficiency_board(work)
    assert set(found.rows["made"]) <= {"came along", "came along, other networks"}
    table = readable(found.rows)
    assert "made" in table and "time (s)" in table
    assert efficiency_board(Workspace("nvauto", "mini", root=tmp_path)).rows.empty
    assert samples_file(tmp_path / "efficiency.csv").name == "efficiency_samples.csv"
    assert board().limits["nvauto"].time_s == 15 and board().limits["dkfz_bs8"].time_s == 45
