"""SIGKILL at random moments: no half file under a final name, and what is resumed ends as if nothing had happened.

Driver, worker, trainer and papermill are killed three times each here, and fifty times in `make test-all`.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from batch_cases import write_slowly
from notebook_builder import write_notebook
from reliability import recorded

from flare_core.batch import Engine, map_cases
from flare_core.exits import INTERRUPTED
from flare_core.ledger import ledger_file, read_ledger
from flare_core.storage import TEMPORARY
from flare_core.training.checkpoint import load_checkpoint, previous

SCRIPT = Path(__file__).with_name("killed_runs.py")
how_often = pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])


@contextmanager
def told(what, kills):
    """Note what the long form has survived."""
    with recorded(f"killed: {what}", "make test-all") if kills > 3 else nullcontext({}) as row:
        yield row
        row["tried"] = row.get("tried") or kills
        row["outcome"] = "nothing half written, nothing lost, resumed to the same bytes"


def start(*words):
    """Start a run; return it, once its imports are done, with what it says to nobody."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "started\n"
    return process


def end(process) -> int:
    """Wait for a run to end and return its exit code."""
    code = process.wait(timeout=300)
    process.stdout.close()
    return code


def killed_and_resumed(words, kills, seconds, look):
    """Kill a run at random moments of its first `seconds`, look at what it left each time, then let it finish."""
    moments, hits = np.random.default_rng(kills), 0
    for _ in range(kills):
        process = start(*words)
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        hits += end(process) == -signal.SIGKILL
        look()
    assert hits, "no kill met a running process"
    assert end(start(*words)) == 0


def seconds_of(*words) -> float:
    """Let a run finish, and return how long it took after its imports."""
    process, began = start(*words), time.perf_counter()
    assert end(process) == 0
    return time.perf_counter() - began


def files(folder, *, but=()):
    """Every finished file of a folder with its content, without those named."""
    found = [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name not in but]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if not re.fullmatch(TEMPORARY, p.name)}


def assert_part_of(folder, whole, but):
    """All that lies in a folder under a final name is as in the whole run."""
    there = files(folder, but=but)
    assert there.items() <= whole.items(), [name for name in there if whole.get(name) != there[name]]
    read_ledger(folder)  # every line of it is whole


