"""With dask workers a batch ends as it does without: a killed worker costs one case, a flaky case is tried twice."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from threading import Thread

import pytest
from batch_cases import work
from distributed import LocalCluster

from flare_core.batch import NOT_STARTED, Engine, map_cases
from flare_core.ledger import read_ledger
from flare_core.machine import usable_cores

TWO_WORKERS = Engine("dask", 2)


def test_one_killed_worker_costs_one_case_and_a_flaky_one_is_tried_twice(tmp_path, caplog):
    wishes = ["", "dies", "fails once", "warns", "looks around", "dies once", "is there", "takes memory", "fails", ""]
    cases = [(f"c{number}", (tmp_path, f"c{number}", wish)) for number, wish in enumerate(wishes)]
    report = map_cases(work, cases, engine=TWO_WORKERS, folder=tmp_path)
    assert list(report.failures) == ["c1", "c8"]
    assert "killed" in report.failures["c1"] and report.failures["c8"] == "RuntimeError: c8 fails"
    assert list(report.results) == ["c0", "c2", "c3", "c4", "c5", "c6", "c7", "c9"] and report.skipped == {"c6"}
    cores = usable_cores()
    assert report.results["c4"] == (max(1, cores // 2), str(max(1, cores // 2)), {"127.0.0.1"})
    lines = {line["case"]: line for line in read_ledger(tmp_path)}
    assert len(read_ledger(tmp_path)) == len(lines) == len(cases), "one line a case, whatever it took"
    assert {name: line["status"] for name, line in lines.items() if line["status"] != "done"} == {
        "c1": "failed",
        "c6": "skipped",
        "c8": "failed",
    }
    assert lines["c3"]["warnings"] == ["a word of warning"] and "c3: a word of warning" in caplog.text
    assert lines["c7"]["peak_mb"] > 200 > lines["c9"]["peak_mb"], "of this case alone"
    assert (tmp_path / "c2.1").exists() and (tmp_path / "c8.1").exists(), "tried twice"


def test_a_scheduler_that_is_not_there_and_workers_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("flare_core.batch_dask.LONGEST_CALL_S", 1)
    with pytest.raises(ValueError, match="no dask scheduler answers at 'tcp://127.0.0.1:9'"):
        map_cases(work, [("a", 1)], engine=Engine("dask", scheduler="tcp://127.0.0.1:9"))
    with pytest.raises(ValueError, match=r"2 workers of \d+.* need .*, this machine has .*; use fewer"):
        map_cases(work, [("a", 1)], engine=Engine("dask", 2, memory_limit=10**15))


def test_what_a_worker_cannot_open_fails_with_the_reason_instead_of_hanging(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def work(item):\n    return item\n")
    spec = spec_from_file_location("only_here", tmp_path / "only_here.py")
    only_here = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    spec.loader.exec_module(only_here)
    report = map_cases(only_here.work, [("a", 1)], engine=Engine("dask", 1))
    assert report.failures == {"a": "ModuleNotFoundError: No module named 'only_here'"}


def test_distributed_is_imported_only_where_it_is_asked_for():
    code = "import flare_core.cli, flare_core.inference.predict_in_workers, sys; print('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@contextmanager
def dask_process(what, *arguments):
    """Start a scheduler or a worker as a user does, and end it at the end."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(is_so, seconds=60):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_scheduler_that_is_lost_stops_the_batch_and_every_case_is_accounted_for(tmp_path, monkeypatch):
    monkeypatch.setattr("flare_core.batch_dask.LONGEST_CALL_S", 2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    where = tmp_path / "scheduler.json"
    wishes = {"first": "", "second": "waits", "third": "", "fourth": ""}
    with ExitStack() as started:
        scheduler = started.enter_context(dask_process("scheduler", "--port", "0", "--scheduler-file", str(where)))
        wait_until(where.is_file)
        started.enter_context(dask_process("worker", "--scheduler-file", str(where), "--nthreads", "1", "--no-nanny"))
        engine = Engine("dask", scheduler=json.loads(where.read_text())["address"])
        killer = Thread(target=lambda: (wait_until((tmp_path / "second.0").exists), scheduler.kill()))
        killer.start()
        cases = [(name, (tmp_path, name, wish)) for name, wish in wishes.items()]
        report = map_cases(work, cases, engine=engine, folder=tmp_path)
        killer.join()
    lost = "the connection to the dask scheduler is lost"
    assert list(report.results) == ["first"] and report.stopped.startswith(lost)
    assert report.failures == {"second": lost, "third": NOT_STARTED, "fourth": NOT_STARTED}
    assert [line["case"] for line in read_ledger(tmp_path)] == list(wishes)


def test_two_drivers_of_one_scheduler_get_their_own_results():
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        engine = Engine("dask", scheduler=cluster.scheduler_address)
        with engine.started(str.upper, "cases") as one, engine.started(str.title, "cases") as other:
            first = one([("a", "ab"), ("b", "bc")], False)
            found = [next(first)]
            others = {case: outcome.result for case, outcome in other([("a", "xy"), ("b", "yz")], False)}
            assert {case: outcome.result for case, outcome in [*found, *first]} == {"a": "AB", "b": "BC"}
    assert others == {"a": "Xy", "b": "Yz"}
