"""Say which submissions and scans are measured, and put what was measured now, earlier and by the papers together.

Serves `flare efficiency` and notebook 08. One scan is measured now; the rows of the others came along with the package,
and every row says which.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core import paths
from flare_core.evaluation.efficiency import Conditions, Subject, measure_efficiency
from flare_core.evaluation.efficiency_table import COLUMNS, SAMPLE_COLUMNS, EfficiencyTables, as_text, measured_alike
from flare_core.evaluation.memory import Gpu
from flare_core.inference.predict import find_images
from flare_core.inference.submission import submission_hash
from flare_core.recipe import Limits
from flare_core.scoreboard import CAME_ALONG, MADE_NOW
from flare_core.systems import SYSTEMS
from flare_core.workspace import COHORT_SEED, Workspace, generator_digest

PAPER_SLICES = (55, 100, 150, 215, 334, 448, 499, 554)
"""Of the eight 512 x 512 validation scans in the papers' efficiency tables."""
OTHER_NETWORKS = f"{CAME_ALONG}, other networks"
FEWEST_FOR_A_LINE = 3


def as_subject(folder: Path) -> Subject:
    """Return a submission folder as something to be measured, named after its folder (or its run's).

    Raises:
        ValueError: if it is no submission folder.
    """
    folder = Path(folder).resolve()
    if not (folder / "submission.json").is_file():
        raise ValueError(f"{folder}: no submission.json here; name a submission folder such as weights/nvauto")
    name = folder.parent.name if folder.name == "submission" else folder.name
    return Subject(name, folder, submission_hash(folder))


def find_scans(inputs: Iterable[Path]) -> list[tuple[str, Path]]:
    """Return (case id, path) of every image among files and folders; of a dataset folder, the validation images.

    Raises:
        ValueError: if an input does not exist, there is no image, or two share an id.
    """
    return find_images([Path(item) / "imagesVal" if _is_dataset(Path(item)) else Path(item) for item in inputs])


def _is_dataset(folder: Path) -> bool:
    """Say whether a folder holds validation images and no images of its own."""
    return (folder / "imagesVal").is_dir() and not any(folder.glob("*.nii*"))


def scans_of_sizes(slices: Sequence[int], folder: Path = paths.COHORTS) -> list[tuple[str, Path]]:
    """Return (case id, path) of synthetic 512 x 512 scans of so many slices, each generated once.

    Args:
        slices: numbers of slices, in order.
        folder: holds the cohorts; the scans lie in a folder named after the generator's source.
    Raises:
        ValueError: for a number that the generator refuses.
    """
    from flare_core.cases.cohort import write_cohort

    place = folder / f"sizes-{generator_digest()[:8]}"
    scans = []
    for count in slices:
        case = f"slices_{count:03d}"
        path = place / f"{case}_0000.nii.gz"
        if not path.is_file():
            fresh = place / f".{case}.tmp-{os.getpid()}"
            write_cohort(fresh, 0, 1, COHORT_SEED, "full", slices=count)
            (image,) = (fresh / "imagesVal").iterdir()
            os.replace(image, path)
            shutil.rmtree(fresh)
        scans.append((case, path))
    return scans


def measure_now(work: Workspace) -> EfficiencyTables:
    """Measure the submission of a workspace once, cold, whatever was measured before.

    The scan is the smallest of the papers' sizes; in `smoke`, and where the workspace has data of its own, the first
    validation case.

    Raises:
        FailedCase: if it cannot be predicted.
    """
    if work.profile == "smoke" or work.data:
        entry = work.dataset().validation[0]
        scans = [(entry.id, entry.image)]
    else:
        scans = scans_of_sizes(PAPER_SLICES[:1], work.root / paths.COHORTS.relative_to(paths.ROOT))
    out = work.run / "efficiency.csv"
    subject = Subject(work.system, work.submission, submission_hash(work.submission))
    conditions = Conditions(gpu=Gpu.find(), warm_up=work.profile != "smoke")
    report = measure_efficiency([subject], scans, out, conditions, force=True)
    if report.failures:
        raise RuntimeError(f"{work.system} could not be measured: {', '.join(report.failures.values())}")
    tables = EfficiencyTables.read(out)
    rows = tables.rows.tail(1)
    return EfficiencyTables(out, rows, tables.samples[tables.samples["run"].isin(rows["run"])])


