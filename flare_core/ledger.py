"""Write down what becomes of every case as it happens: a line each, whole whatever ends the run.

Serves `batch`: `.flare/ledger.jsonl` of an output folder grows with every run, `.flare/summary` (JSON) tells the last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_core.attempt import Outcome
from flare_core.storage import STATE


class Ledger:
    """The ledger of an output folder, open for one run of one command.

    A line holds case, status (`done`, `failed` or `skipped`), seconds, peak_mb, error, warnings; `title` says what was
    done with the case and `run` in which run (its start and process). The last line of a run's case is the valid one.
    """

    def __init__(self, folder: Path, title: str) -> None:
        path = ledger_file(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        now = time.time()
        start = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d}"
        self._facts = {"title": title, "run": f"{start}-{os.getpid()}"}
        self._drop_half_line()

    def append(self, case: str, outcome: Outcome) -> None:
        """Add a case's line, whole or not at all.

        Raises:
            OSError: if the disk is full.
        """
        fields = ("status", "seconds", "peak_mb", "error", "warnings")
        line = {"case": case} | {name: getattr(outcome, name) for name in fields} | self._facts
        content = json.dumps(line).encode() + b"\n"
        size = os.fstat(self._handle).st_size
        try:
            written = 0
            while written < len(content):
                written += os.write(self._handle, content[written:])
        except OSError:
            os.ftruncate(self._handle, size)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _drop_half_line(self) -> None:
        """Cut off a last line that a power failure left half written."""
        size = os.fstat(self._handle).st_size
        tail = os.pread(self._handle, min(size, 2**20), max(0, size - 2**20))
        if tail and not tail.endswith(b"\n"):
            os.ftruncate(self._handle, size - len(tail) + tail.rfind(b"\n") + 1)


@contextmanager
def open_ledger(folder: Path | None, title: str) -> Iterator[Ledger | None]:
    """Open the ledger of an output folder; without a folder there is none."""
    ledger = Ledger(folder, title) if folder is not None else None
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()


def ledger_file(folder: Path) -> Path:
    """Return where the ledger of an output folder lies."""
    return Path(folder) / STATE / "ledger.jsonl"


def read_ledger(folder: Path) -> list[Mapping[str, Any]]:
    """Return the lines of an output folder's ledger, the oldest first (no ledger: none)."""
    path = ledger_file(folder)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
