"""Write down what the long tests tried and what became of it, for the README's table "How it was tried".

The long runs (`make test-all`) go through `recorded`; quick ones never do: `make test` changes no committed file.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from flare_core.machine import processor_name, usable_cores
from flare_core.paths import RESULTS, RUNS
from flare_core.storage import write_file

TABLE = RESULTS / "benchmarks" / "reliability.csv"
COLUMNS = ["what", "tried", "failed", "outcome", "seconds", "command", "processor", "cores"]


@contextmanager
def recorded(what: str, command: str) -> Iterator[dict[str, Any]]:
    """Give a dict that takes `tried` (inputs, faults or repetitions), `failed` (0 unless said) and `outcome` (words).

    A row is written also when the block fails, so that a failure never leaves an older, better row behind.

    Args:
        what: what was tried, for people; it names the row and replaces an older one of that name.
        command: what repeats it.
    """
    row: dict[str, Any] = {"tried": 0, "failed": 0, "outcome": ""}
    start = time.monotonic()
    try:
        yield row
    except BaseException as error:
        row.update(failed=max(1, row["failed"]), outcome=f"stopped by {type(error).__name__}")
        raise
    finally:
        _write({"what": what, **row, "seconds": round(time.monotonic() - start), "command": command})


def _write(row: dict[str, Any]) -> None:
    """Put one row into the table."""
    RUNS.mkdir(exist_ok=True)
    with (RUNS / "reliability.lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = pd.read_csv(TABLE).to_dict("records") if TABLE.is_file() else []
        rows = [one for one in rows if one["what"] != row["what"]]
        rows.append(row | {"processor": processor_name(), "cores": usable_cores()})
        table = pd.DataFrame(rows, columns=COLUMNS).sort_values("what")
        write_file(TABLE, table.to_csv(index=False, lineterminator="\n"))
