"""Read what the papers print: result tables, training protocols, the best published figures, and where papers err.

Last step of the data flow: our numbers are laid beside these. Everything is as printed; what is misprinted or
contradicts another place is flagged with the reason and never mended.

References:
    `data/published/*.csv`; data/README.md says which file is which table.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flare_core import paths

TABLES = {
    "nvauto": (1, 4, 5),
    "dkfz": (3, 4, 5),
    "stmt": (3, 4, 5),
    "efficient_nnunet": (4, 5, 6),
    "swinx": (3, 4),
}
"""The result tables of each paper; the two submissions of `dkfz` share one paper."""

FLAGS = {
    "misprint": "the printed value cannot be meant, and what was meant follows from elsewhere",
    "contradiction": "another place of the same paper (or of the same source) says something else",
    "arithmetic": "a mean that does not follow from its rows",
    "implausible": "out of reach, given the other numbers",
    "definition": "other papers count or measure differently under the same name",
    "uncertain": "the extracted text of the paper leaves open what is printed",
}
UNITS = {
    "dsc": ("%",),
    "nsd": ("%",),
    "time": ("s", "min"),
    "peak": ("MB",),
    "area": ("MB s",),
    "slices": ("slices",),
    "cases": ("cases",),
    "classes": ("classes",),
}
"""The units in which each metric is printed."""


def published_table(system: str, number: int) -> pd.DataFrame:
    """Return one table of a paper, a row a cell in the order of print.

    Args:
        system: the paper (`TABLES`).
        number: of the table, as in the paper.
    Returns:
        Columns `paper`, `system` (whose submission is described), `table`, `caption` (its gist), `label_kind` (target,
        method, case or subset), `label` (of the row, as printed), `target` (our name, `organs` for their mean, empty
        for anything else), `group` and `column` (the two heads over the cell, as printed), `metric` and `unit` (see
        `UNITS`; the papers print MB for the area), `printed` (the cell's text), `mean` and `spread` (standard
        deviation; NaN where none is printed), `cases` (how many, where the paper says so), `flag` (see `FLAGS`) and
        `reason`, both empty for a sound cell.
    Raises:
        ValueError: if there is no such table.
    """
    if system not in TABLES:
        raise ValueError(f"no paper {system!r}; there are {', '.join(TABLES)}")
    if number not in TABLES[system]:
        there = ", ".join(map(str, TABLES[system]))
        raise ValueError(f"no table {number!r} of {system}; its result tables are {there}")
    cells = _read(paths.PUBLISHED / f"{system}_table{number}.csv", numbers=("mean", "spread", "cases"))
    return cells.astype({"table": int})


def published_tables() -> pd.DataFrame:
    """Return the cells of all tables, one under the other; columns as in `published_table`."""
    tables = [published_table(system, number) for system, numbers in TABLES.items() for number in numbers]
    return pd.concat(tables, ignore_index=True)


def anchors() -> pd.DataFrame:
    """Return the highest published figures found, of these papers and of others, a row a number.

    Returns:
        Columns `challenge`, `set`, `team`, `system` (ours, empty for others), `target` (empty for time and memory),
        `metric`, `unit`, `printed`, `mean`, `spread` (both NaN where a range is printed), `source`, `note` (what
        makes it incomparable), `flag` and `reason`.
    """
    return _read(paths.PUBLISHED / "anchors.csv", numbers=("mean", "spread"))


def protocols() -> pd.DataFrame:
    """Return how the papers trained and on what, a row a value.

    Returns:
        Columns `paper`, `table` (empty if from the text), `place`, `kind` (environment or protocol), `part` (which
        network or which of several values), `setting` and `printed` (as printed), `key` (our name of a setting that
        can be compared, else empty), `number` (NaN if it is none), `normalized` (text: a name, or three numbers along
        x, y, z, which the papers print along z, y, x), `unit`, `recipe` (the stages of ours that it is about, as
        `system.stage`, separated by spaces), `flag` and `reason`.
    """
    return _read(paths.PUBLISHED / "protocols.csv", numbers=("number",))


def counterparts() -> pd.DataFrame:
    """Return which numbers of ours belong beside the cells of the papers' tables; the first line about a cell holds.

    Returns:
        Columns `paper`, `table`, `label`, `group` and `column` (the cells; empty: any), `source` (which of our tables;
        empty: none), `system` (whose run; empty: the cell's), `variant` and `stage` (of the run), `fold` (empty: all),
        `spread` (over what the standard deviation of ours is taken, as the paper does: `cases`, `targets`, `folds`, or
        `rows`, the mean of the rows'), `reason` (without ours: why; with ours: how it differs
        from the paper's).
    """
    return _read(paths.PUBLISHED / "counterparts.csv")


def contradictions() -> pd.DataFrame:
    """Return where the papers err or disagree, in tables, text and figures, a row a finding.

    Returns:
        Columns `paper`, `place` and `printed` (what stands there, in short), `other_place` and `other_printed` (what
        stands against it), `flag` and `reason` (empty where the two say enough).
    """
    return _read(paths.PUBLISHED / "contradictions.csv")


def _read(path: Path, numbers: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return a file with everything as text but the named columns; an empty number is NaN, an empty text stays one."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in numbers:
        table[name] = pd.to_numeric(table[name].replace("", None)).astype(float)
    return table
