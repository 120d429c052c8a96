"""Map a function over cases so that one bad case never costs the others.

Serves every command over cases. Each case ends as done or as failed with its reason; found = done + failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
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


def map_cases(function: Callable[[Any], Any], cases: Iterable[tuple[str, Any]], *, title: str = "cases") -> BatchReport:
    """Call `function` on each case in turn; a failing case is logged with its reason and the next one goes on.

    Args:
        function: takes one item, returns anything.
        cases: pairs (case id, item); ids must be unique. None at all gives an empty report.
        title: words on the progress bar, which shows on a terminal only.
    Returns:
        A report in which every case appears exactly once.
    Raises:
        ValueError: if two cases carry the same id (before anything runs).
    """
    cases = list(cases)
    ids = [case for case, _ in cases]
    twice = sorted({case for case in ids if ids.count(case) > 1})
    if twice:
        raise ValueError(f"{title}: every case id must be unique, got {', '.join(twice)} more than once")
    report = BatchReport()
    for case, item in tqdm(cases, desc=title, disable=None):
        try:
            report.results[case] = function(item)
        except Exception as error:  # whatever a case does, the others go on
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            report.failures[case] = reason
            log.error("%s: %s failed: %s", title, case, reason)
            log.debug("%s", case, exc_info=True)
    return report
