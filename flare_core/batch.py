"""Map a function over cases so that one bad case never costs the others.

Serves every command over cases. Each case ends as done or as failed with its reason; found = done + failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchReport:
    """What became of every case.

    Attributes:
        results: case id to what the function returned.
        failures: case id to one line that says why it failed.
    """

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> int:
        """Number of cases given."""
        return len(self.results) + len(self.failures)

    def __str__(self) -> str:
        return f"{self.found} cases: {len(self.results)} done, {len(self.failures)} failed"


def map_cases(
    function: Callable[[Any], Any], cases: Iterable[tuple[str, Any]], *, title: str = "cases", jobs: int = 1
) -> BatchReport:
    """Call `function` on each case; a failing case is logged with its reason and the others go on.

    Args:
        function: takes one item, returns anything. With several jobs it is called by several threads at once, which
            pays where it spends its time in unpacking, reading, NumPy or other processes.
        cases: pairs (case id, item); ids must be unique. None at all gives an empty report.
        title: words on the progress bar, which shows on a terminal only.
        jobs: how many cases are in work at once, and so in memory; 1 is one after the other in this thread.
    Returns:
        A report in which every case appears exactly once, in the order given, whatever the number of jobs.
    Raises:
        ValueError: if two cases carry the same id, or for fewer than one job (before anything runs).
    """
    if jobs < 1:
        raise ValueError(f"{title}: expected at least one job, got {jobs}")
    return _recorded(cases, lambda items: _outcomes(function, items, jobs), title)


def pipe_cases(
    read: Callable[[Any], Any],
    compute: Callable[[Any], Any],
    write: Callable[[Any], Any],
    cases: Iterable[tuple[str, Any]],
    *,
    title: str = "cases",
    overlap: bool = True,
) -> BatchReport:
    """Read, compute and write each case; while one is computed, the next is read and the last one written.

    Args:
        read, compute, write: take a case's item, what was read, what was computed. Each of them is called for one case
            at a time, in order; whichever of them fails, it is that case's failure.
        cases: as for `map_cases`.
        title: words on the progress bar.
        overlap: without it one case is finished before the next is begun, so that one alone is in memory.
    Returns:
        As `map_cases`, with what `write` returned.
    """

    def outcomes(items: Sequence[Any]) -> Iterator[tuple[Any, Exception | None]]:
        if overlap and len(items) > 1:
            return _piped(read, compute, write, items)
        return _outcomes(lambda item: write(compute(read(item))), items, 1)

    return _recorded(cases, outcomes, title)


def _recorded(
    cases: Iterable[tuple[str, Any]],
    outcomes_of: Callable[[Sequence[Any]], Iterator[tuple[Any, Exception | None]]],
    title: str,
) -> BatchReport:
    """Return the report of what becomes of the cases, in their order."""
    cases = list(cases)
    ids = [case for case, _ in cases]
    twice = sorted({case for case in ids if ids.count(case) > 1})
    if twice:
        raise ValueError(f"{title}: every case id must be unique, got {', '.join(twice)} more than once")
    report = BatchReport()
    outcomes = outcomes_of([item for _, item in cases])
    for case, (result, error) in zip(ids, tqdm(outcomes, desc=title, total=len(ids), disable=None), strict=True):
        if error is None:
            report.results[case] = result
        else:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            report.failures[case] = reason
            log.error("%s: %s failed: %s", title, case, reason)
            log.debug("%s", case, exc_info=error)
    return report


def _outcomes(
    function: Callable[[Any], Any], items: Sequence[Any], jobs: int
) -> Iterator[tuple[Any, Exception | None]]:
    """Yield what the function returned or raised for each item, in order; an interruption starts no further item."""

    def attempt(item: Any) -> tuple[Any, Exception | None]:
        try:
            return function(item), None
        except Exception as error:  # whatever a case does, the others go on
            return None, error

    if jobs == 1 or len(items) < 2:
        yield from map(attempt, items)
        return
    pool = ThreadPoolExecutor(min(jobs, len(items)), thread_name_prefix="case")
    try:
        yield from pool.map(attempt, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _piped(
    read: Callable[[Any], Any], compute: Callable[[Any], Any], write: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Exception | None]]:
    """Yield what was written, or raised, for each item, in order; reading and writing have a thread each."""
    reader, writer = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("read", "write"))
    try:
        reading, writing = reader.submit(read, items[0]), None
        for item in [*items[1:], None]:
            current, reading = reading, reader.submit(read, item) if item is not None else None
            done: Future = Future()
            try:
                done = writer.submit(write, compute(current.result()))
            except Exception as error:  # whatever a case does, the others go on
                done.set_exception(error)
            if writing is not None:
                yield _settled(writing)
            writing = done
        yield _settled(writing)
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown()


def _settled(future: Future) -> tuple[Any, Exception | None]:
    """Return what a future holds, once it is there."""
    try:
        return future.result(), None
    except Exception as error:  # that case's failure
        return None, error
