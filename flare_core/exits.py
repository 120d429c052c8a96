"""Exit codes of `flare`, and how it says what became of a batch of cases."""

import sys

from flare_core.batch import NOT_STARTED, BatchReport

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
PIPE_CLOSED = 141  # as a shell reports a program that SIGPIPE ended


def report_cases(report: BatchReport) -> int:
    """Print what became of the cases and return the exit code."""
    print(report)
    for case, reason in report.failures.items():
        if reason != NOT_STARTED:
            print(f"  {case}: {reason}", file=sys.stderr)
    if report.stopped:
        missed = list(report.failures.values()).count(NOT_STARTED)
        print(f"stopped, {missed} cases not started: {report.stopped}", file=sys.stderr)
    return SOME_FAILED if report.failures else DONE
