"""Lay a published table out as it is printed, with our value under each of its values.

Last step of the data flow. A `PaperTable` holds one row a printed cell, ours beside it; a notebook shows it, and it is
exported as CSV, Markdown and LaTeX, all from the same layout. What the papers misprint, and why a cell of ours is
empty, stands in notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from flare_core.evaluation.latex import latex_row, latex_table, latex_text
from flare_core.evaluation.style import diverging_color
from flare_core.evaluation.tables import write_csv
from flare_core.storage import write_file

PAPER, OURS = "paper", "ours"
POINTS, COSTS = ("dsc", "nsd"), ("time", "peak", "area")
FULL_COLOR = {**dict.fromkeys(POINTS, 20.0), **dict.fromkeys(COSTS, 3.0)}
"""Difference at which a color is full: points of percent; a cost eight times as high or low (2 to the power of 3)."""
LEAST_DIGITS = {"min": 2, "s": 1}
EMPTY = "–"
LEGEND = (
    "Color of our value: purple where it is better than the printed one, orange where it is worse; full at 20 points, "
    "or at an eighth or eight times the cost. In brackets: the difference in points, or the factor. What is a "
    "misprint or implausible (notes) is not compared."
)
PROVENANCE = ("source", "system", "variant", "seeds", "submission", "profile", "device", "recorded", "made")
"""Facts about a value of ours (submission: its hash); beside them `cases_ours`, how many cases it is of."""

Render = Callable[[str, str], str]
"""Turns text and the marks behind it (letters, or nothing) into one format."""


@dataclass(frozen=True, eq=False, repr=False)
class PaperTable:
    """A published table beside ours.

    Attributes:
        title: paper, number and gist.
        warning: what our numbers are, in plain words.
        cells: a row a printed cell (but for a column that repeats the names of the rows): the columns of
            `published.published_table`, and of ours `ours` and `ours_spread` (in the printed unit; NaN where there is
            none), `difference` (points of percent, better is above 0; of costs the factor; NaN, too, where the printed
            value cannot be meant), `empty` (why there is no value), `cases_ours`, and `PROVENANCE`.
        doubts: lines about the table as a whole that no single cell shows.
    """

    title: str
    warning: str
    cells: pd.DataFrame
    doubts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return its title."""
        return self.title

    @property
    def name(self) -> str:
        """`stmt_table4`: of the exported files."""
        first = self.cells.iloc[0]
        return f"{first.paper}_table{first.table}"

    @property
    def notes(self) -> dict[str, str]:
        """Reason to its letter, in the order of print: doubts about printed values, then why ours are missing."""
        doubts = [f"{row.flag}: {row.reason}" for row in self.cells.itertuples() if row.flag]
        reasons = [*doubts, *filter(None, self.cells["empty"])]
        return {reason: _letter(place) for place, reason in enumerate(dict.fromkeys(reasons))}

    def layout(self, render: Render = lambda text, marks: text + marks) -> pd.DataFrame:
        """Return the table as printed, two lines a row: the paper's and ours.

        Args:
            render: makes text and marks into what stands in a cell.
        Returns:
            Texts, indexed by (label, `paper` or `ours`), columns (group, column), or the column alone where nothing is
            grouped; empty where the paper prints no cell.
        """
        notes = self.notes
        lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
        for row in self.cells.itertuples():
            label, place = render(row.label, ""), (render(row.group, ""), render(row.column, ""))
            doubt = notes[f"{row.flag}: {row.reason}"] if row.flag else ""
            lines.setdefault((label, PAPER), {})[place] = render(row.printed or EMPTY, doubt)
            lines.setdefault((label, OURS), {})[place] = render(our_text(row), notes.get(row.empty, ""))
        places = dict.fromkeys(place for line in lines.values() for place in line)
        columns = pd.MultiIndex.from_tuples(places, names=["", ""])
        if not any(group for group, _ in places):
            columns = columns.droplevel(0)
        index = pd.MultiIndex.from_tuples(lines, names=[self.cells["label_kind"].iloc[0], ""])
        return pd.DataFrame([[line.get(place, "") for place in places] for line in lines.values()], index, columns)

    def colors(self) -> pd.DataFrame:
        """Return the background of each cell of the layout as `#rrggbb`; empty where there is nothing to compare."""
        layout = self.layout(lambda text, marks: text)
        colors = layout.copy()
        colors.loc[:, :] = ""
        for row in self.cells[self.cells["difference"].notna()].itertuples():
            merit = -math.log2(row.difference) if row.metric in COSTS else row.difference
            place = (row.group, row.column) if colors.columns.nlevels > 1 else row.column
            colors.loc[(row.label, OURS), place] = diverging_color(merit / FULL_COLOR[row.metric])
        return colors

    def provenance(self) -> pd.DataFrame:
        """Return where our values come from: a row a run, with the cells that it fills and the cases behind each."""
        filled = self.cells[self.cells["ours"].notna()]
        runs = filled.groupby(list(PROVENANCE), sort=False)["cases_ours"].agg(["size", "min", "max"]).reset_index()
        runs["cases"] = [
            f"{low}" if low == high else f"{low} to {high}" for low, high in zip(runs["min"], runs["max"], strict=True)
        ]
        return runs.rename(columns={"size": "cells"}).drop(columns=["min", "max"])

    @property
    def origins(self) -> list[str]:
        """The provenance in sentences, for formats without a second table."""
        return [
            f"{run.cells} values of ours: {run.source}, {run.system} {run.variant}, profile {run.profile}, "
            f"seeds {run.seeds or 'none'}, cases {run.cases}, submission {run.submission or 'none'}, "
            f"{run.device or 'no device'}; {run.recorded}, {run.made}"
            for run in self.provenance().itertuples()
        ]

    def _repr_html_(self) -> str:
        """Return it for a notebook: head, table, notes, provenance."""
        table = self.layout(lambda text, marks: escape(text) + (f"<sup>{marks}</sup>" if marks else ""))
        colors = self.colors().to_numpy()
        styler = table.style.apply(lambda _: pd.DataFrame(_css(colors), table.index, table.columns), axis=None)
        notes = "".join(f"<li>{letter}: {escape(reason)}</li>" for reason, letter in self.notes.items())
        doubts = "".join(f"<li>{escape(line)}</li>" for line in self.doubts)
        made_from = self.provenance().style.hide(axis="index").to_html() if self.cells["ours"].notna().any() else ""
        legend = f"<p><small>{escape(LEGEND)}</small></p>" if colors.any() else ""
        return (
            f"<h4>{escape(self.title)}</h4><p><b>{escape(self.warning)}</b></p>{styler.to_html()}{legend}"
            f"<small><ul style='list-style: none'>{notes}{doubts}</ul></small>{made_from}"
        )

    def to_markdown(self) -> str:
        """Return it as Markdown that GitHub shows."""
        table = self.layout(lambda text, marks: _markdown(text) + (f"<sup>{marks}</sup>" if marks else ""))
        heads = [head if isinstance(head, str) else " ".join(filter(None, head)) for head in table.columns]
        rows = [[*index, *row] for index, row in zip(table.index, table.to_numpy(), strict=True)]
        lines = [["", "", *heads], ["---"] * (len(heads) + 2), *rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "".join(f"- {letter}: {_markdown(reason)}\n" for reason, letter in self.notes.items())
        notes += "".join(f"- {_markdown(line)}\n" for line in [*self.doubts, *self.origins])
        return f"### {_markdown(self.title)}\n\n**{_markdown(self.warning)}**\n\n{body}\n\n{notes}"

    def to_latex(self) -> str:
        r"""Return it as a LaTeX table; the document needs `\usepackage{booktabs}` and `\usepackage[table]{xcolor}`."""
        table = self.layout(lambda text, marks: latex_text(text) + (rf"\textsuperscript{{{marks}}}" if marks else ""))
        colors = self.colors().to_numpy()
        rows = []
        for number, (label, who) in enumerate(table.index):
            cells = [
                rf"\cellcolor[HTML]{{{color[1:].upper()}}}{text}" if color else text
                for text, color in zip(table.iloc[number], colors[number], strict=True)
            ]
            rows.append(latex_row([label if who == PAPER else "", who, *cells]))
        notes = [rf"\textsuperscript{{{letter}}} {latex_text(reason)}" for reason, letter in self.notes.items()]
        notes += [latex_text(line) for line in [*self.doubts, *self.origins]]
        widest = max(map(len, table.index.get_level_values(0)))
        caption = f"{latex_text(self.title)}. \\textbf{{{latex_text(self.warning)}}}"
        heads = [("", head) if isinstance(head, str) else head for head in table.columns]
        return latex_table(caption, [("", ""), ("", ""), *heads], rows, notes, has_long_labels=widest > 40)

    def export(self, folder: Path) -> tuple[Path, ...]:
        """Write `NAME.csv` (a row a cell, with provenance), `NAME.md` and `NAME.tex`, each whole or not at all."""
        files = [Path(folder) / f"{self.name}.{ending}" for ending in ("csv", "md", "tex")]
        write_csv(self.cells.assign(warning=self.warning), files[0])
        write_file(files[1], self.to_markdown())
        write_file(files[2], self.to_latex())
        return tuple(files)


def our_text(row) -> str:
    """Return our value of a cell as the paper would print it, with the difference behind it; a dash for none."""
    if math.isnan(row.ours):
        return EMPTY
    if row.metric == "slices":
        return f"(512, 512, {row.ours:.0f})"
    printed = re.search(r"\d+(?:\.(\d+))?", row.printed)
    digits = min(len(printed[1] or ""), 2) if printed else 1
    digits = max(digits, LEAST_DIGITS.get(row.unit, 0))
    text = f"{row.ours:.{digits}f}" + ("" if math.isnan(row.ours_spread) else f" ± {row.ours_spread:.{digits}f}")
    if row.metric == "time" and not row.column.endswith(f"({row.unit})"):
        text += f" {row.unit}"
    if math.isnan(row.difference):
        return text
    difference = f"×{row.difference:.2g}" if row.metric in COSTS else f"{row.difference:+.{digits}f}".replace("-", "−")
    return f"{text} ({difference})"


def _letter(place: int) -> str:
    """Return a, b, ... z, aa, ab, ..."""
    first, last = divmod(place, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def _markdown(text: str) -> str:
    """Return text without what Markdown would take for its own."""
    return re.sub(r"([\\|*_<>])", r"\\\1", text)


def _css(colors) -> list[list[str]]:
    """Return CSS for a grid of colors."""
    return [[f"background-color: {color}; color: #000000" if color else "" for color in row] for row in colors]
