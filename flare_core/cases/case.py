"""Hold one patient's image, labels, and what is known about them.

First step of the data flow: a `Case` is what preprocessing takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flare_core.cases.label_counts import voxel_counts
from flare_core.cases.label_map import LabelMap
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import Volume, check_same_grid, read_image, read_labels

log = logging.getLogger(__name__)

DECLARED, INFERRED, UNLABELED = "declared", "inferred", "unlabeled"


@dataclass(frozen=True, eq=False)
class Case:
    """One patient.

    Attributes:
        id: file-name-safe name, unique in its dataset.
        image: the CT in HU, None in a folder of labels only.
        labels: target ids, None for an unlabeled case.
        annotated: names of the targets that the annotator looked for (present or not); empty for an unlabeled case.
        annotated_from: `declared` (dataset.json), `inferred` (the values present: a target that is absent from the
            patient cannot be told from one that nobody looked for) or `unlabeled`.
        group: the source subset, if known.
        warnings: all oddities, each beginning with the file's role.
    """

    id: str
    image: Volume | None
    labels: Volume | None
    annotated: frozenset[str]
    annotated_from: str
    group: str | None = None
    warnings: tuple[str, ...] = field(default=())


def load_case(
    case: str,
    image: Path | None,
    labels: Path | None,
    *,
    annotated: Iterable[str] | None = None,
    group: str | None = None,
    label_map: LabelMap | None = None,
) -> Case:
    """Read a case and check that its parts fit together.

    Args:
        case: its id.
        image, labels: files; at least one. Without labels the case is unlabeled.
        annotated: declared targets; None infers them from the values present.
        group: the source subset, if known.
        label_map: what the label values mean; None if they are FLARE's. A value that stands for several targets counts
            as none of them being annotated, so that no network learns one side for the other.
    Raises:
        BadInput: if a file is unusable or the labels do not lie on the image's grid.
    """
    if image is None and labels is None:
        raise ValueError(f"{case}: expected an image or labels, got neither")
    ct = None if image is None else read_image(image)
    warnings = [f"image: {line}" for line in ct.warnings] if ct else []
    if labels is None:
        return Case(case, ct, None, frozenset(), UNLABELED, group, tuple(warnings))
    volume = read_labels(labels, label_map=None if label_map is None else label_map.ids)
    warnings += [f"labels: {line}" for line in volume.warnings]
    if ct is not None:
        grid = check_same_grid(ct, volume)
        _log(labels, grid, logging.WARNING)
        warnings += [f"labels: {line}" for line in grid]
    counts = voxel_counts(volume.stored())
    present = {target.name for target in TARGETS if counts[target.id]}
    united = {name for names in (label_map.united if label_map else {}).values() for name in names}
    known = frozenset(present if annotated is None else annotated) - united
    notes = [f"{'+'.join(names)} share one value: stored as {first}" for first, names in _united(label_map)]
    notes += _declared_against_present(known, present - united) if annotated is not None else []
    _log(labels, notes, logging.INFO)  # a patient without a tumor is no alarm, only a fact to keep
    warnings += [f"labels: {line}" for line in notes]
    return Case(case, ct, volume, known, INFERRED if annotated is None else DECLARED, group, tuple(warnings))


def _united(label_map: LabelMap | None) -> list[tuple[str, tuple[str, ...]]]:
    return list(label_map.united.items()) if label_map else []


def _declared_against_present(declared: frozenset[str], present: set[str]) -> list[str]:
    """Say where the table and the file disagree."""
    lines = []
    if absent := [target.name for target in TARGETS if target.name in declared - present]:
        lines.append(f"declared but empty: {', '.join(absent)}")
    if extra := [target.name for target in TARGETS if target.name in present - declared]:
        lines.append(f"present but not declared as annotated: {', '.join(extra)}")
    return lines


def _log(path: Path, lines: Iterable[str], level: int) -> None:
    for line in lines:
        log.log(level, "%s: %s", path, line)