@dataclass(frozen=True, eq=False)
class EfficiencyBoard:
    """What was measured now and what came along, in one table each.

    Attributes:
        rows: columns of the efficiency table (`efficiency_table.COLUMNS`) and `made`; failed rows are there, too.
        samples: the memory samples of these rows.
    """

    rows: pd.DataFrame
    samples: pd.DataFrame

    @property
    def measured(self) -> pd.DataFrame:
        """The rows of cases that did not fail."""
        return self.rows[self.rows["failure"].isna()]

    @property
    def shown(self) -> pd.DataFrame:
        """The measured rows to compare: those that came along and were measured alike.

        A submission without such rows has those made now.
        """
        rows = self.measured
        came_along = rows["made"] != MADE_NOW
        is_main = rows.index.isin(measured_alike(rows[came_along]).index)
        return rows[is_main | (~came_along & ~rows["submission"].isin(rows["submission"][is_main]))]

    @property
    def systems(self) -> list[str]:
        """The submissions that have rows, in the order of the systems."""
        there = dict.fromkeys(self.rows["submission"])
        return [name for name in SYSTEMS if name in there] + [name for name in there if name not in SYSTEMS]

    @property
    def limits(self) -> dict[str, Limits]:
        """What the challenge of each submission tolerates."""
        return {name: SYSTEMS[name].limits for name in self.systems if name in SYSTEMS}

    def slices(self, most: int = 2) -> list[int]:
        """Return the smallest and the largest size (or up to `most` sizes between) that all measured systems share."""
        by_size = self.shown.groupby("slices")["submission"].nunique()
        shared = sorted(by_size[by_size == by_size.max()].index)
        picked = np.linspace(0, len(shared) - 1, min(most, len(shared))).round().astype(int)
        return [int(shared[place]) for place in picked]


def efficiency_board(work: Workspace, now: EfficiencyTables | None = None) -> EfficiencyBoard:
    """Put the rows that were measured now before the committed ones of the profile.

    A committed row whose networks are not those that lie in the submission folder today says so.

    Args:
        work: whose profile and data; with data of its own nothing came along.
        now: from `measure_now`.
    """
    kept = EfficiencyTables.read(work.results / "efficiency.csv")
    rows = kept.rows.assign(made=[_origin(work, row) for row in kept.rows.itertuples()])
    parts = [(rows, kept.samples)]
    if now is not None:
        parts.insert(0, (now.rows.assign(made=MADE_NOW), now.samples))
    rows, samples = zip(*parts, strict=True)
    return EfficiencyBoard(_together(rows, [*COLUMNS, "made"]), _together(samples, list(SAMPLE_COLUMNS)))


