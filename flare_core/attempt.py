"""Do cases and say what became of each, whatever it did: in this thread, in several, or in dask's processes.

Serves `batch`, which settles what is yielded here.
"""

from __future__ import annotations

import errno
import logging
import math
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from flare_core.machine import high_water_mb

Cases = Collection[tuple[str, Any]]
"""Pairs (case id, item); may come to an end early."""
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, no larger file allowed: what fails for these, fails for the next case, too."""


@dataclass(frozen=True)
class Reused:
    """What a function returns for a case that an earlier run has completed: it counts as skipped.

    Attributes:
        result: as if it had been made now.
    """

    result: Any


@dataclass(frozen=True)
class Failed:
    """What a function returns for a case that failed and has a result all the same, such as scores of zero.

    Attributes:
        result: what there is.
        reason: one line.
    """

    result: Any
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        status: `done`, `failed`, or `skipped` for what an earlier run completed.
        result: what the function returned; None if it raised.
        error: one line that says why it failed.
        traceback: where it failed.
        seconds: of work.
        peak_mb: largest resident memory of the process that worked on it, in MB of 2**20 bytes: of this case alone in
            a dask worker, of the process until now elsewhere.
        warnings: what the package warned of meanwhile, each once.
        may_pass: a second try could end better: it failed, and not because of what its file holds.
        stops: it failed because nothing more can be written, or the whole run ends; no other case needs to be tried.
    """

    status: str
    result: Any = None
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    warnings: tuple[str, ...] = ()
    may_pass: bool = False
    stops: bool = False

    @classmethod
    def of_error(cls, error: BaseException, **facts: Any) -> Outcome:
        """Return the outcome of a case that raised."""
        lines = f"{type(error).__name__}: {error}".splitlines()
        stops = getattr(error, "ends_batch", False) or (isinstance(error, OSError) and error.errno in DISK_FULL)
        may_pass = not stops and not getattr(error, "is_final", False)
        where = "".join(traceback.format_exception(error))
        return cls(FAILED, None, lines[0], where, may_pass=may_pass, stops=stops, **facts)

    @classmethod
    def of_result(cls, result: Any, **facts: Any) -> Outcome:
        """Return the outcome of a case that returned."""
        if isinstance(result, Reused):
            return cls(SKIPPED, result.result, **facts)
        if isinstance(result, Failed):
            return cls(FAILED, result.result, result.reason, **facts)
        return cls(DONE, result, **facts)


def attempt(function: Callable[[Any], Any], item: Any) -> Outcome:
    """Call a function on a case's item and return what became of it, whatever it did."""
    start = time.perf_counter()
    with warnings_of_this_thread() as said:
        try:
            result, error = function(item), None
        except Exception as raised:  # whatever a case does, the others go on
            result, error = None, raised
    facts = {
        "seconds": round(time.perf_counter() - start, 3),
        "peak_mb": peak_mb(),
        "warnings": tuple(dict.fromkeys(said)),
    }
    return Outcome.of_result(result, **facts) if error is None else Outcome.of_error(error, **facts)


def in_threads(function: Callable[[Any], Any], cases: Cases, jobs: int) -> Iterator[tuple[str, Outcome]]:
    """Yield what became of each case as it happens, `jobs` in work at once; each is asked for when it can begin."""
    if jobs == 1 or len(cases) < 2:
        yield from ((case, attempt(function, item)) for case, item in cases)
        return
    left, running = iter(cases), {}
    with ThreadPoolExecutor(min(jobs, len(cases)), thread_name_prefix="case") as pool:
        while True:
            while len(running) < jobs and (pair := next(left, None)) is not None:
                running[pool.submit(attempt, function, pair[1])] = pair[0]
            if not running:
                return
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in [future for future in running if future in done]:  # the first started first
                yield running.pop(future), future.result()


def piped(
    read: Callable[[Any], Any], compute: Callable[[Any], Any], write: Callable[[Any], Any], cases: Cases
) -> Iterator[tuple[str, Outcome]]:
    """Yield what became of each case, in order; reading and writing have a thread each."""
    reader, writer = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("read", "write"))
    try:
        left, writing = iter(cases), None
        pair = next(left)
        reading = reader.submit(attempt, read, pair[1])
        while pair is not None:
            case, outcome = pair[0], reading.result()
            pair = next(left, None)
            reading = reader.submit(attempt, read, pair[1]) if pair is not None else None
            outcome = _next_step(compute, outcome)
            last, writing = writing, (case, writer.submit(_next_step, write, outcome))
            del outcome
            if last is not None:
                yield last[0], last[1].result()
        yield writing[0], writing[1].result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown()


def _next_step(function: Callable[[Any], Any], before: Outcome) -> Outcome:
    """Do a case's next step unless one before failed; seconds and warnings add up."""
    if before.status == FAILED:
        return before
    after = attempt(function, before.result)
    said = tuple(dict.fromkeys([*before.warnings, *after.warnings]))
    return replace(after, seconds=round(before.seconds + after.seconds, 3), warnings=said)


@contextmanager
def warnings_of_this_thread(name: str = "") -> Iterator[list[str]]:
    """Give a list that takes what this package warns of meanwhile in this thread; it is logged as ever.

    Args:
        name: what is put before each on the console, where it does not say by itself which case it is about.
    """
    said: list[str] = []

    def take(record: logging.LogRecord) -> None:
        said.append(record.getMessage())
        if name:  # the console's handler, a parent's, comes later
            record.msg, record.args = f"{name}: {said[-1]}", ()

    own = threading.get_ident()  # not in the filter, which is called in the thread that warns
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: record.thread == own)
    handler.emit = take
    package = logging.getLogger("flare_core")
    package.addHandler(handler)
    try:
        yield said
    finally:
        package.removeHandler(handler)


def peak_mb() -> float:
    """Return this process's largest resident memory until now, in MB.

    Linux keeps a mark of it for every process; what `getrusage` says is never less than the process had that started
    this one.
    """
    mark = high_water_mb()
    if not math.isnan(mark):
        return round(mark, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
