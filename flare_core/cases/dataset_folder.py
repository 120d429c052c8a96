"""Find the files of a dataset, whatever its maker called the folders.

Serves `Dataset.load`. Known: our cohort and nnU-Net raw folders (`imagesTr`, `labelsTr`), the FLARE23 release
(`imagesTr2200`, `labelsTr2200`, `unlabeledTr1800`, `validation`), and a plain folder of label files.

References:
    Corrected labels in a dated subfolder of `labelsTr2200` (`20230507-fix`), which replace those beside it, and
    `val-gt-50cases-for-sanity-check`: neuro-ml/vox2vec, preparation of FLARE23.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import case_id, check_case_id

log = logging.getLogger(__name__)

ROLES = {
    "train_images": ("imagesTr", "imagesTr2200", "unlabeledTr1800", "unlabelTr1800"),
    "train_labels": ("labelsTr", "labelsTr2200"),
    "train_truth": ("labelsTrTrue",),
    "validation_images": ("imagesVal", "validation"),
    "validation_labels": ("labelsVal", "val-gt-50cases-for-sanity-check"),
}
_DATED = re.compile(r"20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2}")


@dataclass
class FolderFiles:
    """Files by role and case id.

    Attributes:
        root: the folder that holds the known folders (the given one, or its only subfolder that does).
        of: role to {case id: file}.
        rejected: file name to why its name cannot be a case's.
    """

    root: Path
    of: dict[str, dict[str, Path]] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


def find_files(root: Path) -> FolderFiles:
    """List a dataset's files.

    Raises:
        BadInput: no such folder, nothing in it that is known, or two files for one case.
    """
    if not root.is_dir():
        raise BadInput(root, "expected a dataset folder, found none; check the path")
    base = _base(root)
    files = FolderFiles(base)
    for role, names in ROLES.items():
        paths = [path for name in names if (base / name).is_dir() for path in _replaced_by_dated(base / name)]
        known = files.of.get(role.replace("labels", "images").replace("truth", "images"), {})
        files.of[role] = _by_case(paths, known, files.rejected)
    if not any(files.of.values()):
        _take_plain_folder(base, files)
    _refuse_twice(files.of["train_images"] | files.of["train_labels"], files.of["validation_images"])
    return files


def _base(root: Path) -> Path:
    """Return the folder with the known names: `root`, or the only subfolder that has them."""
    names = {name for role in ROLES.values() for name in role}
    if any((root / name).is_dir() for name in names):
        return root
    inner = [path for path in sorted(root.iterdir()) if path.is_dir() and any((path / n).is_dir() for n in names)]
    if len(inner) > 1:
        raise BadInput(
            root, f"expected one dataset, found {', '.join(p.name for p in inner)}; give one of these folders"
        )
    return inner[0] if inner else root


def _replaced_by_dated(folder: Path) -> list[Path]:
    """List a folder's files; those in a subfolder named after a date replace older ones of the same name."""
    newest = {path.name: path for path in _nifti_files(folder)}
    for dated in sorted(path for path in folder.iterdir() if path.is_dir() and _DATED.match(path.name)):
        later = {path.name: path for path in _nifti_files(dated)}
        replaced = len(newest.keys() & later.keys())
        log.warning("%s: %d files taken from %s (%d replace others)", folder, len(later), dated.name, replaced)
        newest |= later
    return sorted(newest.values())


def _nifti_files(folder: Path) -> Iterator[Path]:
    """Yield the visible .nii and .nii.gz files of a folder."""
    for path in sorted(folder.iterdir()):
        is_nifti = path.name.lower().endswith((".nii", ".nii.gz")) and not path.name.startswith(".")
        if is_nifti and not path.is_dir():
            yield path


def _by_case(paths: Iterable[Path], images: dict[str, Path], rejected: dict[str, str]) -> dict[str, Path]:
    """Name each file's case.

    Args:
        paths: files of one role.
        images: case id to image, where the role is not an image: a label file `X_0000.nii.gz` belongs to the case
            `X_0000` if there is such an image, to `X` otherwise.
        rejected: gets the files whose name cannot be a case's.
    """
    found: dict[str, Path] = {}
    lower: dict[str, Path] = {}  # some file systems do not tell A from a
    for path in paths:
        try:
            stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
            case = stem if stem in images else case_id(path)
            check_case_id(case, path)
        except BadInput as error:
            log.error("%s", error)
            rejected[path.name] = error.problem
            continue
        if case.lower() in lower:
            other = lower[case.lower()]
            raise BadInput(path, f"expected one file a case, found {other.name} and {path.name}; remove one")
        found[case] = lower[case.lower()] = path
    return found


def _take_plain_folder(folder: Path, files: FolderFiles) -> None:
    """Take a folder of NIfTI files as labels, or as images if every name ends in the channel `_0000`."""
    paths = list(_nifti_files(folder))
    if not paths:
        searched = ", ".join(name for role in ROLES.values() for name in role)
        raise BadInput(folder, f"expected .nii.gz files here or in one of {searched}; found none")
    are_images = all(re.search(r"_0000\.nii(\.gz)?$", path.name, re.IGNORECASE) for path in paths)
    files.of["train_images" if are_images else "train_labels"] = _by_case(paths, {}, files.rejected)


def _refuse_twice(training: dict[str, Path], validation: dict[str, Path]) -> None:
    lower = {case.lower(): path for case, path in training.items()}
    for case, path in validation.items():
        if case.lower() in lower:
            raise BadInput(path, f"expected each case once, also found {lower[case.lower()]}; rename or remove one")
