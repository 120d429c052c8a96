"""Say who teaches what: a system's stages, what an unmarked target counts as, and how good filled labels are.

Serves notebooks 04 and 05, for systems that fill missing labels and for those that take labels as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from flare_core.cases.dataset import Entry
from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES, TUMOR
from flare_core.cases.nifti import Volume, read_labels
from flare_core.evaluation.metrics import dsc
from flare_core.evaluation.slices import CaseView
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.recipe import AS_PUBLISHED, Stage, System
from flare_core.training.pseudo_labels import write_pseudo_labels
from flare_core.training.selection import PseudoLabels, taught_channels
from flare_core.walkthrough import main_stage
from flare_core.workspace import Workspace

DRAWN, FILLED, ABSENT, LEFT_OUT, UNASKED = ORIGINS = (
    "annotated",
    "filled by the teacher",
    "counts as absent",
    "left out of the loss",
    "not asked of this network",
)
AS_ANNOTATED, AFTER_FILLING = "as annotated", "after filling"


def stage_table(system: System, entries: Sequence[Entry]) -> pd.DataFrame:
    """Return a row a stage: what it is for, its number of cases and networks, who fills its labels, where it starts."""
    rows = [
        {
            "stage": stage.name,
            "purpose": stage.purpose,
            "cases": len(stage.cases(entries)),
            "networks": len(stage.trained_folds),
            "labels filled by": teacher_of(stage) or "nobody",
            "starts from": stage.start or "random weights",
        }
        for stage in system.stages
    ]
    return pd.DataFrame(rows).set_index("stage")


def teacher_of(stage: Stage) -> str:
    """Return the name of the stage that fills another one's labels; "" if it takes them as they are."""
    return stage.labels.teacher if isinstance(stage.labels, PseudoLabels) else ""


def taught_stage(system: System, entries: Sequence[Entry]) -> Stage:
    """Return the stage whose labels tell most: of those with a teacher that with most cases, then most channels.

    A system in which nobody fills labels gives its main stage.
    """
    filled = [stage for stage in system.stages if teacher_of(stage)]
    if not filled:
        return main_stage(system)
    return max(filled, key=lambda stage: (len(stage.cases(entries)), stage.scheme.channels))


def label_origins(stage: Stage, entries: Sequence[Entry]) -> pd.DataFrame:
    """Say for every target and every kind of case what its label is to a stage.

    Args:
        stage: its cases, channels and label policy.
        entries: training cases.
    Returns:
        A row a target in FLARE's order, a column a kind of case (what is annotated, and the number of cases, largest
        kind first), with values of `ORIGINS`.
    """
    cases = stage.cases(entries)
    kinds = {entry.annotated or frozenset(): 0 for entry in cases}
    for entry in cases:
        kinds[entry.annotated or frozenset()] += 1
    ordered = sorted(kinds, key=lambda kind: (-len(kind), sorted(kind)))
    columns = [[_origin(stage, name, kind) for name in TARGET_NAMES] for kind in ordered]
    titles = [f"{kind_title(kind)}\n{kinds[kind]} case{'' if kinds[kind] == 1 else 's'}" for kind in ordered]
    return pd.DataFrame(np.array(columns).T, index=list(TARGET_NAMES), columns=titles)


def kind_title(annotated: Collection[str]) -> str:
    """Say in two or three words what is annotated in a case."""
    organs = len(set(annotated) & set(ORGAN_NAMES))
    words = [f"{organs} organs"] if organs else []
    words += ["tumor"] if TUMOR.name in annotated else []
    return ", ".join(words) or "nothing"


def _origin(stage: Stage, target: str, annotated: frozenset[str]) -> str:
    """Return what one target's label is in a case with these annotations."""
    channels = [number for number, group in enumerate(stage.scheme.groups, start=1) if target in group]
    if not channels:
        return UNASKED
    if target in annotated:
        return DRAWN
    if teacher_of(stage) and target not in stage.labels.never:
        return FILLED
    is_taught = taught_channels(stage.labels, stage.scheme, annotated)[channels[0]]
    return ABSENT if is_taught else LEFT_OUT


def one_of_each_kind(entries: Iterable[Entry]) -> list[Entry]:
    """Return the first case of every set of annotated targets."""
    return list({entry.annotated or frozenset(): entry for entry in reversed(tuple(entries))}.values())[::-1]


