"""Lay what the benchmarks measured beside the targets that were set beforehand, met or missed.

Serves `docs/performance.md`, whose tables are written from here (`readme.py`), so that none of their numbers is typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core.paths import RESULTS
from flare_core.systems import SYSTEMS

BENCHMARKS = RESULTS / "benchmarks"
PAPER_SLICES = (100, 215, 499)
SEEING = 1.0
"""Points of DSC below which a network sees too little for its DSC to change."""
STEPS = ("read", "resample", "network", "reduce", "postprocess", "write", "other")


@dataclass(frozen=True)
class Found:
    """What was measured for one target.

    Attributes:
        where: input or network.
        measured: in words.
        is_met: None where it was not measured.
    """

    where: str
    measured: str
    is_met: bool | None


@dataclass(frozen=True)
class Target:
    """What was asked beforehand.

    Attributes:
        asked: in words.
        benchmark: script in benchmarks/ and table in data/results/benchmarks/.
        found: reads the table.
    """

    asked: str
    benchmark: str
    found: Callable[[pd.DataFrame], Iterator[Found]]


def prediction(table: pd.DataFrame) -> Iterator[Found]:
    """Compare with nnU-Net at the paper's size of the student."""
    paper = table[table.network == "paper"]
    for slices in PAPER_SLICES:
        given = f"512x512x{slices}"
        rows = paper[paper.input.str.endswith(given)].set_index("tool")
        if not {"flare_core", "nnunetv2"} <= set(rows.index):
            yield Found(given, "", None)
            continue
        own, peer = rows.loc["flare_core"], rows.loc["nnunetv2"]
        if peer.get("outcome") == "out of memory":
            alone = f"{own.seconds_median:.0f} s, {own.peak_mib / 1024:.1f} GiB"
            yield Found(given, f"{alone}; nnU-Net out of memory beyond {peer.peak_mib / 1024:.0f} GiB", True)
            continue
        times, needed = peer.seconds_median / own.seconds_median, 10 if "AMX" in own.processor else 4
        share = own.peak_mib / peer.peak_mib
        both = f"{own.seconds_median:.0f} and {peer.seconds_median:.0f} s ({_runs(own)} and {_runs(peer)})"
        yield Found(given, f"{times:.1f} times as fast: {both}", times >= needed)
        yield Found(given, f"{share:.2f} of its peak memory", share <= 0.5)
        yield from _causes(given, rows)


def _causes(given: str, rows: pd.DataFrame) -> Iterator[Found]:
    """Say what makes the difference, where all our ways were measured."""
    ways = ["flare_core, torch float32", "flare_core, OpenVINO float32", "flare_core"]
    if set(ways) <= set(rows.index):
        torchs, openvinos, fastest = rows.loc[ways, "seconds_median"]
        causes = f"{torchs / openvinos:.1f} times by OpenVINO, both float32, and {openvinos / fastest:.1f} by bfloat16"
        yield Found(given, f"of this {causes}; ours with torch: {torchs:.0f} s", None)


def evaluation(table: pd.DataFrame) -> Iterator[Found]:
    """Compare with the package that the official script came from; smaller cases than the named ones are not judged."""
    named = ["synthetic 512x512x500", "synthetic 512x512x500, far off"]
    for given in dict.fromkeys([*named, *table.input]):
        rows = table[table.input == given].set_index("tool")
        if not {"flare_core", "surface-distance"} <= set(rows.index):
            yield Found(given, "", None)
            continue
        own, peer, is_named = rows.loc["flare_core"], rows.loc["surface-distance"], given in named
        times, share = peer.seconds_median / own.seconds_median, own.peak_mib / peer.peak_mib
        yield Found(given, f"{times:.1f} times as fast", times >= 10 if is_named else None)
        yield Found(given, f"{share:.2f} of its memory", share < 0.5 if is_named else None)
    ours = table[table.tool == "flare_core"]
    most = max(ours.largest_dsc_difference.max(), ours.largest_nsd_difference.max())
    yield Found("all inputs", f"largest difference {most:g}", most == 0)


def analysis(table: pd.DataFrame) -> Iterator[Found]:
    """Compare with MONAI's analyzer, whole processes and the work alone."""
    for given, rows in table.groupby("input", sort=False):
        peer = rows.set_index("tool").loc["monai"]
        yield Found(given, f"{peer.times_ours:.0f} times as fast, whole processes", peer.times_ours >= 50)
        inside = peer.analysis_times_ours
        yield Found(given, f"{inside:.0f} times as fast, the start of Python and imports left out", inside >= 50)


def cold_start(table: pd.DataFrame) -> Iterator[Found]:
    """Look at the moment when the first window is computed, in a later start."""
    own = table[(table.until == "network loaded") & (table.tool == "flare_core")].iloc[0]
    spread = f"{own.seconds_median:.2f} s ({own.seconds_min:.2f} to {own.seconds_max:.2f})"
    yield Found("first window computed", spread, own.seconds_median <= 0.6)
    own = table[(table.until == "first labels") & (table.tool == "flare_core")].iloc[0]
    yield Found("a tiny image's labels written", f"{own.seconds_median:.2f} s", None)