def _together(tables: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Return tables below each other; none gives the columns alone."""
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)


def _origin(work: Workspace, row) -> str:
    """Say of a committed row whether it is of the networks that are there today."""
    try:
        submission = Workspace(row.submission, work.profile, work.data, work.root).submission
    except (ValueError, FileNotFoundError):
        return OTHER_NETWORKS
    return CAME_ALONG if submission_hash(submission).startswith(row.submission_sha256) else OTHER_NETWORKS


def published_efficiency() -> pd.DataFrame:
    """Return what the papers print: rows of their tables and means from their text, misprints flagged, not mended."""
    return pd.read_csv(paths.PUBLISHED / "efficiency.csv", dtype={"image_id": str}, keep_default_na=True)


CONDITIONS = {"memory": "memory of", "backend": "backend", "precision": "precision", "processor": "processor"}


def alike(rows: pd.DataFrame) -> str:
    """Return in a line the conditions that all rows of an efficiency table share; `readable` leaves them out."""
    shared = [f"{CONDITIONS[name]} {rows[name].iloc[0]}" for name in _shared(rows)]
    return f"All rows: {'; '.join(shared)}" if shared else ""


def _shared(rows: pd.DataFrame) -> list[str]:
    """Return which of the conditions have one value in all rows."""
    return [name for name in CONDITIONS if name in rows and rows[name].nunique(dropna=False) == 1]


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of an efficiency table that a person wants to see first; what all share, `alike` says."""
    names = {
        "submission": "submission",
        "case": "case",
        "slices": "slices",
        "seconds": "time (s)",
        "peak_mb": "peak (MiB)",
        "area_sum_mb_s": "area, sum (MiB s)",
        "area_trapezoid_mb_s": "area, trapezoid (MiB s)",
        **CONDITIONS,
        "options": "options",
        "made": "made",
        "failure": "failure",
    }
    empty = [name for name in ("options", "failure") if name in rows and not as_text(rows[name]).any()]
    shown = [name for name in names if name in rows and name not in (*empty, *_shared(rows))]
    return rows[shown].rename(columns=names)


def growth(rows: pd.DataFrame) -> pd.DataFrame:
    """Fit a line through time and peak over the number of slices, for every submission with three sizes or more.

    Args:
        rows: measured rows.
    Returns:
        A row a submission: seconds at no slice at all (the start), seconds and MB more for every hundred slices, and
        for each fit the share of the variance that the line explains. No submission with enough sizes gives no row.
    """
    lines = {}
    for name, part in rows.groupby("submission", sort=False):
        means = part.groupby("slices")[["seconds", "peak_mb"]].mean()
        if len(means) < FEWEST_FOR_A_LINE:
            continue
        (slope, start, share), (peak_slope, _, peak_share) = (_line(means.index, means[n]) for n in means)
        lines[name] = {
            "start (s)": start,
            "s / 100 slices": 100 * slope,
            "R2 of time": share,
            "MiB / 100 slices": 100 * peak_slope,
            "R2 of peak": peak_share,
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("submission")


def _line(x: pd.Index, y: pd.Series) -> tuple[float, float, float]:
    """Return slope, intercept and R2 of the least-squares line (a constant is explained wholly)."""
    slope, start = np.polyfit(x.to_numpy(float), y.to_numpy(float), 1)
    rest, spread = ((y - start - slope * x.to_numpy(float)) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return float(slope), float(start), float(1 - rest / spread) if spread else 1.0


def cost_and_accuracy(rows: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Put the mean cost of each submission beside its accuracy.

    Args:
        rows: measured rows; means are over the sizes that all of them share.
        scores: indexed by system with columns `organ DSC` and `tumor DSC` (`Scoreboard.table`).
    Returns:
        Rows (submission, measure, dsc, seconds, area_mb_s, sizes); a system that segments no organs has no such row.
    """
    sizes = set.intersection(*(set(part["slices"]) for _, part in rows.groupby("submission"))) if len(rows) else set()
    common = rows[rows["slices"].isin(sizes)]
    costs = common.groupby("submission", sort=False)[["seconds", "area_sum_mb_s"]].mean()
    table = scores[["organ DSC", "tumor DSC"]].join(costs, how="inner").rename_axis("submission").reset_index()
    long = table.melt(["submission", "seconds", "area_sum_mb_s"], var_name="measure", value_name="dsc")
    long["measure"] = long["measure"].map({"organ DSC": "Organs", "tumor DSC": "Tumors, in cases that have some"})
    return long.dropna(subset="dsc").rename(columns={"area_sum_mb_s": "area_mb_s"}).assign(sizes=len(sizes))