def fill_examples(work: Workspace, stage: Stage, entries: Sequence[Entry]) -> pd.DataFrame:
    """Write the labels that a stage learns from for some cases, filled by the submission's teacher if it has one.

    Args:
        work: its run folder gets `pseudo_labels`; its submission holds the teacher.
        stage: see `taught_stage`.
        entries: cases of the stage; without a teacher unlabeled ones are passed over.
    Returns:
        `provenance.csv`: case, target, source (real, pseudo, none), voxels.
    Raises:
        FileNotFoundError: if the submission came without the teacher.
        RuntimeError: if a case could not be filled.
    """
    folder, teacher = work.run / "pseudo_labels", teacher_of(stage)
    if teacher:
        place, never = work.teacher(teacher), stage.labels.never
        predict, name = load_submission(place), submission_hash(place)
    else:  # every target is settled: nobody is asked
        entries = [entry for entry in entries if entry.is_labeled]
        predict, name, never = None, "nobody", TARGET_NAMES
    report = write_pseudo_labels(entries, predict, folder, never=never, teacher=name)
    if report.failures:
        raise RuntimeError(f"labels could not be filled: {report.failures}")
    return pd.read_csv(folder / "provenance.csv")


def most_telling_case(stage: Stage, provenance: pd.DataFrame) -> str:
    """Return the id of the case that shows the stage's labels best.

    That is the case with most filled voxels (where nobody fills: most drawn ones) of the targets that the network is
    asked for, among those in which a person drew some of these, if there are any.
    """
    asked = {name for group in stage.scheme.groups for name in group}
    known = provenance[provenance["target"].isin(asked)]
    voxels = known.pivot_table(index="case", columns="source", values="voxels", aggfunc="sum", fill_value=0)
    voxels = voxels.reindex(columns=["real", "pseudo"], fill_value=0)
    drawn = voxels[voxels["real"] > 0]
    shown = drawn if len(drawn) else voxels
    return str(shown["pseudo" if shown["pseudo"].any() else "real"].idxmax())


def learned_labels(work: Workspace, stage: Stage, case: str) -> Volume:
    """Return what a stage learns of a case after `fill_examples`: targets that its network is not asked for are 0."""
    volume = read_labels(work.run / "pseudo_labels" / "labelsTr" / f"{case}.nii.gz")
    return only(volume, [name for group in stage.scheme.groups for name in group])


def before_and_after(work: Workspace, stage: Stage, entry: Entry) -> dict[str, CaseView]:
    """Return an example's labels as annotated and after `fill_examples`, each as a prediction of the truth.

    Nothing where nobody fills labels or no truth is known (real data). Targets that the network is not asked for are 0.
    """
    if entry.truth is None or not teacher_of(stage):
        return {}
    case, asked = entry.load(), [name for group in stage.scheme.groups for name in group]
    truth = only(read_labels(entry.truth), asked).data
    drawn = only(case.labels, asked).data if case.labels else np.zeros_like(truth)
    stages = {AS_ANNOTATED: drawn, AFTER_FILLING: learned_labels(work, stage, entry.id).data}
    image = case.image
    return {name: CaseView(entry.id, image.data, image.spacing_mm, truth, labels) for name, labels in stages.items()}


def gain_of_filling(work: Workspace, stage: Stage, entries: Iterable[Entry]) -> pd.DataFrame:
    """Return how well examples' labels agree with the truth before and after filling.

    Returns:
        Rows (case, target, stage, dsc) for the targets that the truth shows; none where `before_and_after` has nothing.
    """
    rows = [
        (entry.id, name, when, dsc(view.labels == BY_NAME[name].id, view.prediction == BY_NAME[name].id))
        for entry in entries
        for when, view in before_and_after(work, stage, entry).items()
        for name in TARGET_NAMES
        if (view.labels == BY_NAME[name].id).any()
    ]
    return pd.DataFrame(rows, columns=["case", "target", "stage", "dsc"])


def only(labels: Volume, targets: Iterable[str]) -> Volume:
    """Return a label map with the named targets alone."""
    kept = np.isin(labels.data, [BY_NAME[name].id for name in targets])
    return replace(labels, data=np.where(kept, labels.data, np.uint8(0)))


def label_quality(work: Workspace, stage: Stage, entries: Iterable[Entry]) -> pd.DataFrame:
    """Return how well the labels that were filled for a stage agree with the truth, from the training's record.

    Args:
        work: its results hold `pseudo_labels.csv`.
        stage: which one's labels.
        entries: give the source of each case.
    Returns:
        Rows (case, target, dsc, group); none where nothing was filled, or no truth is known (real data).
    """
    file = work.results / "pseudo_labels.csv"
    if not file.is_file():
        return pd.DataFrame(columns=["case", "target", "dsc", "group"])
    table = pd.read_csv(file)
    is_ours = (table["system"] == work.system) & (table["variant"] == AS_PUBLISHED) & (table["stage"] == stage.name)
    sources = {entry.id: entry.group for entry in entries}
    return table[is_ours].assign(group=lambda rows: rows["case"].map(sources))[["case", "target", "dsc", "group"]]
