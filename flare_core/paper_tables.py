"""Put our results beside every result table of the papers.

Serves `flare tables` and notebook 10. Which of our numbers belongs beside which printed cell is data
(`data/published/counterparts.csv`); where we have none, the cell says why.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES
from flare_core.efficiency_board import efficiency_board
from flare_core.evaluation.paper_layout import COSTS, POINTS, PROVENANCE, PaperTable
from flare_core.evaluation.published import TABLES, contradictions, counterparts, published_table
from flare_core.inference.submission import submission_hash
from flare_core.recipe import AS_PUBLISHED
from flare_core.scoreboard import CAME_ALONG, MADE_NOW, scoreboard
from flare_core.workspace import COHORTS, Workspace

NAN = float("nan")
PER_UNIT = {"%": 100.0, "s": 1.0, "min": 1 / 60}
"""Ours, in fractions and seconds, times this is in the printed unit."""
MEASURES = {"slices": "slices", "time": "seconds", "peak": "peak_mb", "area": "area_sum_mb_s"}
UNKNOWN = "not recorded"
OTHER_HARDWARE = (
    "time and memory: ours are of this profile's networks on the device that the provenance names, the printed ones of "
    "the published networks on a GPU"
)
NOT_MEANT = ("misprint", "implausible")
"""Flags of printed values that nothing of ours is compared with."""
FACTS = [name for name in PROVENANCE if name != "system"]


class NoCounterpart(Exception):
    """Why there is nothing of ours beside a printed cell."""


@dataclass(frozen=True, eq=False)
class OurResults:
    """What of ours there is at a profile.

    Attributes:
        work: profile and data.
        scores: rows (case, target, dsc, nsd, system, variant, seed, recorded, made).
        efficiency: the rows of the efficiency board that are compared.
        folds: rows of `cross_validation.csv`, with `made`.
        subsets: number of annotated targets to how many training cases have so many.
    """

    work: Workspace
    scores: pd.DataFrame
    efficiency: pd.DataFrame
    folds: pd.DataFrame
    subsets: dict[int, int]


def our_results(work: Workspace) -> OurResults:
    """Gather what was made now and what came along; nothing of a kind gives an empty table."""
    dataset = work.annotated_dataset()
    subsets = pd.Series([len(entry.annotated or ()) for entry in dataset.training]).value_counts().to_dict()
    folds = _read(work, "cross_validation").assign(made=CAME_ALONG)
    return OurResults(work, _scores(work), efficiency_board(work).shown, folds, subsets)


def _read(work: Workspace, name: str) -> pd.DataFrame:
    """Return a committed result table as it is, every seed of it."""
    file = work.results / f"{name}.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame()
    needed = ("system", "variant", "stage", "seed", "device", "submission", "recorded")
    return table.reindex(columns=list(dict.fromkeys([*table, *needed])))


def _scores(work: Workspace) -> pd.DataFrame:
    """Return the committed scores, those of systems that are predicted here and now replaced by what they score now."""
    kept = _read(work, "scores").assign(made=CAME_ALONG)
    try:
        board = scoreboard(work.profile, work.data, work.root)
    except FileNotFoundError:
        return kept
    now = set(board.summary.loc[board.summary["made"] == MADE_NOW, "system"])
    fresh = [board.scores[board.scores["system"] == system].assign(**_made_by(work, system)) for system in sorted(now)]
    parts = [kept[~(kept["system"].isin(now) & (kept["variant"] == AS_PUBLISHED))], *fresh]
    return pd.concat([part for part in parts if len(part)] or [kept], ignore_index=True)


def _made_by(work: Workspace, system: str) -> dict[str, Any]:
    """Return what is known of the submission that predicted here."""
    folder = Workspace(system, work.profile, work.data, work.root).submission
    seed = json.loads((folder / "submission.json").read_text()).get("run_seed")
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    made = {"variant": AS_PUBLISHED, "seed": seed, "device": NAN, "recorded": when, "made": MADE_NOW}
    return made | {"submission": submission_hash(folder)[:12]}


def paper_tables(work: Workspace) -> list[PaperTable]:
    """Return all result tables of the papers, in their order, with ours at the workspace's profile beside them."""
    results = our_results(work)
    return [paper_table(results, paper, number) for paper, numbers in TABLES.items() for number in numbers]


def export_tables(tables: Iterable[PaperTable], folder: Path) -> list[Path]:
    """Write tables as CSV, Markdown and LaTeX into a folder, each file whole or not at all; return the files."""
    return [file for table in tables for file in table.export(folder)]


