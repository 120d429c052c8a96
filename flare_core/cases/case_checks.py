"""Look for everything in one case that would spoil a training or an evaluation, and say what to do about it.

Serves `verification`, which compares the cases with each other. What reading refuses is an error, what it reads with a
warning is a warning; this module adds what only image, labels and table together can show.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_core.cases.bad_input import BadInput, printable
from flare_core.cases.dataset import Entry
from flare_core.cases.label_counts import voxel_counts
from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES, TARGETS
from flare_core.cases.nifti import Volume, check_same_grid, read_image, read_labels

ERROR, WARNING = "error", "warning"
SOFT_TISSUE_HU = (-150, 250)
LEAST_SOFT_TISSUE = 0.01
"""Smallest share of soft tissue in an image of a trunk; FLARE's have 0.1 and more."""
AIR_BELOW_HU = -300
MOST_LABELED_AIR = 0.2
"""Largest share of a solid organ's voxels that may look like air."""
HOLLOW = frozenset({"esophagus", "stomach", "duodenum", "tumor"})
"""Targets that may hold gas."""
_IS_SOLID = np.array([False, *(target.name not in HOLLOW for target in TARGETS)])

_ADVICE = (
    ("although( not)? named", "name", "rename the file by its content"),
    ("no orientation", "geometry", "store the orientation, or see in a viewer that right is right"),
    (
        "sheared",
        "geometry",
        "see in a viewer how far the slices are shifted; undo the gantry tilt if millimeters matter",
    ),
    ("qform", "geometry", "see in a viewer that the form in use is the right one"),
    ("spacing|stored in|unit code", "geometry", "compare with the scanner's spacing; repair the header if it is wrong"),
    ("coordinates' origin", "geometry", "compare with another export of the scan; repair the header if it is wrong"),
    ("bitpix|scl_slope|one volume|after the last", "header", "export again if values or sizes look wrong"),
    ("NaN or Inf", "values", "see where they are; export again if inside the body"),
    ("nothing to segment", "values", "leave the case out, or fetch its image again"),
    ("value below 0", "values", "store HU: set scl_inter (-1024 for HU + 1024), or export again"),
    ("no voxel is labeled", "labels", "take the label file away if nobody marked the case, or fetch it again"),
    ("differ in place", "grid", "write the labels with the image's affine"),
)
"""Words in a warning of reading, the check that it belongs to, and what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd.

    Attributes:
        severity: `error` (the case cannot be used as it is) or `warning` (it can, but somebody should look).
        case: its id, empty for the dataset as a whole.
        file: relative to the dataset folder.
        check: file, name, geometry, header, values, labels, grid, annotation, duplicate or dataset.
        found: what is wrong.
        advice: what to do.
    """

    severity: str
    case: str
    file: str
    check: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.severity}: {printable(self.file)}: {self.found}; {self.advice}"


@dataclass(frozen=True)
class CaseFacts:
    """What was found in a case, and what is compared between cases.

    Attributes:
        findings: of this case alone.
        spacing_mm: of the image in RAS+, None without a readable one.
        image, labels: SHA-256 over shape and voxels as stored; None where there is none, or none labeled.
    """

    findings: tuple[Finding, ...]
    spacing_mm: tuple[float, float, float] | None = None
    image: str | None = None
    labels: str | None = None


class _Notes:
    """Collects the findings of one case."""

    def __init__(self, entry: Entry, root: Path) -> None:
        self._case, self._root = entry.id, root
        self.findings: list[Finding] = []

    def add(self, severity: str, path: Path, check: str, found: str, advice: str) -> None:
        self.findings.append(Finding(severity, self._case, name_in(self._root, path), check, found, advice))

    def refuse(self, error: BadInput, check: str) -> None:
        found, _, advice = error.problem.rpartition("; ")
        self.add(ERROR, error.path, check, found or error.problem, advice if found else "fetch the file again")

    def odd(self, volume: Volume, line: str) -> None:
        self.add(WARNING, volume.path, *advised(line))


