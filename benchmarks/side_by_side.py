"""Measure commands in turn, each run in a fresh process: A B A B ..., so that a machine's drift meets all alike.

Every script here that imports this module and has a `main` is a benchmark: `python benchmarks` (`make benchmarks`) runs
them all. One that `measure`s its commands and hands the rows to `write_table` is complete; it runs without arguments.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from flare_core import __version__
from flare_core.evaluation.tables import write_csv
from flare_core.machine import processor_name, usable_cores
from flare_core.paths import RESULTS, RUNS

WORK = RUNS / "benchmarks"
OWN = "flare_core"


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
    """

    tool: str
    version: str
    argv: tuple[str | Path, ...]
    runs: int | None = None
    inside: Path | None = None
    removed: tuple[Path, ...] = ()


@dataclass
class Measured:
    """What the counted runs of a command needed.

    Attributes:
        command: which.
        seconds, peak_mib: one number a run, the whole process from start to end.
        inside_seconds: one number a run, as the run itself says.
    """

    command: Command
    seconds: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    inside_seconds: list[float] = field(default_factory=list)

    def row(self) -> dict[str, object]:
        """Return the columns that every benchmark has."""
        return {
            "tool": self.command.tool,
            "version": self.command.version,
            "runs": len(self.seconds),
            "seconds_min": round(min(self.seconds), 3),
            "seconds_median": round(statistics.median(self.seconds), 3),
            "seconds_max": round(max(self.seconds), 3),
            "peak_mib": round(statistics.median(self.peak_mib)),
        }


def own_command(*arguments: str | Path, removed: Sequence[Path] = ()) -> Command:
    """Return a `flare` command of this package."""
    return Command(OWN, __version__, (sys.executable, "-m", "flare_core.cli", *arguments), removed=tuple(removed))


def measure(commands: Sequence[Command], runs: int) -> list[Measured]:
    """Run the commands in turn, after one run each that is not counted.

    Args:
        commands: the sides; one that is counted once only gets no run beforehand.
        runs: counted runs of each.
    Returns:
        What each needed, in the order given.
    Raises:
        SystemExit: with its last words, if a command fails.
    """
    found = [Measured(command) for command in commands]
    for turn in range(-1, runs):
        for measured in found:
            most = measured.command.runs or runs
            if turn < most and (turn >= 0 or most > 1):
                for folder in measured.command.removed:
                    shutil.rmtree(folder, ignore_errors=True)
                seconds, peak_mib = run_once(measured.command)
                if turn >= 0:
                    measured.seconds.append(seconds)
                    measured.peak_mib.append(peak_mib)
                    if measured.command.inside:
                        measured.inside_seconds.append(float(measured.command.inside.read_text()))
    return found


def run_once(command: Command) -> tuple[float, float]:
    """Return the seconds and the peak memory in MiB of one run of a command in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", Path(folder) / "log.txt"
        launch = [sys.executable, "-I", "-S", Path(__file__).with_name("launch.py"), result, log]
        subprocess.run([*launch, *command.argv], check=True)
        found = json.loads(result.read_text())
        if found["exit_code"] != 0:
            words = "\n".join(log.read_text().splitlines()[-15:])
            raise SystemExit(f"{command.tool} ended with {found['exit_code']}: {words}")
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