def paper_table(results: OurResults, paper: str, number: int) -> PaperTable:
    """Return one table of a paper with ours beside it.

    Args:
        results: from `our_results`.
        paper, number: as for `published_table`.
    """
    cells = published_table(paper, number)
    lines = counterparts()
    lines = lines[(lines["paper"] == paper) & (lines["table"] == str(number))]
    repeats = cells.groupby("column", sort=False)[["printed", "label"]].apply(
        lambda c: (c["printed"] == c["label"]).all()
    )
    counts = cells[cells["metric"].isin(["classes", "slices"])].set_index("label")["mean"]
    counted = cells.assign(number=cells["label"].map(counts))  # which subset, or which scan, a row is about
    told = [_line_of(cell, lines) for cell in counted.itertuples()]
    counted["system"] = [line.system or own for line, own in zip(told, counted["system"], strict=True)]
    ours = [_ours(cell, line, results) for cell, line in zip(counted.itertuples(), told, strict=True)]
    cells = counted.join(pd.DataFrame(ours))[~cells["column"].map(repeats)]
    unlike = dict.fromkeys(line.reason for line in told if line.source and line.reason)
    doubts = (*_doubts(paper, number), *unlike, *((OTHER_HARDWARE,) if cells["metric"].isin(COSTS).any() else ()))
    title = f"{paper}, table {number}: {cells['caption'].iloc[0]}"
    return PaperTable(title, warning(results.work), cells, doubts)


def _line_of(cell: Any, lines: pd.DataFrame) -> Any:
    """Return the first line of the counterparts that speaks of a cell.

    Raises:
        ValueError: if none does.
    """
    for line in lines.itertuples():
        if all(getattr(line, name) in ("", getattr(cell, name)) for name in ("label", "group", "column")):
            return line
    raise ValueError(f"counterparts.csv says nothing of {cell.paper}, table {cell.table}: {cell.label}, {cell.column}")


