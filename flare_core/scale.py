"""Draw the line from what was measured on one case, or published, to FLARE's 4000 CTs on one machine and on ten.

Serves docs/scale.md. Every number is read from a result file or a paper's table; what is done here is multiplication.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flare_core.evaluation.efficiency_table import measured_alike
from flare_core.paths import PUBLISHED, RESULTS

CASES, NODES = 4000, 10
BENCHMARKS = RESULTS / "benchmarks"
SCANS = 300
"""Slices of the case that analysis and reading are told of; the papers' eight sizes have 294 in the mean."""


@dataclass(frozen=True)
class Step:
    """What one case costs in a step.

    Attributes:
        name: for people.
        seconds: a case.
        where: on what, and from which file.
        is_shared: ten machines need a tenth of the time; else it is the driver's, which stays one.
    """

    name: str
    seconds: float
    where: str
    is_shared: bool = True

    def row(self) -> str:
        """Return the step's line of the table."""
        total = CASES * self.seconds
        many = span(total / NODES) if self.is_shared else span(total)
        return f"| {self.name} | {self.seconds:.3g} s | {span(total)} | {many} | {self.where} |"


def span(seconds: float) -> str:
    """Return a time for people, with two digits that mean something."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.2g} s"


def steps(folder: Path = BENCHMARKS) -> Iterator[Step]:
    """Yield the steps in the order of the data flow.

    Args:
        folder: with the benchmarks' tables.
    """
    analysis = _own(folder, "analysis").query(f"input == 'synthetic 512x512x{SCANS}'").iloc[0]
    yield Step("count labels", analysis.analysis_seconds, f"one core, {SCANS} slices; analysis.csv")
    scaling = _own(folder, "scaling").query(f"slices == {SCANS}")
    moved = (scaling.read_s + scaling.write_s).median()
    yield Step("read an image, write its labels", moved, f"one core, {SCANS} slices, uncompressed; scaling.csv")
    measured = measured_alike(pd.read_csv(RESULTS / "mini" / "efficiency.csv")).groupby("submission").seconds.mean()
    for extreme in (measured.idxmin(), measured.idxmax()):
        where = "two cores, a cold process a case, the papers' eight sizes; efficiency.csv"
        yield Step(f"predict, small networks of `{extreme}`", measured[extreme], where)
    published = pd.read_csv(PUBLISHED / "efficiency.csv").query("what == 'case'")
    for system, rows in published.groupby("system", sort=False):
        hardware = (
            rows.hardware.iloc[0].split(" CUDA")[0].replace("not stated with the table (the text: ", "").rstrip(")")
        )
        where = f"{hardware}{')' if hardware.count('(') > hardware.count(')') else ''}, eight sizes; the paper's table"
        yield Step(f"predict, published `{system}`", rows.seconds.mean(), where)
    evaluation = _own(folder, "evaluation").query("input == 'synthetic 512x512x500'").iloc[0]
    yield Step("score all targets", evaluation.seconds_min, "one process, 500 slices; evaluation.csv")
    cases = _own(folder, "cases").query("command == 'evaluate' and engine.str.startswith('dask')").iloc[-1]
    where = f"{cases.cases} tiny cases, {cases.engine} on two cores (load {cases.load:g}); cases.csv"
    yield Step("hand out a case and note its end", cases.overhead_ms / 1000, where, is_shared=False)


def _own(folder: Path, name: str) -> pd.DataFrame:
    """Return our rows of a benchmark's table."""
    table = pd.read_csv(folder / f"{name}.csv")
    return table[table.tool == "flare_core"]


def scale_block(folder: Path = BENCHMARKS) -> str:
    """Return the Markdown table of all steps."""
    head = f"| step | one case | {CASES} cases, one machine | {NODES} machines | measured on |"
    return "\n".join([head, "|---|---|---|---|---|", *(step.row() for step in steps(folder))])


def cases_block(folder: Path = BENCHMARKS) -> str:
    """Return the Markdown table of the run over thousands of tiny cases."""
    names = ["command", "engine", "cases", "seconds", "ms a case", "of it overhead", "driver, middle and end"]
    names += ["peak where a case is done", "load"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in _own(folder, "cases").itertuples():
        driver = f"{row.driver_middle_mib:.0f} and {row.driver_late_mib:.0f} MiB"
        cells = [row.command, row.engine, f"{row.cases:,}", f"{row.seconds:.0f}", f"{row.ms_a_case:.0f}"]
        cells += [f"{row.overhead_ms:.0f}", driver, f"{row.case_peak_mib:.0f} MiB", f"{row.load:g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
