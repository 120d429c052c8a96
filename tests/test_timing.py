"""Seconds by step."""

import time

import pytest

from flare_core.timing import Timings, counted, timed, timed_stage


def test_a_step_inside_another_one_is_counted_once():
    with Timings().listening() as timings:
        with timed("outer"):
            time.sleep(0.02)
            with timed("inner"):
                time.sleep(0.05)
        with timed("inner"):
            time.sleep(0.02)
    assert list(timings.seconds) == ["outer", "inner"]
    assert 0.02 <= timings.seconds["outer"] < timings.seconds["inner"] and timings.seconds["inner"] >= 0.07


def test_a_step_that_fails_is_counted_and_closed():
    with Timings().listening() as timings, pytest.raises(KeyError), timed("bad"):
        raise KeyError
    assert timings.seconds["bad"] >= 0
    with timings.listening(), timed("next"):
        pass
    assert list(timings.seconds) == ["bad", "next"]


def test_without_a_listener_nothing_is_counted():
    timings = Timings()
    with timings.listening():
        pass
    with timed("alone"):
        pass
    assert timings.seconds == {}


def test_seconds_of_a_stage_stay_in_their_step():
    with Timings().listening() as timings, timed("network"):
        for stage in ("organs", "tumor", "organs"):
            with timed_stage(stage):
                time.sleep(0.01)
    with timed_stage("tumor"):
        pass
    with timings.listening(), pytest.raises(KeyError), timed_stage("bad"):
        raise KeyError
    assert timings.stages["bad"] >= 0
    assert timings.stages["organs"] > timings.stages["tumor"] >= 0.01
    assert timings.seconds["network"] >= timings.stages["organs"] + timings.stages["tumor"]


def test_counts_add_up():
    with Timings().listening() as timings:
        counted("windows", 2)
        counted("windows", 3)
    counted("windows", 9)
    assert timings.counts == {"windows": 5}
