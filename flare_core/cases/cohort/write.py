"""Write a cohort as a dataset folder in FLARE23's proportions, with the complete truth beside the partial labels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from multiprocessing import get_context
from pathlib import Path

from flare_core.cases.cohort.annotation import GROUP_SIZES, largest_remainder, tumor_share
from flare_core.cases.cohort.generate import PROFILES, generate_case
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import write_image, write_labels
from flare_core.storage import write_file

MAX_SLICES = 2000

FOLDERS = ("imagesTr", "labelsTr", "labelsTrTrue", "imagesVal", "labelsVal")


@dataclass(frozen=True)
class Plan:
    """One case to write.

    Attributes:
        id: its name.
        seed: what it grows from.
        group: annotation group, or "validation".
        with_tumor_labels: whether its tumors are annotated.
    """

    id: str
    seed: int
    group: str
    with_tumor_labels: bool


def plan_cohort(cases: int, validation: int, seed: int) -> list[Plan]:
    """List the cases of a cohort.

    The j-th case of a group grows from the cohort's seed, its group and j alone, so a larger cohort begins with the
    smaller one's cases. Tumors are annotated in 1497 of 2200 labeled cases (within one): all of tumor_only, the rest
    spread evenly over organs13 and organs5.

    Args:
        cases, validation: numbers of training and validation cases, >= 0.
        seed: >= 0.
    Raises:
        ValueError: for a negative number.
    """
    if min(cases, validation, seed) < 0:
        raise ValueError(f"expected numbers of cases and a seed >= 0, got {cases}, {validation}, {seed}")
    sizes = dict(zip(GROUP_SIZES, largest_remainder(cases, list(GROUP_SIZES.values())), strict=True))
    plans = []
    for number, (group, size) in enumerate([*sizes.items(), ("validation", validation)]):
        share = tumor_share(group)
        for j in range(size):
            is_marked = floor((j + 1) * share + 0.5) > floor(j * share + 0.5)
            plans.append(Plan(f"{group}_{j + 1:05d}", (seed * 10 + number) * 100_000 + j, group, is_marked))
    return plans


def write_case(plan: Plan, out: Path, profile: str) -> tuple[str, list[str], dict]:
    """Generate and write one case; return its id, its annotated targets and its traits."""
    case = generate_case(plan.seed, plan.group, profile, with_tumor_labels=plan.with_tumor_labels)
    part = "Val" if plan.group == "validation" else "Tr"
    write_image(out / f"images{part}" / f"{plan.id}_0000.nii.gz", case.image_hu, case.geometry)
    if plan.group != "unlabeled":
        write_labels(out / f"labels{part}" / f"{plan.id}.nii.gz", case.annotation, case.geometry)
    if plan.group != "validation":
        write_labels(out / "labelsTrTrue" / f"{plan.id}.nii.gz", case.truth, case.geometry)
    annotated = [target.name for target in TARGETS if target.name in case.annotated]
    return plan.id, annotated, case.traits


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes started meanwhile compute with one thread each: on two busy cores twice as fast."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def write_cohort(
    out: Path,
    cases: int,
    validation: int = 0,
    seed: int = 0,
    profile: str = "mini",
    *,
    workers: int = 1,
    slices: int | None = None,
) -> Path:
    """Write a synthetic cohort as a dataset folder; equal arguments give equal bytes, whatever the number of workers.

    Args:
        out: folder, made if missing; one that holds the same cohort is written again.
        cases: training cases, shared out 250 : 1062 : 888 : 1800 by largest remainder.
        validation: validation cases, completely annotated.
        seed: >= 0.
        profile: a key of `generate.PROFILES`.
        workers: processes.
        slices: of every case, however thick they get; None: the profile's.
    Returns:
        `out`.
    Raises:
        ValueError: for a negative number or an unknown profile, or if `out` holds anything else.
        OSError: if the folder cannot be written.
    """
    if profile not in PROFILES:
        raise ValueError(f"expected a profile of {list(PROFILES)}, got {profile!r}")
    if slices is not None and not 1 <= slices <= MAX_SLICES:
        raise ValueError(f"expected 1 to {MAX_SLICES} slices, got {slices}")
    size = PROFILES[profile] if slices is None else replace(PROFILES[profile], slices=slices)
    out = Path(out)
    plans = plan_cohort(cases, validation, seed)
    made_by = {"cases": cases, "validation": validation, "seed": seed, "profile": profile}
    made_by |= {} if slices is None else {"slices": slices}
    _check_folder(out, made_by)
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    work = partial(write_case, out=out, profile=size)
    if workers > 1:
        with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(work, plans))
    else:
        rows = [work(plan) for plan in plans]
    index = {
        "name": "FLARE23-like synthetic cohort",
        "made_by": made_by,
        "labels": {"background": 0, **{target.name: target.id for target in TARGETS}},
        "annotated": {name: annotated for name, annotated, _ in rows},
        "group": {plan.id: plan.group for plan in plans},
        "traits": {name: traits for name, _, traits in rows},
    }
    (out / "dataset.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return out


def _check_folder(out: Path, made_by: dict[str, object]) -> None:
    """Refuse a folder in which files of two cohorts would lie side by side; note what is going to be written."""
    note = out / ".made_by.json"
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == made_by:
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds another cohort or other files; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_file(note, json.dumps(made_by) + "\n")