def heed_interrupts():
    """Undo what a shell does to whatever it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_command_says_so_and_ends_with_code_130(tiny_cohort, tmp_path):
    for trial in range(20):  # a quick machine may be done with all cases before it is interrupted
        out = tmp_path / str(trial) / "scores.csv"
        words = ["evaluate", tiny_cohort / "labelsTr", tiny_cohort / "labelsTr", "-o", out]
        command = [sys.executable, "-m", "flare_core.cli", *map(str, words)]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=heed_interrupts
        ) as process:
            ledger = ledger_file(out.parent)
            while process.poll() is None and not (ledger.is_file() and ledger.stat().st_size):
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        if process.returncode:
            break
    assert process.returncode == INTERRUPTED == 130 and said.splitlines()[-1] == "interrupted"
    assert not out.exists()


@how_often
def test_a_killed_driver_loses_no_case_and_a_rerun_ends_with_the_same_bytes(kills, tiny_cohort, tmp_path):
    words = ["evaluate", tiny_cohort / "labelsTr", tiny_cohort / "labelsTrTrue"]
    seconds = seconds_of(*words, tmp_path / "whole" / "scores.csv")
    differing = ("ledger.jsonl", "lock", "summary")  # they tell of runs
    whole = files(tmp_path / "whole", but=differing)
    out = tmp_path / "killed"
    with told("driver of a batch", kills):
        killed_and_resumed([*words, out / "scores.csv"], kills, seconds, lambda: assert_part_of(out, whole, differing))
        assert files(out, but=differing) == whole
    assert [path for path in out.rglob(".*.tmp-*")] == [], "what was half written is cleared away"
    lines = read_ledger(out)
    last = [line for line in lines if line["run"] == lines[-1]["run"]]
    summary = json.loads((out / ".flare" / "summary").read_text())
    assert len(last) == summary["found"] == summary["done"] + summary["failed"] + summary["skipped"] == 32
    assert summary["skipped"], "what was complete is not scored again"


@how_often
def test_killed_workers_cost_no_case_that_is_tried_again(kills, tmp_path):
    stop, killed, moments = threading.Event(), [], np.random.default_rng(kills)

    def killer():
        """Kill a worker process at random moments, each time after some more cases are done: most are then at work."""
        finished = 0
        while len(killed) < kills and not stop.wait(moments.uniform(0.1, 1.0)):
            workers = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
            if workers and len(list(tmp_path.glob("c*.txt"))) > finished:
                victim = workers[moments.integers(len(workers))]
                victim.kill()
                killed.append(victim.pid)
                finished = len(list(tmp_path.glob("c*.txt"))) + 4

    thread = threading.Thread(target=killer)
    thread.start()
    cases = [(f"c{number}", (tmp_path, f"c{number}")) for number in range(40 * kills)]
    with told("dask worker", kills) as row:
        try:
            report = map_cases(write_slowly, cases, engine=Engine("dask", 2), folder=tmp_path)
        finally:
            stop.set()
            thread.join()
        row.update(tried=len(killed), failed=0)
        assert killed, "no worker was killed"
        assert len(report.failures) <= len(killed) // 2, "a case fails whose worker was killed twice, and no other"
    assert report.found == len(cases) == len(read_ledger(tmp_path))
    for case in report.results:
        assert (tmp_path / f"{case}.txt").read_text() == "".join(f"{case} {number}\n" for number in range(20))


def test_workers_end_with_a_killed_driver_and_its_folder_is_free(tmp_path):
    process = start("dask", tmp_path)
    while not (tmp_path / ".flare" / "ledger.jsonl").is_file() or not read_ledger(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    end(process)
    psutil.wait_procs(family, timeout=30)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert end(start("dask", tmp_path)) == 0
    assert len(list(tmp_path.glob("c*.txt"))) == 30
    lines = read_ledger(tmp_path)
    statuses = [line["status"] for line in lines if line["run"] == lines[-1]["run"]]
    assert len(statuses) == 30 and set(statuses) == {"done", "skipped"}


@how_often
def test_a_killed_training_goes_on_to_the_same_weights(kills, tmp_path):
    seconds = seconds_of("train", tmp_path / "whole")
    folder = tmp_path / "killed"

    def look():
        checkpoint = folder / "checkpoint.pt"
        for path in (checkpoint, previous(checkpoint)):
            assert not path.exists() or torch.load(path, weights_only=True)["epoch"] >= 1
        if (folder / "history.csv").is_file():
            assert pd.read_csv(folder / "history.csv").loss.notna().all()

    with told("trainer", kills):
        killed_and_resumed(["train", folder], kills, seconds, look)
        model = files(tmp_path / "whole" / "model")
        assert model and files(folder / "model") == model
        whole, resumed = (
            pd.read_csv(tmp_path / n / "history.csv").drop(columns="seconds") for n in ("whole", "killed")
        )
        assert whole.equals(resumed) and len(whole) == 6
        states = [load_checkpoint(tmp_path / name / "checkpoint.pt")["module"] for name in ("whole", "killed")]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@how_often
def test_killed_papermill_runs_leave_no_half_notebook_and_end_with_the_same_results(kills, tmp_path):
    source = tmp_path / "notebooks"
    source.mkdir()
    for name in ("00_first", "01_second"):
        table = "\\n".join(f"{row},{row * row}" for row in range(200))
        work = "from pathlib import Path\nimport time\nfrom flare_core.storage import write_file\ntime.sleep(0.1)"
        write_notebook(source / f"{name}.ipynb", work, f"write_file(Path('{name}.csv'), '{table}')\nprint('written')")
    seconds = seconds_of("notebooks", source, tmp_path / "whole")
    whole = {path.name: path.read_bytes() for path in source.glob("*.csv")}
    assert len(whole) == 2
    for path in source.glob("*.csv"):
        path.unlink()

    def look():
        for path in source.glob("*.csv"):
            assert path.read_bytes() == whole[path.name]
        for path in (tmp_path / "killed").rglob("0?_*.ipynb"):
            if not path.name.endswith(".partial.ipynb"):
                cells = nbformat.read(path, as_version=4).cells
                assert cells[-1].outputs[0].text == "written\n"

    with told("papermill", kills):
        killed_and_resumed(["notebooks", source, tmp_path / "killed"], kills, seconds, look)
        look()
        assert {path.name for path in source.glob("*.csv")} == set(whole)
        finished = {path.name for path in (tmp_path / "killed" / "notebooks").glob("*.ipynb")}
        assert finished == {"00_first.ipynb", "01_second.ipynb"}
