"""Every case of a batch is accounted for: tried again, skipped, stopped by a full disk, or killed with the run."""

import errno
import json
import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from flare_core.batch import BatchStopped, Engine, Failed, Reused, map_cases, pipe_cases, summary_file
from flare_core.ledger import ledger_file, read_ledger

ENGINES = {
    "serial": lambda work, cases, **given: map_cases(work, cases, **given),
    "threads": lambda work, cases, **given: map_cases(work, cases, engine=Engine("threads", 3), **given),
    "piped": lambda work, cases, **given: pipe_cases(str, work, str, cases, **given),
    "one by one": lambda work, cases, **given: pipe_cases(str, str, work, cases, overlap=False, **given),
}
every_engine = pytest.mark.parametrize("run", ENGINES.values(), ids=ENGINES)
FULL = OSError(errno.ENOSPC, "No space left on device", "c.nii.gz")


class Final(ValueError):
    is_final = True  # as BadInput


class Work:
    """Fails as told, and counts the tries of every case."""

    def __init__(self, **failures):
        self.failures, self.tries = failures, Counter()

    def __call__(self, name):
        self.tries[name] += 1
        for error in self.failures.get(name, ())[self.tries[name] - 1 : self.tries[name]]:
            raise error
        return name.upper()


def cases(names):
    return [(name, name) for name in names]


def assert_it_adds_up(folder, report):
    """Ledger (its last run), summary and report tell the same, and no case is missing."""
    lines = read_ledger(folder)
    counts = Counter(line["status"] for line in lines if line["run"] == lines[-1]["run"])
    summary = json.loads(summary_file(folder).read_text())
    told = [
        (counts["done"], counts["failed"], counts["skipped"]),
        (report.done, len(report.failures), len(report.skipped)),
    ]
    assert told[0] == told[1] == tuple(summary[name] for name in ("done", "failed", "skipped"))
    assert sum(told[0]) == summary["found"] == report.found


@every_engine
def test_a_flaky_case_is_tried_once_more_and_a_bad_file_is_not(run, tmp_path):
    lost = OSError("network gone")
    work = Work(a=[lost], b=[Final("cut short")], c=[lost, lost])
    report = run(work, cases("abcd"), folder=tmp_path)
    assert report.results == {"a": "A", "d": "D"}
    assert report.failures == {"b": "Final: cut short", "c": "OSError: network gone"}
    assert dict(work.tries) == {"a": 2, "b": 1, "c": 2, "d": 1}
    assert_it_adds_up(tmp_path, report)


@every_engine
def test_a_case_in_which_the_whole_run_ends_ends_its_batch(run, tmp_path):
    work = Work(b=[BatchStopped("told to stop")])
    report = run(work, cases("abcdefghijklmnopqrstuvwxyz"), folder=tmp_path)
    assert report.failures["b"] == "BatchStopped: told to stop" and work.tries["b"] == 1
    assert "told to stop" in report.stopped and sum(work.tries.values()) < 10


@every_engine
def test_a_full_disk_stops_the_batch_once_and_every_case_is_still_accounted_for(run, tmp_path, caplog):
    work = Work(c=[FULL])
    report = run(work, cases("abcdefghijklmnopqrstuvwxyz"), folder=tmp_path)
    assert {"a", "b"} <= set(report.results) and sum(work.tries.values()) < 10
    assert "No space left on device: 'c.nii.gz'" in report.failures["c"]
    assert set(report.failures.values()) == {report.failures["c"], "not started"}
    assert report.found == 26 and "No space" in report.stopped
    assert [r.levelno for r in caplog.records].count(logging.ERROR) == 2, "the case, and that the batch was stopped"
    assert_it_adds_up(tmp_path, report)
    with pytest.raises(BatchStopped, match="No space"):
        report.whole()