def _ours(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return our columns of a printed cell (`PaperTable.cells`)."""
    row = {"ours": NAN, "ours_spread": NAN, "difference": NAN, "empty": "", "cases_ours": 0, **dict.fromkeys(FACTS, "")}
    try:
        if not line.source:
            raise NoCounterpart(line.reason)
        row |= SOURCES[line.source](cell, line, results)
    except NoCounterpart as reason:
        return row | {"empty": str(reason)}
    scale = PER_UNIT.get(cell.unit, 1.0)
    row["ours"], row["ours_spread"] = scale * row["ours"], scale * row["ours_spread"]
    is_meant = cell.flag not in NOT_MEANT
    if is_meant and cell.metric in POINTS:
        row["difference"] = row["ours"] - cell.mean
    elif is_meant and cell.metric in COSTS:
        row["difference"] = row["ours"] / cell.mean
    return row | {"source": line.source, "profile": results.work.profile}


def _from_scores(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return the mean over the validation cases, seeds averaged first."""
    return _mean(_rows(results.scores, cell, line, results.work), cell, line)


def _from_folds(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return the mean over the cases that a fold held out, or the mean of these over the folds."""
    rows = _rows(results.folds, cell, line, results.work)
    rows = rows[rows["stage"] == line.stage]
    if line.fold:
        trained = ", ".join(map(str, sorted(rows["fold"].unique())))
        rows = rows[rows["fold"] == int(line.fold)]
        if rows.empty:
            raise NoCounterpart(f"this fold is not trained at the profile {results.work.profile} (folds {trained} are)")
        return _mean(rows, cell, line)
    means = rows.groupby(["target", "fold"])[cell.metric].mean().groupby("target").mean()
    spreads = {"targets": means.std(ddof=0)}
    if line.spread == "folds":  # as printed: of the population
        spreads["folds"] = rows.groupby(["target", "fold"])[cell.metric].mean().groupby("target").std(ddof=0).iloc[0]
    return {"ours": means.mean(), "ours_spread": spreads[line.spread]} | _provenance(rows)


def _rows(table: pd.DataFrame, cell: Any, line: Any, work: Workspace) -> pd.DataFrame:
    """Return the rows of a cell's system and targets."""
    rows = table[(table["system"] == cell.system) & (table["variant"] == line.variant)]
    if rows.empty:
        raise NoCounterpart(_how_to_make(line, cell.system, work.profile))
    names = {"": TARGET_NAMES, "organs": ORGAN_NAMES}.get(cell.target, (cell.target,))
    rows = rows[rows["target"].isin(names)]
    missing = [name for name in names if name not in set(rows["target"])]
    if missing:
        raise NoCounterpart(f"{cell.system} has no score of {', '.join(missing)}")
    return rows


def _how_to_make(line: Any, system: str, profile: str) -> str:
    """Say that a run is missing, and the command that makes it."""
    if line.source == "cross_validation":
        return f"no fold is scored at the profile {profile}: flare cross-validate {system} --profile {profile}"
    ablations = "" if line.variant == AS_PUBLISHED else f" --ablations {line.variant}"
    what = f"{system}, {line.variant}" if ablations else system
    return f"{what}: not trained at the profile {profile}; flare retrain {system}{ablations} --profile {profile}"


def _mean(rows: pd.DataFrame, cell: Any, line: Any) -> dict[str, Any]:
    """Return the mean of the targets' means with the spread that the paper gives (none if it prints none)."""
    by_case = rows.groupby(["case", "target"])[cell.metric].mean().unstack()
    means = by_case.mean()
    spreads = {
        "cases": by_case.mean(axis=1).std(),
        "rows": by_case.std().mean(),
        "targets": means.std(ddof=0),
    }
    spread = NAN if pd.isna(cell.spread) else spreads[line.spread]
    return {"ours": means.mean(), "ours_spread": spread} | _provenance(rows)


def _from_efficiency(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return what the scan of the same number of slices needed."""
    rows = results.efficiency[results.efficiency["submission"] == cell.system]
    return _costs(rows[rows["slices"] == cell.number], cell, f"{cell.number:.0f} slices", results.work)


def _mean_time(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return the mean over all measured sizes."""
    rows = results.efficiency[results.efficiency["submission"] == cell.system]
    return _costs(rows, cell, "any size", results.work)


def _costs(rows: pd.DataFrame, cell: Any, size: str, work: Workspace) -> dict[str, Any]:
    """Return the mean of measured rows."""
    if rows.empty:
        raise NoCounterpart(f"not measured at the profile {work.profile}: {cell.system}, {size}")
    measured = rows.rename(columns={"measured": "recorded"}).assign(variant=AS_PUBLISHED, seed=NAN)
    measured["device"] = rows["processor"] + "; memory of the " + rows["memory"]
    measured["submission"] = rows["submission_sha256"]
    return {"ours": rows[MEASURES[cell.metric]].mean()} | _provenance(measured)


def _from_cohort(cell: Any, line: Any, results: OurResults) -> dict[str, Any]:
    """Return how many training cases have as many annotated targets as the row's (unlabeled: none)."""
    count = results.subsets.get(0 if pd.isna(cell.number) else int(cell.number), 0)
    return {"ours": count, "cases_ours": count, "recorded": time.strftime("%Y-%m-%d"), "made": MADE_NOW}


SOURCES: dict[str, Callable[[Any, Any, OurResults], dict[str, Any]]] = {
    "scores": _from_scores,
    "cross_validation": _from_folds,
    "efficiency": _from_efficiency,
    "mean_time": _mean_time,
    "cohort": _from_cohort,
}
"""What the counterparts call our tables."""


def _provenance(rows: pd.DataFrame) -> dict[str, str]:
    """Return what the rows behind a value say of their making."""
    seeds = sorted({f"{seed:.0f}" for seed in rows["seed"].dropna()})
    days = sorted({str(day)[:10] for day in rows["recorded"].dropna()})
    return {
        "variant": rows["variant"].iloc[0],
        "seeds": ", ".join(seeds),
        "cases_ours": rows["case"].nunique(),
        "submission": "; ".join(dict.fromkeys(rows["submission"].dropna().astype(str))),
        "device": "; ".join(dict.fromkeys(rows["device"].dropna())),
        "recorded": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else UNKNOWN,
        "made": ", ".join(dict.fromkeys(rows["made"])),
    }


def warning(work: Workspace) -> str:
    """Say in a sentence what our numbers in a table are, and what they are not."""
    if work.profile in COHORTS and not work.data:
        return (
            f"Our values (profile {work.profile}) come from small networks on a synthetic cohort: computed images, no "
            "patient. They are not results on FLARE's data and never comparable with the printed ones as such."
        )
    return f"Our values (profile {work.profile}) come from {work.dataset().name}, not from the challenge's own cases."


def _doubts(paper: str, number: int) -> tuple[str, ...]:
    """Return what is known to be wrong with a table as a whole, or to disagree with it elsewhere."""
    lines = []
    for line in contradictions().itertuples():
        places = f"{line.place}; {line.other_place}"
        numbers = {int(n) for part in re.findall(r"\btables? ([\d, and]+)", places) for n in re.findall(r"\d+", part)}
        if line.paper == paper and number in numbers:
            reason = f": {line.reason}" if line.reason else ""
            lines.append(f"{line.flag}, {line.place}: {line.printed}; {line.other_place}: {line.other_printed}{reason}")
    return tuple(lines)
