"""Map a function over cases so that one bad case never costs the others.

Serves every command over cases. Each case ends as done or as failed with its reason; found = done + failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    cases = list(cases)
    ids = [case for case, _ in cases]
    twice = sorted({case for case in ids if ids.count(case) > 1})
    if twice:
        raise ValueError(f"{title}: every case id must be unique, got {', '.join(twice)} more than once")
    if jobs < 1:
        raise ValueError(f"{title}: expected at least one job, got {jobs}")
    report = BatchReport()
    outcomes = _outcomes(function, [item for _, item in cases], jobs)
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
