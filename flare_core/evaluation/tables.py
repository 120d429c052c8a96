"""Write result tables as CSV, whole or not at all, and lay scores out for reading.

Serves the evaluation step and every notebook that shows scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES, TUMOR
from flare_core.storage import write_file


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV so that the file is complete or does not change.

    Args:
        table: any table; its index is left out. Missing numbers become empty fields; no rows leave the header alone.
        path: the file; its folder is made.
    Returns:
        The path.
    Raises:
        OSError: if the folder cannot be written; no partial file stays.
    """
    write_file(path, table.to_csv(index=False, lineterminator="\n"))
    return path


def score_table(scores: pd.DataFrame, columns: Sequence[str] = ("dsc", "nsd")) -> pd.DataFrame:
    """Lay long scores out as the papers do: one row a target, the organs' mean and the tumor at the end, in percent.

    Args:
        scores: long table with columns `case`, `target` and those named; scores without a value enter no mean.
        columns: which scores.
    Returns:
        Table indexed by target title with a column `<COLUMN> mean` and `<COLUMN> SD` for each score; targets without
        any score show NaN, and the standard deviation of one case is NaN.
    """
    rows = {}
    means = scores.groupby("target")[list(columns)].mean()
    spreads = scores.groupby("target")[list(columns)].std()
    for name in TARGET_NAMES:
        if name in means.index:
            rows[BY_NAME[name].title] = _percent(means.loc[name], spreads.loc[name], columns)
    organs = scores[scores["target"].isin(ORGAN_NAMES)]
    if len(organs):
        by_case = organs.groupby("case")[list(columns)].mean()
        rows["Organ mean"] = _percent(means.loc[means.index.isin(ORGAN_NAMES)].mean(), by_case.std(), columns)
    if TUMOR.title in rows:
        rows[TUMOR.title] = rows.pop(TUMOR.title)
    return pd.DataFrame.from_dict(rows, orient="index")


def _percent(means: pd.Series, spreads: pd.Series, columns: Sequence[str]) -> dict[str, float]:
    """Return mean and standard deviation of each column in percent, two digits."""
    row = {}
    for column in columns:
        row[f"{column.upper()} mean"] = round(100 * float(means[column]), 2)
        row[f"{column.upper()} SD"] = round(100 * float(spreads[column]), 2)
    return row
