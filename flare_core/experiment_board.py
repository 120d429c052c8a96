"""Show the experiments behind the claims: what each changes, how the compared trainings learned, what came out.

Serves notebook 09. Reads the systems' values and the committed result tables; `flare ablate` and `flare retrain` write
those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from flare_core.cases.labels import ORGAN_NAMES, TUMOR
from flare_core.evaluation.claim_list import Claim
from flare_core.recipe import AS_PUBLISHED, System, variant_title
from flare_core.scoreboard import existing
from flare_core.systems import SYSTEMS

NEEDS = {True: "a training", False: "the same networks"}
LONGEST = 40
"""Characters of a new value that the table of experiments shows."""


def experiment_table(systems: Mapping[str, System] = SYSTEMS) -> pd.DataFrame:
    """Return every ablation of every system: a row for each value that it replaces.

    Returns:
        Columns `system`, `experiment`, `needs` (a training, or the same networks), `why` and `change` (the path from
        the system, as in `recipe.replaced`, and the new value, its beginning where it is long).
    """
    rows = [
        (key, name, NEEDS[system.trains(name)], o.reason, f"{o.where} = {_brief(o.value)}")
        for key, system in systems.items()
        for name, overrides in system.ablations.items()
        for o in overrides
    ]
    return pd.DataFrame(rows, columns=["system", "experiment", "needs", "why", "change"])


def _brief(value: object) -> str:
    """Return a value in one line of a table."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def inference_results(results: Path) -> pd.DataFrame:
    """Return what using the same networks in other ways did, a row an experiment.

    Args:
        results: folder of a profile's tables (`flare ablate` writes them).
    Returns:
        Columns `system`, `experiment` (`the method` among them), `organ DSC`, `tumor DSC` (cases that have one; both
        NaN where not segmented) and `voxels` through networks, as multiples of the method's own; empty if there
        are no tables.
    """
    columns = ["system", "experiment", "organ DSC", "tumor DSC", "voxels"]
    if not (results / "inference_scores.csv").is_file():
        return pd.DataFrame(columns=columns)
    scores, facts, cases = (pd.read_csv(results / f"{n}.csv") for n in ("inference_scores", "inference_facts", "cases"))
    with_tumor = cases.loc[(cases["target"] == TUMOR.name) & (cases["volume_ml"] > 0), "case"]
    keys = ["system", "variant"]
    scores = existing(scores)
    organs = scores[scores["target"].isin(ORGAN_NAMES)].groupby(keys, sort=False)["dsc"].mean()
    tumors = scores[(scores["target"] == TUMOR.name) & scores["case"].isin(with_tumor)].groupby(keys)["dsc"].mean()
    voxels = facts[facts["quantity"] == "network_voxels"].groupby(keys)["value"].mean()
    own = voxels.xs(AS_PUBLISHED, level="variant")
    table = pd.DataFrame({"organ DSC": organs, "tumor DSC": tumors, "voxels": voxels.div(own, level="system")})
    table = table.reindex(organs.index).reset_index()
    for row, experiment in enumerate(SYSTEMS[r.system].ablated(r.variant) for r in table.itertuples()):
        seen = {"organ DSC": experiment.segments_organs, "tumor DSC": experiment.segments_tumors}
        table.loc[row, [column for column, is_seen in seen.items() if not is_seen]] = float("nan")
    table["variant"] = table["variant"].replace(AS_PUBLISHED, variant_title(AS_PUBLISHED))
    return table.rename(columns={"variant": "experiment"})[columns]


def compared_trainings(results: Path, system: str, claims: Iterable[Claim]) -> dict[str, pd.DataFrame]:
    """Return the learning curves of the trainings of a system that the claims compare.

    Args:
        results: folder of a profile's tables.
        system: key.
        claims: which.
    Returns:
        `EXPERIMENT: stage` to its history (first seed and fold, columns as `learning_curves` takes them); none if no
        ablation of the system was trained.
    """
    file, recipe = results / "history.csv", SYSTEMS[system]
    if not file.is_file():
        return {}
    history = pd.read_csv(file).rename(columns={"learning_rate": "lr"})
    history = history[history["system"] == system]
    sides = [side for claim in claims for test in claim.tests for side in test.sides if side.stages]
    curves = {}
    for side in sides:
        is_own = side.system == system and not recipe.trains(side.variant)
        rows = history[history["variant"] == (AS_PUBLISHED if is_own else side.variant)]
        rows = rows[rows["stage"] == side.stages[-1]]
        if side.system == system and len(rows):
            first = rows[(rows["seed"] == rows["seed"].min()) & (rows["fold"] == rows["fold"].min())]
            curves[f"{'the method' if is_own else side.variant}: {side.stages[-1]}"] = first
    return curves if any(not name.startswith("the method") for name in curves) else {}
