"""Map a function over cases so that no case is lost: not by a bad file, a flaky disk, a killed worker or a rerun.

Serves every command over cases. Each case ends as done, failed with its reason, or skipped because an earlier run
completed it: found = done + failed + skipped. A case that fails is tried once more after all others, unless its file is
to blame. Cases are worked on one after the other, by threads, or by dask workers (`batch_dask`), from the same code.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from flare_core.attempt import FAILED, SKIPPED, Cases, Failed, Outcome, Reused, in_threads, piped
from flare_core.ledger import Ledger, open_ledger
from flare_core.storage import STATE, write_file

__all__ = ["SERIAL", "BatchReport", "BatchStopped", "Engine", "Failed", "Reused", "map_cases", "pipe_cases"]

log = logging.getLogger(__name__)

NOT_STARTED = "not started"
"""Why a case failed that a stopped batch did not reach."""

Work = Callable[[Cases, bool], Iterator[tuple[str, Outcome]]]
"""Does cases and yields what became of each; told True, it does them so that one cannot harm another."""


@dataclass(frozen=True)
class Engine:
    """Who works on the cases.

    Attributes:
        name: `serial` (this thread), `threads` (pays where a case spends its time in unpacking, reading, NumPy or other
            processes), or `dask`.
        workers: cases in work at once, and so in memory. dask: local processes of one thread each.
        scheduler: dask only: address of a running scheduler, whose workers are used instead of local ones.
        memory_limit: dask only: bytes of a local worker, which is ended beyond them; None: its share of the machine.
    """

    name: str = "serial"
    workers: int = 1
    scheduler: str = ""
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.name not in ("serial", "threads", "dask"):
            raise ValueError(f"no engine {self.name!r}; choose from serial, threads, dask")
        if self.workers < 1 or (self.name == "serial" and self.workers > 1):
            most = "one" if self.name == "serial" else "at least one"
            raise ValueError(f"engine {self.name}: expected {most} worker, got {self.workers}")

    def started(self, function: Callable[[Any], Any], title: str) -> AbstractContextManager[Work]:
        """Start the workers for a function, and stop them at the end of the block."""
        if self.name == "dask":
            from flare_core.batch_dask import dask_work

            return dask_work(self, function, title)
        return nullcontext(lambda cases, careful: in_threads(function, cases, 1 if careful else self.workers))


SERIAL = Engine()


class BatchStopped(OSError):
    """A batch that ended before its end, because nothing more could be written; the message says why."""

    ends_batch = True  # also the one in which a case raises it: `flare_core.attempt`


@dataclass(frozen=True)
class BatchReport:
    """What became of every case.

    Attributes:
        results: case id to what the function returned.
        failures: case id to one line that says why it failed.
        skipped: ids of the cases that an earlier run had completed.
        stopped: why the batch was stopped before its end; empty if it was not. Cases that were not reached have failed.
    """

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    stopped: str = ""

    @property
    def found(self) -> int:
        """Number of cases given."""
        return len(self.results.keys() | self.failures.keys())

    @property
    def done(self) -> int:
        """Number of cases that this run completed."""
        return self.found - len(self.failures) - len(self.skipped)

    def whole(self) -> BatchReport:
        """Return the report of a batch that reached its end, for those who make a table of all cases.

        Raises:
            BatchStopped: if it did not.
        """
        if self.stopped:
            raise BatchStopped(self.stopped)
        return self

    def __str__(self) -> str:
        skipped = f", {len(self.skipped)} skipped (complete already)" if self.skipped else ""
        return f"{self.found} cases: {self.done} done, {len(self.failures)} failed{skipped}"


def map_cases(
    function: Callable[[Any], Any],
    cases: Iterable[tuple[str, Any]],
    *,
    title: str = "cases",
    engine: Engine = SERIAL,
    folder: Path | None = None,
    retry: bool = True,
) -> BatchReport:
    """Call `function` on each case; a failing case is logged with its reason and the others go on.

    Args:
        function: takes one item, returns anything, `Reused` for what is there already, `Failed` for what failed. With
            threads it is called by several of them at once; with dask it and the items travel to other processes:
            paths, not arrays.
        cases: pairs (case id, item); ids must be unique. None at all gives an empty report.
        title: words on the progress bar, which shows for several cases on a terminal.
        engine: who works on the cases.
        folder: output folder, held by the caller (`only_run`), whose `.flare` gets ledger and summary; None: no output.
        retry: try a case that failed, and not because of its file, once more when the others are done.
    Returns:
        A report in which every case appears exactly once, in the order given, whatever the engine.
    Raises:
        ValueError: if two cases carry the same id (before anything runs).
    """
    cases = _checked(cases, title)
    if not cases:
        return _Record(cases, title, folder).of(nullcontext(lambda *_: iter(())), retry)
    return _Record(cases, title, folder).of(engine.started(function, title), retry)


def pipe_cases(
    read: Callable[[Any], Any],
    compute: Callable[[Any], Any],
    write: Callable[[Any], Any],
    cases: Iterable[tuple[str, Any]],
    *,
    title: str = "cases",
    overlap: bool = True,
    folder: Path | None = None,
) -> BatchReport:
    """Read, compute and write each case; while one is computed, the next is read and the last one written.

    Args:
        read, compute, write: take a case's item, what was read, what was computed. Each of them is called for one case
            at a time, in order; whichever of them fails, it is that case's failure.
        cases: as for `map_cases`.
        title: words on the progress bar.
        overlap: without it one case is finished before the next is begun, so that one alone is in memory.
        folder: as for `map_cases`.
    Returns:
        As `map_cases`, with what `write` returned.
    """

    def work(cases: Cases, careful: bool) -> Iterator[tuple[str, Outcome]]:
        if overlap and len(cases) > 1 and not careful:
            return piped(read, compute, write, cases)
        return in_threads(lambda item: write(compute(read(item))), cases, 1)

    return _Record(_checked(cases, title), title, folder).of(nullcontext(work), retry=True)


@dataclass
class _Record:
    """Settles every case of a batch, in memory and, where there is an output folder, on the disk.

    Attributes:
        cases, title, folder: see `map_cases`.
        settled: case id to its last outcome.
        stopped: see `BatchReport`.
    """

    cases: Cases
    title: str
    folder: Path | None
    settled: dict[str, Outcome] = field(default_factory=dict)
    stopped: str = ""

    def of(self, started: AbstractContextManager[Work], retry: bool) -> BatchReport:
        """Let the workers do all cases, and those that may pass a second time once more; return the report."""
        if self.folder is not None:
            summary_file(self.folder).unlink(missing_ok=True)  # an interrupted run must not show the one before
        bar = _progress(self.title, len(self.cases))
        with open_ledger(self.folder, self.title) as ledger, bar as shown, started as work:
            again: dict[str, Outcome] = {}
            for case, outcome in work(_UntilStopped(self, self.cases), False):
                if retry and outcome.may_pass:
                    log.info("%s: %s is tried again later: %s", self.title, case, outcome.error)
                    again[case] = outcome
                else:
                    self._settle(case, outcome, ledger, shown)
            if again and not self.stopped:
                cases = [pair for pair in self.cases if pair[0] in again]
                for case, outcome in work(_UntilStopped(self, cases), True):
                    self._settle(case, outcome, ledger, shown)
            for case, _ in self.cases:
                if case not in self.settled:  # only where the batch was stopped
                    self._settle(case, again.get(case, Outcome(FAILED, error=NOT_STARTED)), ledger)
        return self._report()

    def _settle(self, case: str, outcome: Outcome, ledger: Ledger | None, bar: Any = None) -> None:
        """Note what became of a case, and whether the batch must stop here."""
        self.settled[case] = outcome
        was_stopped = self.stopped
        if outcome.stops:
            self.stopped = self.stopped or f"{outcome.error}; mend that, then run the same again"
        if outcome.error and not was_stopped:
            log.error("%s: %s failed: %s", self.title, case, outcome.error)
            log.debug("%s", outcome.traceback)
        try:
            if ledger is not None:
                ledger.append(case, outcome)
        except OSError as error:
            self.stopped = self.stopped or f"the ledger cannot be written: {error}; mend that, then run the same again"
        if bar is not None:
            bar.update()

    def _report(self) -> BatchReport:
        """Return the report, and write its numbers into the summary."""
        settled = {case: self.settled[case] for case, _ in self.cases}
        report = BatchReport(
            {case: o.result for case, o in settled.items() if o.status != FAILED or o.result is not None},
            {case: o.error for case, o in settled.items() if o.status == FAILED},
            frozenset(case for case, o in settled.items() if o.status == SKIPPED),
            self.stopped,
        )
        if self.stopped:
            log.error("%s: stopped: %s", self.title, self.stopped)
        if self.folder is not None:
            numbers = {"title": self.title, "found": report.found, "done": report.done, "failed": len(report.failures)}
            numbers |= {"skipped": len(report.skipped), "stopped": report.stopped, "failures": report.failures}
            try:
                write_file(summary_file(self.folder), json.dumps(numbers, indent=2) + "\n")
            except OSError:
                if not self.stopped:  # where the disk is full everybody knows by now
                    raise
        return report


@dataclass(frozen=True)
class _UntilStopped:
    """Cases that come to an end when their batch stops: what is in work then is finished, and no other is begun."""

    batch: _Record
    cases: Cases

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return takewhile(lambda _: not self.batch.stopped, self.cases)


def _progress(title: str, cases: int) -> AbstractContextManager[Any]:
    """Return a progress bar for several cases on a terminal; elsewhere nothing is shown."""
    if cases < 2 or not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm  # late: its import is a tenth of a quick start

    return tqdm(desc=title, total=cases)


def summary_file(folder: Path) -> Path:
    """Return where the summary of the last run into an output folder lies."""
    return Path(folder) / STATE / "summary"  # no suffix: a case may be called summary


def _checked(cases: Iterable[tuple[str, Any]], title: str) -> Cases:
    """Return the cases as a list, or refuse them."""
    cases = list(cases)
    twice = sorted(case for case, times in Counter(case for case, _ in cases).items() if times > 1)
    if twice:
        raise ValueError(f"{title}: every case id must be unique, got {', '.join(twice)} more than once")
    return cases
