"""Keep what was measured in two tables: a row a submission and case, and the memory samples behind each row.

Serves `efficiency`, the figures and notebook 08. A table is complete on the disk after every case, and a later
measurement adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flare_core.evaluation.tables import write_csv

STAGES = ("start", "read", "resample", "network", "reduce", "postprocess", "write", "other")
"""Where the time goes, in the order of the data flow; `other` is what a prediction does not tell apart."""
MEASURES = ("seconds", "peak_mb", "area_sum_mb_s", "area_trapezoid_mb_s", "high_water_mb", "host_peak_mb")
IDENTITY = ("submission", "case", "options", "processor")
COLUMNS = (
    *("submission", "case", "slices", *MEASURES, "first_start_s", "gpu_before_mb", "gpu_process_peak_mb", "memory"),
    *("backend", "precision", "options", "processor", *(f"{stage}_s" for stage in STAGES)),
    *("submission_sha256", "image_sha256", "run", "measured", "failure"),
)
TEXTS = dict.fromkeys(("case", "options", "submission_sha256", "image_sha256", "run", "failure"), str)
"""Columns of text that may look like numbers (a hash like 12345e67 is infinite as one)."""
SAMPLE_COLUMNS = ("submission", "case", "run", "time_s", "memory", "mb")


def samples_file(out: Path) -> Path:
    """Return where the samples of a table lie: `efficiency.csv` has `efficiency_samples.csv` beside it."""
    return out.with_name(f"{out.stem}_samples{out.suffix}")


@dataclass
class EfficiencyTables:
    """The table and the samples, as they lie on the disk.

    Attributes:
        out: the table's file.
        rows: columns `COLUMNS`; times in s, memory in MB of 2**20 bytes, areas in MB s. `memory` says which memory
            `peak_mb` and the areas are of: `gpu` (the whole device) or `host` (the process tree). A row with a
            `failure` has no measures. `first_start_s` is the whole time of the first start of all, where it was made.
        samples: columns `SAMPLE_COLUMNS`; `run` is that of its row, `memory` one of host, gpu, gpu_process.
    """

    out: Path
    rows: pd.DataFrame
    samples: pd.DataFrame

    @classmethod
    def read(cls, out: Path) -> EfficiencyTables:
        """Read what is there; nothing gives empty tables."""
        parts = []
        for path, columns in ((out, COLUMNS), (samples_file(out), SAMPLE_COLUMNS)):
            table = pd.read_csv(path, dtype=TEXTS) if path.is_file() else pd.DataFrame(columns=list(columns))
            if list(table.columns) != list(columns):
                raise ValueError(f"{path} is there and no such table; name another file")
            parts.append(table)
        return cls(out, *parts)

    def write(self) -> None:
        """Write both, each whole or not at all; samples come before their row and go after it."""
        write_csv(self.samples, samples_file(self.out))
        write_csv(self.rows, self.out)
        has_row = self.samples["run"].isin(self.rows["run"])
        if not has_row.all():
            self.samples = self.samples[has_row]
            write_csv(self.samples, samples_file(self.out))

    def find(self, wanted: dict[str, Any]) -> pd.DataFrame:
        """Return the rows that have these values."""
        is_same = [as_text(self.rows[name]) == str(value) for name, value in wanted.items()]
        return self.rows[np.logical_and.reduce(is_same)]

    def put(self, row: dict[str, Any], samples: pd.DataFrame) -> None:
        """Put a row in the place of an older one of the same identity, and write."""
        older = self.find({name: row[name] for name in IDENTITY})
        self.rows = _joined(self.rows.drop(older.index), pd.DataFrame([row], columns=list(COLUMNS)))
        others = self.samples[self.samples["run"] != row["run"]]  # measured twice within a second a run is the same
        self.samples = _joined(others, samples)
        self.write()


def measured_alike(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without a failure that were measured in the way that most of them were.

    A way is a processor and the options of `flare predict`; of two with equally many rows it is the latest. Seconds and
    memory of several ways are no one's.
    """
    rows = rows[rows["failure"].isna()]
    ways = as_text(rows["processor"]) + " " + as_text(rows["options"])
    if ways.empty:
        return rows
    counted = rows.groupby(ways)["measured"].agg(["size", "max"])
    return rows[ways == counted.sort_values(["size", "max"]).index[-1]]


def as_text(column: pd.Series) -> pd.Series:
    """Return a column as text, nothing as empty text: pandas reads a column without any entry as numbers."""
    return column.astype(object).where(column.notna(), "").astype(str)


def _joined(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Return both tables in one; pandas minds empty parts."""
    parts = [part for part in (table, more) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else table
