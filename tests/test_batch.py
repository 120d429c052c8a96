"""Every case of a batch ends as done or as failed, in the order given, however many are in work at once."""

import threading
import time

import pytest

from flare_core.batch import Engine, map_cases, pipe_cases


def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd\nand this line is not shown")
    return number // 2


@pytest.mark.parametrize("jobs", [1, 2, 5, 40])
def test_every_case_is_done_or_failed_with_its_reason_in_the_order_given(jobs):
    report = map_cases(halve, [(f"case{n}", n) for n in reversed(range(12))], engine=Engine("threads", jobs))
    assert list(report.results.items()) == [(f"case{n}", n // 2) for n in (10, 8, 6, 4, 2, 0)]
    assert list(report.failures.items()) == [(f"case{n}", f"ValueError: {n} is odd") for n in (11, 9, 7, 5, 3, 1)]
    assert str(report) == "12 cases: 6 done, 6 failed"


@pytest.mark.parametrize("jobs", [1, 3])
def test_order_is_kept_when_the_first_case_takes_longest(jobs):
    report = map_cases(
        lambda wait: time.sleep(wait) or wait, [("a", 0.05), ("b", 0.01), ("c", 0.0)], engine=Engine("threads", jobs)
    )
    assert list(report.results) == ["a", "b", "c"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_cases_are_in_work_than_jobs(jobs):
    working, most, lock = [0], [0], threading.Lock()

    def work(_):
        with lock:
            working[0] += 1
            most[0] = max(most[0], working[0])
        time.sleep(0.01)
        with lock:
            working[0] -= 1

    map_cases(work, [(str(n), n) for n in range(12)], engine=Engine("threads", jobs))
    assert most[0] == jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_stops_the_batch_and_starts_no_further_case(jobs):
    started = []

    def work(number):
        started.append(number)
        if number == 1:
            raise KeyboardInterrupt
        time.sleep(0.02)

    with pytest.raises(KeyboardInterrupt):
        map_cases(work, [(str(n), n) for n in range(50)], engine=Engine("threads", jobs))
    assert len(started) < 10


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_cases_give_an_empty_report(jobs):
    assert map_cases(halve, [], engine=Engine("threads", jobs)).found == 0


def test_wrong_calls_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="unique, got a more than once"):
        map_cases(pytest.fail, [("a", 1), ("a", 2)])
    with pytest.raises(ValueError, match="at least one worker, got 0"):
        map_cases(pytest.fail, [("a", 1)], engine=Engine("threads", 0))


@pytest.mark.parametrize("overlap", [False, True])
def test_piped_cases_keep_their_order_and_each_step_its_failures(overlap):
    def fails_at(step):
        def do(item):
            if item[1] == step:
                raise ValueError(f"{step} of {item[0]}")
            return item

        return do

    cases = [("a", ("a", "")), ("b", ("b", "read")), ("c", ("c", "compute")), ("d", ("d", "write")), ("e", ("e", ""))]
    report = pipe_cases(fails_at("read"), fails_at("compute"), fails_at("write"), cases, overlap=overlap)
    assert list(report.results) == ["a", "e"]
    assert report.failures == {name: f"ValueError: {step} of {name}" for name, (_, step) in cases[1:4]}
    assert pipe_cases(*[fails_at("")] * 3, [], overlap=overlap).found == 0


def test_the_next_case_is_read_and_the_last_one_written_while_one_is_computed():
    read, written = {name: threading.Event() for name in "abc"}, threading.Event()

    def compute(name):
        following = {"a": "b", "b": "c"}.get(name)
        assert following is None or read[following].wait(10), "the next one is read meanwhile"
        assert name != "c" or written.wait(10), "the first one is written meanwhile"
        return name

    def write(name):
        written.set()
        return name.upper()

    report = pipe_cases(lambda name: read[name].set() or name, compute, write, [(name, name) for name in "abc"])
    assert report.results == {"a": "A", "b": "B", "c": "C"}
