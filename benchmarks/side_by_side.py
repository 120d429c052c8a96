"""Measure commands in turn, each run in a fresh process: A B A B ..., so that a machine's drift meets all alike.

Every script here that imports this module and has a `main` is a benchmark: `python benchmarks` (`make benchmarks`) runs
them all. One that `measure`s its commands and hands the rows to `write_table` is complete; it runs without arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pandas as pd

from flare_core import __version__
from flare_core.evaluation.tables import write_csv
from flare_core.machine import processor_name, usable_cores
from flare_core.paths import RESULTS, ROOT, RUNS
from flare_core.storage import file_hash, write_file

WORK = RUNS / "benchmarks"
OWN = "flare_core"
NO_MEMORY = ("MemoryError", "can't allocate memory", "Unable to allocate")
"""What a process says that got no memory: Python, torch, NumPy."""
REUSED = "skipped (complete already)"
"""What a command of ours says of cases that it did not work on."""


@dataclass(frozen=True)
class Command:
    """One side.

    Attributes:
        tool: its name in the table.
        version: of the tool.
        argv: the command, file to file.
        runs: how often it is counted; None: as often as the benchmark says. For a side that takes minutes.
        inside: text file in which a run says how many seconds its work took without imports; None: it does not.
        removed: folders that are removed before every run: what an earlier one has written.
        warm_up: what runs beforehand, so that files are in memory; None: one run that is not counted.
        most_mib: a run that takes more memory is stopped; None: none is.
    """

    tool: str
    version: str
    argv: tuple[str | Path, ...]
    runs: int | None = None
    inside: Path | None = None
    removed: tuple[Path, ...] = ()
    warm_up: tuple[str | Path, ...] | None = None
    most_mib: int | None = None

    @property
    def key(self) -> str:
        """Return a name that changes with what a run follows from: command, its files, processor, our own source."""
        own = sorted((ROOT / "flare_core").rglob("*.py")) if self.tool.startswith(OWN) else []
        own += [Path(word) for word in self.argv if os.path.isfile(word)]  # a word may be code, too long for a Path
        what = [self.tool, self.version, *map(str, self.argv), processor_name(), *map(file_hash, own)]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


class OutOfMemory(RuntimeError):
    """A run that needed more memory than it may have, or than there is."""


@dataclass
class Measured:
    """What the counted runs of a command needed.

    Attributes:
        command: which.
        seconds, peak_mib: one number a run, the whole process from start to end.
        inside_seconds: one number a run, as the run itself says.
        outcome: `done` or `out of memory`: then no further run was tried.
        measured: the day of the last run; "" where an earlier version kept it.
    """

    command: Command
    seconds: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    inside_seconds: list[float] = field(default_factory=list)
    outcome: str = "done"
    measured: str = ""

    def row(self) -> dict[str, object]:
        """Return the columns that every benchmark has; what ran out of memory has no seconds and had its limit."""
        is_done = self.outcome == "done"
        seconds = self.seconds if is_done else [math.nan]
        return {
            "tool": self.command.tool,
            "version": self.command.version,
            "runs": len(self.seconds),
            "seconds_min": round(min(seconds), 3),
            "seconds_median": round(statistics.median(seconds), 3),
            "seconds_max": round(max(seconds), 3),
            "peak_mib": round(statistics.median(self.peak_mib)) if is_done else self.command.most_mib,
            "measured": self.measured,
        }

    def run(self, is_counted: bool) -> None:
        """Run the command once and take down what it needed."""
        command = self.command
        if not is_counted and command.warm_up:
            command = replace(command, argv=command.warm_up)
        for folder in command.removed:
            shutil.rmtree(folder, ignore_errors=True)
        self.measured = date.today().isoformat()
        try:
            seconds, peak_mib = run_once(command)
        except OutOfMemory:
            self.outcome = "out of memory"
            return
        if is_counted:
            self.seconds.append(seconds)
            self.peak_mib.append(peak_mib)
            if command.inside:
                self.inside_seconds.append(float(command.inside.read_text()))


def own_command(*arguments: str | Path, removed: Sequence[Path] = ()) -> Command:
    """Return a `flare` command of this package."""
    return Command(OWN, __version__, (sys.executable, "-m", "flare_core.cli", *arguments), removed=tuple(removed))


def measure(commands: Sequence[Command], runs: int, kept: Path | None = None) -> list[Measured]:
    """Run the commands in turn, after one run each that is not counted.

    Args:
        commands: the sides; one that is counted once only gets no run beforehand, unless it has a warm-up of its own.
        runs: counted runs of each.
        kept: JSON file that takes every counted run at once and from which those that are there are taken, so that a
            long benchmark can be done in pieces; None: all are run now.
    Returns:
        What each needed, in the order given.
    Raises:
        SystemExit: with its last words, if a command fails.
    """
    there = kept_runs(kept)
    found = [Measured(command, **there.get(command.key, {})) for command in commands]
    for turn in range(-1, runs):
        for measured in found:
            most = measured.command.runs or runs
            is_counted = turn >= 0
            is_over = measured.outcome != "done" or len(measured.seconds) >= (turn + 1 if is_counted else most)
            if turn >= most or is_over or not (is_counted or most > 1 or measured.command.warm_up):
                continue
            measured.run(is_counted)
            if kept is not None and (is_counted or measured.outcome != "done"):
                there[measured.command.key] = {k: v for k, v in vars(measured).items() if k != "command"}
                write_file(kept, json.dumps(there, indent=1))
    return found


def kept_runs(kept: Path | None) -> dict[str, dict[str, object]]:
    """Return what an earlier `measure` has kept, by the key of the command."""
    return json.loads(kept.read_text()) if kept is not None and kept.is_file() else {}


def run_once(command: Command) -> tuple[float, float]:
    """Return the seconds and the peak memory in MiB of one run of a command in a fresh process.

    Raises:
        OutOfMemory: if it was killed for its memory or says that it got none.
        SystemExit: with its last words, if it fails otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", Path(folder) / "log.txt"
        launch = [sys.executable, "-I", "-S", Path(__file__).with_name("launch.py"), result, log]
        subprocess.run([*launch, str(command.most_mib or 0), *command.argv], check=True)
        found, words = json.loads(result.read_text()), log.read_text()
    if found["out_of_memory"] or (found["exit_code"] and any(said in words for said in NO_MEMORY)):
        raise OutOfMemory(f"{command.tool} ran out of memory")
    if found["exit_code"] != 0:
        last = "\n".join(words.splitlines()[-15:])
        raise SystemExit(f"{command.tool} ended with {found['exit_code']}: {last}")
    if REUSED in words:
        raise SystemExit(f"{command.tool} found what an earlier run had made, so that nothing was measured: {words}")
    return found["seconds"], found["peak_mib"]


def with_ratios(rows: Sequence[dict[str, object]], **further: str) -> list[dict[str, object]]:
    """Return the rows of one input, each with how many times slower and larger it is than ours, by the medians.

    Args:
        rows: one of them ours.
        further: name of a ratio to the column that it is of, beside these two.
    """
    (own,) = (row for row in rows if row["tool"] == OWN)
    compared = {"times_ours": "seconds_median", "peak_times_ours": "peak_mib", **further}
    return [{**row, **{name: round(row[key] / own[key], 2) for name, key in compared.items()}} for row in rows]


def write_table(name: str, rows: Sequence[dict[str, object]]) -> Path:
    """Print a table and write it with the machine's name to data/results/benchmarks/NAME.csv; return the path."""
    table = pd.DataFrame(list(rows))
    print(table.to_string(index=False))
    machine = {"processor": processor_name(), "cores": usable_cores(), "python": platform.python_version()}
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    return write_csv(table.assign(**machine), RESULTS / "benchmarks" / f"{name}.csv")


def parser_of(documentation: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every benchmark has."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each command (default 3)")
    return parser
