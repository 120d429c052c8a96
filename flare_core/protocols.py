"""Lay the papers' training protocols beside the recipes: a hyper-parameter that is not as printed shows.

Serves the notebooks on training and on the papers' tables. What is printed comes from `data/published/protocols.csv`,
ours from the systems at profile `paper`; every difference names the departure that the system lists, or a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from flare_core.environment import environment
from flare_core.evaluation.published import protocols
from flare_core.recipe import Stage, System
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import begins_as_he, count_parameters

SCHEDULES = {"WarmupCosine": "cosine", "Poly": "poly"}
LOSSES = {"DiceFocal": "Dice + focal", "DiceCrossEntropy": "Dice + cross-entropy"}
RANDOM, HE, PRETRAINED = "random", "He normal", "pretrained"

OURS: dict[str, Callable[[Stage], Any]] = {
    "batch": lambda stage: stage.optimization.batch,
    "epochs": lambda stage: stage.optimization.epochs,
    "patch": lambda stage: getattr(stage.sampling, "patch", None) or stage.sampling.shape,
    "spacing": lambda stage: stage.preprocessing.spacing_mm,
    "optimizer": lambda stage: type(stage.optimization.optimizer).__name__,
    "learning_rate": lambda stage: stage.optimization.optimizer.learning_rate,
    "momentum": lambda stage: stage.optimization.optimizer.momentum,
    "weight_decay": lambda stage: stage.optimization.optimizer.weight_decay,
    "schedule": lambda stage: SCHEDULES[type(stage.optimization.schedule).__name__],
    "power": lambda stage: stage.optimization.schedule.power,
    "warmup_epochs": lambda stage: stage.optimization.schedule.warmup_epochs,
    "loss": lambda stage: LOSSES.get(name := type(stage.loss.loss).__name__, name),
    "initialization": lambda stage: PRETRAINED if stage.start else HE if begins_as_he(stage.network) else RANDOM,
}
"""Where a stage keeps what a paper prints; the number of weights, which needs its system, is `parameters`."""

DEPARTURES = {
    ("dkfz_bs8.batch8", "parameters"): "network",
    ("dkfz_bs4_8.batch4", "parameters"): "network",
    ("dkfz_bs4_8.batch8", "parameters"): "network",
    ("stmt.locator", "parameters"): "size of the networks",
    ("stmt.organs", "parameters"): "size of the networks",
    ("stmt.tumor_supervised", "parameters"): "size of the networks",
    ("stmt.tumor", "parameters"): "size of the networks",
    ("efficient_nnunet.teacher", "patch"): "patch of the teacher",
    ("efficient_nnunet.student", "learning_rate"): "learning rate of the student",
    ("efficient_nnunet.tumor", "learning_rate"): "learning rate of the student",
    ("efficient_nnunet.student", "parameters"): "size of the student",
    ("efficient_nnunet.tumor", "parameters"): "size of the student",
    ("swinx.finetuning", "batch"): "batch of the fine-tuning",
    ("swinx.finetuning", "parameters"): "weights",
}
"""Topic of the departure, listed by the system, behind the difference of a stage."""

REASONS = {
    ("efficient_nnunet.teacher", "parameters"): "31.12 M with nnU-Net's first kernel for this patch, flat along z; "
    "31.20 M with cubes throughout, which the paper may have counted",
}
"""Why a value differs where the system lists no departure."""

WRONG = "background-color: #d55e00; color: #ffffff; font-weight: bold"
"""A cell that differs: vermilion, which every kind of color vision tells from white."""

HERE = {
    "System": ("system",),
    "CPU": ("processor",),
    "RAM": ("memory",),
    "Programming language": ("Python",),
    "Deep learning framework": ("torch", "monai"),
}
"""The papers' settings that `environment.environment` knows of this machine."""