def backends(table: pd.DataFrame) -> Iterator[Found]:
    """Take the worst submission and backend."""
    equal, worst = table.equal_foreground.min(), table.equal_foreground_worst_case.min()
    measured = f"{equal:.2%} of foreground voxels equal (of a single case: {worst:.1%})"
    yield Found("worst of all submissions", measured, equal >= 0.99)
    seeing = table[table.mean_dsc_float32_torch >= SEEING]
    points = seeing.dsc_points_difference.abs().max()
    names = ", ".join(seeing.submission.unique())
    yield Found(f"worst of {names}", f"mean DSC {points:.2f} points apart", points <= 0.1)
    for name in sorted(set(table.submission) - set(seeing.submission)):
        yield Found(name, "nothing follows from its DSC, which is below a point", None)


def scaling(table: pd.DataFrame) -> Iterator[Found]:
    """Look at the growth of memory, at the planner's estimates and at the line through the unpacked files' times."""
    for name, rows in table.groupby("submission", sort=False):
        growth = rows.beyond_arrays_mib.max() - rows.beyond_arrays_mib.iloc[0]
        where = f"{name}, {rows.slices.min()} to {rows.slices.max()} slices"
        yield Found(where, f"{growth:+d} MiB beyond the arrays, 64 allowed", growth <= 64)
        most = rows[["peak_mib", "peak_filled_mib"]].max(axis=1)
        yield Found(where, "no estimate exceeded", bool((most <= rows.estimate_mib).all()))
        unpacked = rows[rows.file == ".nii"]
        r2 = np.corrcoef(unpacked.slices, unpacked.seconds_min)[0, 1] ** 2
        slope, start = np.polyfit(unpacked.slices, unpacked.seconds_min, 1)
        yield Found(where, f"{start:.2f} s and {1000 * slope:.2f} ms a slice, R2 {r2:.3f}", None)
    yield from _not_measured(table.submission)


def training(table: pd.DataFrame) -> Iterator[Found]:
    """Take every network's own ratio."""
    for row in table.itertuples():
        yield Found(f"{row.system} {row.stage}", f"{row.trainer_per_bare:.2f} bare steps", row.trainer_per_bare <= 1.1)
    yield from _not_measured(table.system)


def _not_measured(systems: pd.Series) -> Iterator[Found]:
    """Name the systems that a table lacks."""
    yield from (Found(key, "", None) for key in SYSTEMS if key not in set(systems))


TARGETS = (
    Target("4 times as fast as nnU-Net (10 with AMX) at half its peak, the paper's network", "prediction", prediction),
    Target(
        "10 times the official evaluation at less than half its memory (512x512x500), no difference",
        "evaluation",
        evaluation,
    ),
    Target("50 times MONAI's DataAnalyzer", "analysis", analysis),
    Target("first window 0.6 s after a later start", "cold_start", cold_start),
    Target("99 % of foreground voxels and 0.1 DSC points of float32 torch", "backends", backends),
    Target("memory flat beyond input and output; time over the slices (shown, not judged)", "scaling", scaling),
    Target("a training step within 10 % of the bare one", "training", training),
)


def targets_block(folder: Path = BENCHMARKS) -> str:
    """Return the Markdown table of all targets."""
    lines = ["| asked | where | measured | | command |", "|---|---|---|---|---|"]
    for target in TARGETS:
        path = folder / f"{target.benchmark}.csv"
        found = target.found(pd.read_csv(path)) if path.is_file() else [Found("", "", None)]
        for index, one in enumerate(found):
            asked = "the same" if index else target.asked
            verdict = {True: "met", False: "**missed**", None: "" if one.measured else "not measured"}[one.is_met]
            command = f"`python benchmarks/{target.benchmark}.py`"
            lines.append(f"| {asked} | {one.where} | {one.measured} | {verdict} | {command} |")
    tables = [pd.read_csv(path) for path in sorted(folder.glob("*.csv"))]
    machines = {f"{row.processor}, {row.cores} cores" for table in tables for row in table.itertuples()}
    on = " and ".join(sorted(machines))
    return "\n".join(lines) + f"\n\nOn {on}. No graphics card: what needs one is not measured."


def steps_block(folder: Path = BENCHMARKS) -> str:
    """Return the Markdown table of where the time of a prediction goes, for the shortest and the longest files."""
    table = pd.read_csv(folder / "scaling.csv")
    table = table[table.slices.isin([table.slices.min(), table.slices.max()])]
    lines = ["| submission | slices | file | " + " | ".join(STEPS) + " |", "|---" * (len(STEPS) + 3) + "|"]
    for row in table.to_dict("records"):
        seconds = [row[f"{step}_s"] for step in STEPS]
        shares = " | ".join(f"{one / sum(seconds):.0%}" for one in seconds)
        lines.append(f"| `{row['submission']}` | {row['slices']} | `{row['file']}` | {shares} |")
    return "\n".join(lines)


def _runs(row: pd.Series) -> str:
    """Return how often a side was counted."""
    return f"{row.runs} run" + ("s" if row.runs > 1 else "")