def name_in(root: Path, path: Path) -> str:
    """Return a file's name within the dataset folder."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def advised(warning: str) -> tuple[str, str, str]:
    """Return (check, what was found, what to do) for a warning of reading.

    Raises:
        ValueError: if there is no advice for it.
    """
    for words, check, advice in _ADVICE:
        if re.search(words, warning):
            return check, warning.replace("; ", ", "), advice
    raise ValueError(f"no advice for the warning {warning!r}; add some to _ADVICE")


def check_case(entry: Entry, root: Path) -> CaseFacts:
    """Read a case's files with every check, and compare them with each other and with the table.

    Args:
        entry: any; an unlabeled case has its image checked, one of a folder of labels its labels.
        root: the dataset folder, for names in findings.
    """
    notes = _Notes(entry, root)
    image = _read(notes, entry.image, lambda path: read_image(path, dtype=None))
    labels = _read(notes, entry.labels, lambda path: read_labels(path, label_map=entry.label_ids))
    truth = _read(notes, entry.truth, read_labels)
    if image is not None:
        for found, advice in _implausible(image):
            notes.add(WARNING, image.path, "values", found, advice)
    if labels is not None:
        _compare_with_table(notes, entry, labels)
    for volume in (labels, truth):
        if image is not None and volume is not None:
            _compare_with_image(notes, image, volume)
    return CaseFacts(
        tuple(notes.findings),
        None if image is None else image.spacing_mm,
        None if image is None else _content(image),
        None if labels is None or not labels.data.any() else _content(labels),
    )


def _read(notes: _Notes, path: Path | None, reader) -> Volume | None:
    """Read one file, None where there is none or it is refused; what is odd is noted."""
    if path is None:
        return None
    try:
        volume = reader(path)
    except BadInput as error:
        notes.refuse(error, "file")
        return None
    for line in volume.warnings:
        notes.odd(volume, line)
    return volume


def _implausible(image: Volume) -> Iterator[tuple[str, str]]:
    """Say what a CT of a trunk in HU cannot look like, beyond what reading says already."""
    if any(re.search("nothing to segment|value below 0", line) for line in image.warnings):
        return
    low, high = SOFT_TISSUE_HU
    share = np.count_nonzero((image.data >= low) & (image.data <= high)) / image.data.size
    if share < LEAST_SOFT_TISSUE:
        yield (
            f"only {100 * share:.2g} % of all voxels are soft tissue ({low} to {high} HU)",
            "see whether this is a CT in HU, and of the abdomen",
        )
    lowest, highest = float(image.data.min()), float(image.data.max())
    if lowest > AIR_BELOW_HU or highest < high:
        yield (
            f"values from {lowest:g} to {highest:g}, where a CT has air (below {AIR_BELOW_HU} HU) and bone "
            f"(above {high} HU)",
            "see whether it was windowed or normalized; take the original",
        )


def _compare_with_table(notes: _Notes, entry: Entry, labels: Volume) -> None:
    """Compare the targets present with those declared; a patient without a tumor is no finding."""
    if entry.annotated is None:
        return
    united = {name for names in (entry.label_map.united if entry.label_map else {}).values() for name in names}
    counts = voxel_counts(labels.stored())
    present = {target.name for target in TARGETS if counts[target.id]} - united
    absent = [name for name in ORGAN_NAMES if name in entry.annotated - present - united]
    if absent:
        remedy = "see whether the patient has it; if nobody looked for it, take it out of `annotated` in dataset.json"
        notes.add(WARNING, labels.path, "annotation", f"declared but empty: {', '.join(absent)}", remedy)
    extra = [name for name in TARGET_NAMES if name in present - entry.annotated]
    if extra:
        remedy = "add it to `annotated` in dataset.json, or correct the labels"
        notes.add(WARNING, labels.path, "annotation", f"present but not declared: {', '.join(extra)}", remedy)


def _compare_with_image(notes: _Notes, image: Volume, labels: Volume) -> None:
    """Compare the grids, and whether what is labeled is anything but air."""
    try:
        for line in check_same_grid(image, labels):
            notes.odd(labels, line)
    except BadInput as error:
        notes.refuse(error, "grid")
        return
    solid = image.data[_IS_SOLID[labels.data]]
    share = np.count_nonzero(solid < AIR_BELOW_HU) / solid.size if solid.size else 0.0
    if share > MOST_LABELED_AIR:
        found = f"{100 * share:.0f} % of the solid organs' voxels are air in the image"
        notes.add(WARNING, labels.path, "labels", found, "see in a viewer whether they are mirrored or another case's")


def _content(volume: Volume) -> str:
    """Return a hash over shape and voxels in the order of the file: copies are found however they are compressed."""
    digest = hashlib.sha256(f"{volume.geometry.shape} {volume.data.dtype}".encode())
    digest.update(volume.stored().ravel(order="K"))
    return digest.hexdigest()