def protocol_differences() -> pd.DataFrame:
    """Compare every printed setting that a recipe has, too, with that recipe at profile `paper`.

    Returns:
        A row a setting and stage: `paper`, `system`, `stage`, `place` (in the paper), `setting` and `printed` (as
        printed), `key`, `published` and `ours` (the values as text; three numbers are along x, y, z; parameters in
        millions), `equal` (bool), `departure` (topic of the listed departure behind a difference, else empty) and
        `reason` (of the difference, else empty).
    """
    rows = []
    for line in protocols().itertuples():
        for recipe in line.recipe.split():
            name, stage = recipe.split(".")
            published = line.normalized or line.number
            ours = _ours(SYSTEMS[name], stage, line.key)
            row = {"paper": line.paper, "system": name, "stage": stage, "place": line.place, "setting": line.setting}
            row |= {"printed": line.printed, "key": line.key, "published": _text(published), "ours": _text(ours)}
            row["equal"] = _is_equal(published, ours, line.key, line.printed)
            rows.append(row | _explanation(row))
    return pd.DataFrame(rows)


def settings_beside(differences: pd.DataFrame) -> Styler:
    """Lay the settings of every training out: a row a stage, a column a setting, red where the paper prints another.

    Args:
        differences: from `protocol_differences`.
    Returns:
        Our values; a red one has the printed value behind it, and settings with most of them come first. Empty: the
        paper does not print the setting.
    """
    unequal = differences[~differences["equal"]].groupby(["system", "stage", "key"])["published"].agg(" or ".join)
    ours = differences.groupby(["system", "stage", "key"])["ours"].first()
    texts = (ours + ("  ≠ printed " + unequal).reindex(ours.index).fillna("")).unstack()
    texts = texts[[key for key in (*OURS, "parameters") if key in texts]].fillna("")
    red = texts.apply(lambda column: column.str.contains("≠").sum())
    texts = texts[red.sort_values(ascending=False, kind="stable").index]
    pairs = dict.fromkeys(zip(differences["system"], differences["stage"], strict=True))
    order = sorted(pairs, key=lambda pair: list(SYSTEMS).index(pair[0]))
    return texts.loc[order].style.map(lambda text: WRONG if "≠" in text else "")


def environments() -> pd.DataFrame:
    """Return on what the papers trained, a row a setting and a column a paper, and what this machine is."""
    printed = protocols()
    printed = printed[printed["kind"] == "environment"].replace({"setting": {"GPU": "GPU (number and type)"}})
    table = printed.pivot(index="setting", columns="paper", values="printed")
    table = table.loc[list(dict.fromkeys(printed["setting"])), list(dict.fromkeys(printed["paper"]))].fillna("")
    here = environment()
    return table.assign(here=[", ".join(here[fact] for fact in HERE.get(name, ())) for name in table.index])


def _ours(system: System, stage: str, key: str) -> Any:
    """Return a stage's value of a setting."""
    if key == "parameters":
        return round(count_parameters(system, stage) / 1e6, 3)
    if key not in OURS:
        raise ValueError(f"no setting {key!r} in the recipes; there are {', '.join(OURS)}, parameters")
    return OURS[key](system.stage(stage))


def _is_equal(published: Any, ours: Any, key: str, printed: str) -> bool:
    """Say whether two values are the same; numbers of weights to the printed digits, and He's weights are random."""
    if isinstance(ours, tuple):
        return tuple(map(float, published.split())) == tuple(map(float, ours))
    if key == "parameters":
        digits = printed.rstrip(" M")
        return round(ours, len(digits.partition(".")[2])) == float(digits)
    return published == ours or (published, ours) == (RANDOM, HE)


def _text(value: Any) -> str:
    """Return a value for people: no trailing zeros, triples with blanks."""
    if isinstance(value, tuple):
        return " ".join(f"{item:g}" for item in value)
    return value if isinstance(value, str) else f"{value:g}" if abs(value) < 1e5 else str(value)


def _explanation(row: dict) -> dict[str, str]:
    """Return the `departure` and the `reason` of a difference, both empty where there is none or none is known."""
    if row["equal"]:
        return {"departure": "", "reason": ""}
    place = (f"{row['system']}.{row['stage']}", row["key"])
    if reason := REASONS.get(place):
        return {"departure": "", "reason": reason}
    topic = DEPARTURES.get(place, "")
    found = [item for item in SYSTEMS[row["system"]].departures if item.topic == topic]
    return {"departure": topic, "reason": f"{found[0].ours}; other: {found[0].other}" if found else ""}
