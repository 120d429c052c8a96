"""Read the values that a claim compares from the result tables: one for each seed and case.

Serves the verdicts. A measure names a table, a column or quantity, and which targets and cases count; a side of a
comparison says whose rows. Tables are those of one profile, `data/results/PROFILE`:

- `scores.csv`, `history.csv`: of trainings (`flare retrain`), and how long they were;
- `inference_scores.csv`, `inference_facts.csv`, `cases.csv`: of the same networks used in other ways (`flare ablate`),
  what that cost, and what the references say about the cases;
- `efficiency.csv`: a fresh process a scan (`flare efficiency`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES, TUMOR
from flare_core.evaluation.efficiency_table import measured_alike
from flare_core.evaluation.memory import MB
from flare_core.recipe import AS_PUBLISHED

if TYPE_CHECKING:
    from flare_core.evaluation.claim_list import Side

KIDNEYS = ("right_kidney", "left_kidney")
ADRENAL_GLANDS = ("right_adrenal_gland", "left_adrenal_gland")
SMALL_ORGANS = (*ADRENAL_GLANDS, "gallbladder")
RARELY_ANNOTATED = tuple(name for name in ORGAN_NAMES if name not in FIVE_ORGANS)
LARGE_ORGANS = tuple(name for name in ORGAN_NAMES if name not in SMALL_ORGANS)
KEPT_WHOLE = ("liver", *KIDNEYS, "spleen", "pancreas", "aorta")
MB_OF_A_SLICE = 512 * 512 * 3 / MB
"""Two bytes a voxel of the image, one of its label map."""


@dataclass(frozen=True)
class Measure:
    """What is read of a case.

    Attributes:
        table: `scores`, `facts` or `efficiency`.
        column: of scores or efficiency, or the quantity of facts.
        unit: `points` (fractions, shown times 100), `ml`, or "" where only ratios make sense.
        targets: whose values are averaged (of a stage's seconds: the stage); none: what is no target's.
        only: `with tumor`, `with low tumor`, `first errs` (cases), `present`, `at a tumor` or `away` (organs that are
            in the case): which rows count.
        is_timed: whether it exists only if it was measured on an idle machine (`flare ablate --timed`).
    """

    table: str
    column: str
    unit: str
    targets: tuple[str, ...] = ()
    only: str = ""
    is_timed: bool = False


MEASURES = {
    "organ DSC": Measure("scores", "dsc", "points", ORGAN_NAMES),
    "organ NSD": Measure("scores", "nsd", "points", ORGAN_NAMES),
    "tumor DSC": Measure("scores", "dsc", "points", (TUMOR.name,), "with tumor"),
    "tumor NSD": Measure("scores", "nsd", "points", (TUMOR.name,), "with tumor"),
    "DSC of rarely annotated organs": Measure("scores", "dsc", "points", RARELY_ANNOTATED),
    "DSC of paired organs": Measure("scores", "dsc", "points", (*KIDNEYS, *ADRENAL_GLANDS)),
    "DSC of organs kept whole": Measure("scores", "dsc", "points", KEPT_WHOLE),
    "DSC of small organs": Measure("scores", "dsc", "points", SMALL_ORGANS, "present"),
    "DSC of large organs": Measure("scores", "dsc", "points", LARGE_ORGANS, "present"),
    "DSC of organs at a tumor": Measure("scores", "dsc", "points", ORGAN_NAMES, "at a tumor"),
    "DSC of organs away from tumors": Measure("scores", "dsc", "points", ORGAN_NAMES, "away"),
    "change of DSC by splitting kidneys": Measure("facts", "split_dsc", "points", KIDNEYS[:1]),
    "change of DSC by splitting adrenal glands": Measure("facts", "split_dsc", "points", ADRENAL_GLANDS[:1]),
    "false tumor volume": Measure("facts", "false_tumor_ml", "ml"),
    "share of low tumor in the box": Measure("facts", "located_share", "points", (TUMOR.name,), "with low tumor"),
    "share of organs in the box": Measure("facts", "located_share", "points", ORGAN_NAMES, "with low tumor"),
    "organ DSC where the first network errs": Measure("scores", "dsc", "points", ORGAN_NAMES, "first errs"),
    "tumor DSC where the first network errs": Measure("scores", "dsc", "points", (TUMOR.name,), "first errs"),
    "voxels through networks": Measure("facts", "network_voxels", ""),
    "seconds of the student network": Measure("facts", "stage_s", "", ("student",), is_timed=True),
    "seconds of post-processing": Measure("facts", "postprocess_s", "", is_timed=True),
    "seconds of a prediction": Measure("facts", "seconds", "", is_timed=True),
    "seconds a case": Measure("efficiency", "seconds", ""),
    "share of start-up": Measure("efficiency", "share_of_start", "points"),
    "growth of the peak beyond the scan": Measure("efficiency", "growth", "points"),
}


class NotThere(LookupError):
    """Rows that a claim needs are missing or cannot be compared; the message says which."""


@dataclass(frozen=True, eq=False)
class Results:
    """The result tables of one profile.

    Attributes:
        folder: `data/results/PROFILE`.
    """

    folder: Path

    def values(self, side: Side) -> pd.Series:
        """Return the values of a side, indexed by seed and case.

        Raises:
            NotThere: if there is no row.
        """
        measure = MEASURES[side.measure]
        rows = self._rows(side, measure)
        if measure.targets:
            rows = rows[rows["target"].isin(measure.targets)]
        if measure.only:
            rows = self._only(rows, measure)
        values = rows.dropna(subset=["value"]).groupby(["seed", "case"])["value"].mean()
        if values.empty:
            raise NotThere(f"no rows of {side.rows} for {side.measure}")
        return values

    def steps(self, side: Side) -> tuple[int, ...]:
        """Return the optimizer steps behind a side: those of a fold of each stage, in the order in which it names them.

        Raises:
            NotThere: if a stage's training is not recorded or its folds differ in length.
        """
        named = self._history(side)
        lengths = named.groupby(["stage", "fold", "seed"])["step"].max().groupby("stage").agg(["min", "max"])
        if set(lengths.index) != set(side.stages) or (lengths["min"] != lengths["max"]).any():
            raise NotThere(f"no trainings of one length of {side.system} {side.variant}: {', '.join(side.stages)}")
        return tuple(int(lengths["max"][stage]) for stage in side.stages)

    def late_changes(self, side: Side) -> pd.DataFrame:
        """Return how far the networks behind a side still learned, a row each, columns loss and validation_dice.

        Both are changes in the last fifth of the steps: of the mean loss against the fifth before, as a share; of the
        Dice of the fold that was held out, from its last value before to its last of all (NaN if it is not recorded).
        """
        rows = []
        for _, curve in self._history(side).groupby(["stage", "fold", "seed"]):
            part = curve["step"] / curve["step"].max()
            late, before = curve[part > 0.8], curve[(part > 0.6) & (part <= 0.8)]
            dice = curve["validation_dice"].dropna()
            earlier = dice[part <= 0.8]
            gain = dice.iloc[-1] - earlier.iloc[-1] if len(earlier) else None
            rows.append({"loss": late["loss"].mean() / before["loss"].mean() - 1, "validation_dice": gain})
        return pd.DataFrame(rows, columns=["loss", "validation_dice"], dtype=float)

    def _history(self, side: Side) -> pd.DataFrame:
        """Return the curves of a side's stages.

        Raises:
            NotThere: if they have not been trained.
        """
        history = self._table("history")
        own = history[history["system"] == side.system]
        named = own[own["variant"] == side.variant]
        if named.empty and side.source == "inference":  # the method's own networks, used in another way
            named = own[own["variant"] == AS_PUBLISHED]
        if named.empty:
            raise NotThere(f"{side.system} {side.variant} has not been trained in {self.folder.name}")
        return named[named["stage"].isin(side.stages)]

    def processors(self, side: Side) -> tuple[str, ...]:
        """Return the processors behind a side's seconds; none of a measure that is not timed."""
        measure = MEASURES[side.measure]
        return tuple(sorted(set(self._rows(side, measure)["processor"]))) if measure.is_timed else ()

    def remarks(self, side: Side) -> list[str]:
        """Say what an interval of seconds or memory hides; nothing of other measures."""
        if MEASURES[side.measure].is_timed:
            return [f"one run a case on {' and '.join(self.processors(side))}"]
        if side.source != "efficiency":
            return []
        rows = self._efficiency(side, MEASURES["seconds a case"])
        said = [f"sizes are chosen, one run each on {rows['processor'].iloc[0]}"]
        if MEASURES[side.measure].column == "growth":
            ends = ", ".join(f"{r.peak_mb:.0f} MiB at {r.slices} slices" for r in (rows.iloc[0], rows.iloc[-1]))
            said.append(f"whole peaks: {ends}")
        return said

    def _rows(self, side: Side, measure: Measure) -> pd.DataFrame:
        """Return a side's rows with columns seed, case, target and value."""
        if measure.table == "efficiency":
            return self._efficiency(side, measure)
        name = {"scores": "inference_scores" if side.source == "inference" else "scores", "facts": "inference_facts"}
        table = self._table(name[measure.table])
        rows = table[(table["system"] == side.system) & (table["variant"] == side.variant)]
        if measure.table == "facts":
            return rows[rows["quantity"] == measure.column]
        return rows.assign(value=rows[measure.column])

    def _efficiency(self, side: Side, measure: Measure) -> pd.DataFrame:
        """Return a submission's scans, smallest first, with the measure as `value`."""
        table = measured_alike(self._table("efficiency"))
        rows = table[table["submission"] == side.system].sort_values("slices")
        beyond = rows["peak_mb"] - MB_OF_A_SLICE * rows["slices"]
        rows = rows.assign(share_of_start=rows["start_s"] / rows["seconds"], seed=0)
        if measure.column == "growth" and len(rows):
            rows = rows.assign(growth=beyond / beyond.iloc[0] - 1).iloc[1:]
        return rows.assign(value=rows.get(measure.column))

    def _only(self, rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
        """Return the rows that count; organs' scores at and away from tumors are what they differ from their means."""
        cases = self._table("cases")
        tumors = cases[(cases["target"] == TUMOR.name) & (cases["volume_ml"] > 0)]
        if measure.only == "with tumor":
            return rows[rows["case"].isin(tumors["case"])]
        if measure.only == "with low tumor":
            return rows[rows["case"].isin(tumors.loc[tumors["is_low"].astype(bool), "case"])]
        if measure.only == "first errs":
            counted = self._first_errs(rows["system"])
            if measure.targets == (TUMOR.name,):
                counted = counted.intersection(tumors["case"])
            return rows[rows["case"].isin(counted)]
        rows = rows.merge(cases[cases["volume_ml"] > 0], on=["case", "target"])
        if measure.only == "present":
            return rows
        rows["value"] -= rows.groupby(["seed", "target"])["value"].transform("mean")
        return rows[rows["touches_tumor"].astype(bool) == (measure.only == "at a tumor")]

    def _first_errs(self, systems: pd.Series) -> pd.Index:
        """Return the half of the cases in which the first network of an ensemble alone has the lower organ DSC."""
        scores = self._table("inference_scores")
        alone = scores[scores["system"].isin(systems) & (scores["variant"] == "one_model")]
        means = alone[alone["target"].isin(ORGAN_NAMES)].groupby("case")["dsc"].mean()
        return means.index[means < means.median()]

    def _table(self, name: str) -> pd.DataFrame:
        """Return a table, read once.

        Raises:
            NotThere: if there is no such file.
        """
        if name not in self._read:
            file = self.folder / f"{name}.csv"
            if not file.is_file():
                raise NotThere(f"no {file.name} at the profile {self.folder.name}")
            self._read[name] = pd.read_csv(file)
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, pd.DataFrame]:
        return {}