def test_a_ledger_that_cannot_be_written_stops_the_batch_and_keeps_whole_lines(tmp_path, monkeypatch):
    write, room = os.write, [2]

    def half_written(handle, content):
        if room[0] == 0:
            write(handle, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        return write(handle, content)

    monkeypatch.setattr("flare_core.ledger.os.write", half_written)
    report = map_cases(str.upper, cases("abcd"), folder=tmp_path)
    assert [line["case"] for line in read_ledger(tmp_path)] == ["a", "b"]
    assert "the ledger cannot be written" in report.stopped and report.found == 4


def test_a_line_that_a_power_failure_cut_is_dropped_and_the_others_kept(tmp_path):
    map_cases(str.upper, cases("ab"), folder=tmp_path)
    whole = ledger_file(tmp_path).read_bytes()
    ledger_file(tmp_path).write_bytes(whole + b'{"case": "c", "sta')
    map_cases(str.upper, cases("d"), folder=tmp_path)
    assert ledger_file(tmp_path).read_bytes().startswith(whole)
    assert [line["case"] for line in read_ledger(tmp_path)] == ["a", "b", "d"]


@every_engine
def test_an_interrupted_run_leaves_its_lines_and_no_summary_of_an_earlier_one(run, tmp_path):
    run(str.upper, cases("ab"), folder=tmp_path)

    def work(name):
        if name == "c":
            raise KeyboardInterrupt
        return name

    with pytest.raises(KeyboardInterrupt):
        run(work, cases("abcd"), folder=tmp_path)
    assert not summary_file(tmp_path).exists()
    assert {line["case"] for line in read_ledger(tmp_path)} <= set("ab")


def test_what_is_there_already_is_skipped_and_what_failed_may_have_a_result(tmp_path):
    outcomes = {"a": Reused(1), "b": Failed(0, "missing, scored 0"), "c": 2, "d": None}
    report = map_cases(outcomes.__getitem__, cases("abcd"), folder=tmp_path)
    assert report.results == {"a": 1, "b": 0, "c": 2, "d": None}
    assert report.failures == {"b": "missing, scored 0"} and report.skipped == {"a"}
    assert str(report) == "4 cases: 2 done, 1 failed, 1 skipped (complete already)"
    assert_it_adds_up(tmp_path, report)


def test_a_line_says_how_long_a_case_took_its_memory_and_what_was_odd(tmp_path):
    def work(name):
        logging.getLogger("flare_core.cases").warning("%s is odd", name)
        raise Final(f"{name} is bad\nsecond line")

    map_cases(work, cases("a"), folder=tmp_path, title="look")
    (line,) = read_ledger(tmp_path)
    assert line.pop("seconds") >= 0 and line.pop("peak_mb") > 10 and line.pop("run").endswith(f"-{os.getpid()}")
    assert line == {
        "case": "a",
        "status": "failed",
        "error": "Final: a is bad",
        "warnings": ["a is odd"],
        "title": "look",
    }


@pytest.mark.parametrize("run", [ENGINES["threads"], ENGINES["piped"]], ids=["threads", "piped"])
def test_what_is_said_of_one_case_is_not_told_of_another_in_work_at_once(run, tmp_path):
    both = threading.Barrier(2, timeout=20)

    def meet(name):
        with suppress(threading.BrokenBarrierError):
            both.wait()
        logging.getLogger("flare_core.cases").warning("%s is odd", name)
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return name

    if run is ENGINES["piped"]:  # one case is read while the one before is computed
        first = iter([str])
        pipe_cases(
            lambda name: next(first, meet)(name),
            lambda n: meet(n) if n == "a" else n,
            str,
            cases("ab"),
            folder=tmp_path,
        )
    else:
        run(meet, cases("ab"), folder=tmp_path)
    assert {line["case"]: line["warnings"] for line in read_ledger(tmp_path)} == {"a": ["a is odd"], "b": ["b is odd"]}


@pytest.mark.parametrize("run", [ENGINES["threads"], ENGINES["piped"]], ids=["threads", "piped"])
def test_a_case_in_work_when_the_batch_stops_is_told_as_what_it_became(run, tmp_path):
    finished = []

    def work(name):
        if name == "a":
            raise FULL
        time.sleep(0.2)
        finished.append(name)
        return name

    report = run(work, cases("abcdefgh"), folder=tmp_path)
    assert list(report.results) == sorted(finished) and 1 <= len(finished) < 7
    assert set(report.failures.values()) == {report.failures["a"], "not started"}
    assert_it_adds_up(tmp_path, report)
