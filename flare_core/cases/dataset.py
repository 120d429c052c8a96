"""Index a dataset folder: which cases there are, where their files lie, and which targets are annotated in each.

First step of the data flow. Nothing but names and `dataset.json` is read here; volumes are read case by case.

References:
    Layout: docs/data.md. Folds: nvauto, section 3.2 (random 5-fold split).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.cases.bad_input import BadInput
from flare_core.cases.case import Case, load_case
from flare_core.cases.dataset_folder import FolderFiles, find_files
from flare_core.cases.label_map import LabelMap, label_map_of_dataset, read_label_map
from flare_core.cases.labels import TARGET_NAMES
from flare_core.cases.nifti import case_id
from flare_core.cases.strict_json import expect, read_strict_json

__all__ = ["Dataset", "Entry", "LabelMap", "read_label_map"]

log = logging.getLogger(__name__)

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Entry:
    """One case of a dataset, not yet read.

    Attributes:
        id: unique in the dataset.
        split: "train" or "validation".
        image: the CT, None in a folder of labels only.
        labels: what the annotator marked, None for an unlabeled case.
        truth: every structure, where it is known (our cohort); for judging only.
        annotated: names of the targets that the annotator looked for; empty for an unlabeled case; None if that is not
            recorded, and then inferred from the values present when the labels are read.
        group: the source subset, if known.
        label_map: what the label values mean; None if they are FLARE's.
    """

    id: str
    split: str
    image: Path | None
    labels: Path | None
    truth: Path | None = None
    annotated: frozenset[str] | None = None
    group: str | None = None
    label_map: LabelMap | None = None

    @property
    def is_labeled(self) -> bool:
        """Whether there is a label file."""
        return self.labels is not None

    @property
    def label_ids(self) -> Mapping[int, int] | None:
        """The target id of every label value, as `read_labels` takes it; None if they are FLARE's."""
        return self.label_map.ids if self.label_map else None

    def load(self) -> Case:
        """Read the case with every check.

        Raises:
            BadInput: see `load_case`.
        """
        return load_case(
            self.id,
            self.image,
            self.labels,
            annotated=self.annotated if self.is_labeled else None,
            group=self.group,
            label_map=self.label_map,
        )


@dataclass(frozen=True)
class Dataset:
    """All cases of a folder.

    Attributes:
        root: the folder.
        name: from dataset.json, else the folder's.
        entries: sorted by split, then id.
        rejected: pairs (file name, why) of files that cannot be cases; the others go on.
        warnings: what is odd about the folder as a whole.
    """

    root: Path
    name: str
    entries: tuple[Entry, ...]
    rejected: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, root: str | Path, label_map: LabelMap | None = None) -> Dataset:
        """Index a folder.

        Args:
            root: our cohort, an nnU-Net raw folder, the FLARE23 release, or a plain folder of labels.
            label_map: what the label values mean; None takes `labels` of dataset.json, or else FLARE's own numbers.
        Raises:
            BadInput: no cases, two files for one case, or a dataset.json that is not right.
        """
        root = Path(root)
        files = find_files(root)
        index = _read_index(files.root / "dataset.json")
        entries = tuple(_entries(files, index, label_map or index.label_map))
        warnings = _index_warnings(index, entries)
        if any(entry.annotated is None for entry in entries):
            warnings.append(
                "which targets are annotated is not recorded: inferred from the values present in each file"
            )
        for warning in warnings:
            log.warning("%s: %s", root, warning)
        name = index.name or files.root.resolve().name
        return cls(root, name, entries, tuple(sorted(files.rejected.items())), tuple(warnings))

    @property
    def training(self) -> tuple[Entry, ...]:
        """Training cases that have an image, labeled or not."""
        return tuple(e for e in self.entries if e.split == TRAIN and e.image is not None)

    @property
    def validation(self) -> tuple[Entry, ...]:
        """Validation cases that have an image."""
        return tuple(e for e in self.entries if e.split == VALIDATION and e.image is not None)

    @staticmethod
    def folds(
        entries: Iterable[Entry], count: int = 5, seed: int = 0, *, spread_groups: bool = False
    ) -> tuple[tuple[Entry, ...], ...]:
        """Split cases at random into parts that differ in size by at most one.

        The order comes from a hash of seed and id: the same on every machine and in every version of every library.

        Args:
            entries: cases with unique ids, in any order.
            count: number of parts, >= 1.
            seed: another seed gives another split.
            spread_groups: deal each `group` out evenly, so that small groups are in every part where possible.
        Returns:
            `count` parts, each sorted by id; together all entries, each once. Parts are empty if cases are fewer.
        """
        if count < 1:
            raise ValueError(f"expected at least 1 fold, got {count}")

        def chance(entry: Entry) -> tuple[str, str]:
            drawn = hashlib.sha256(f"{seed}/{entry.id}".encode()).hexdigest()
            return (entry.group or "" if spread_groups else "", drawn)

        order = sorted(entries, key=chance)
        return tuple(tuple(sorted(order[part::count], key=lambda e: e.id)) for part in range(count))


@dataclass(frozen=True)
class _Index:
    """What dataset.json says."""

    path: Path
    name: str | None = None
    label_map: LabelMap | None = None
    annotated: Mapping[str, frozenset[str]] | None = None
    group: Mapping[str, str] | None = None


def _read_index(path: Path) -> _Index:
    """Read and check dataset.json; an absent one says nothing.

    Raises:
        BadInput: with the path to the key.
    """
    if not path.exists():
        return _Index(path)
    content = read_strict_json(path)
    if "labels" not in content:
        raise BadInput(path, "$.labels: missing; expected an object from target name to value")
    labels = expect(content["labels"], dict, "$.labels", path)
    name = expect(content["name"], str, "$.name", path) if "name" in content else None
    annotated = group = None
    if "annotated" in content:
        table = expect(content["annotated"], dict, "$.annotated", path)
        annotated = {case: _names(names, f"$.annotated.{case}", path) for case, names in table.items()}
    if "group" in content:
        table = expect(content["group"], dict, "$.group", path)
        group = {case: expect(value, str, f"$.group.{case}", path) for case, value in table.items()}
    return _Index(path, name, label_map_of_dataset(labels, path), annotated, group)


def _names(names: Any, place: str, path: Path) -> frozenset[str]:
    """Check a list of target names."""
    for position, name in enumerate(expect(names, list, place, path)):
        inner = f"{place}[{position}]"
        if expect(name, str, inner, path) not in TARGET_NAMES:
            raise BadInput(
                path, f"{inner}: expected one of {', '.join(TARGET_NAMES)}, found {name!r}; correct the name"
            )
    return frozenset(names)


def _entries(files: FolderFiles, index: _Index, label_map: LabelMap | None) -> Iterable[Entry]:
    """Put files and table together."""
    for split, prefix in ((TRAIN, "train"), (VALIDATION, "validation")):
        images, labels = files.of[f"{prefix}_images"], files.of[f"{prefix}_labels"]
        truth = files.of.get(f"{prefix}_truth", {})
        for case in sorted(images.keys() | labels.keys()):
            declared = (index.annotated or {}).get(case)
            yield Entry(
                id=case,
                split=split,
                image=images.get(case),
                labels=labels.get(case),
                truth=truth.get(case),
                annotated=declared if case in labels else frozenset(),
                group=(index.group or {}).get(case),
                label_map=label_map,
            )


def _index_warnings(index: _Index, entries: tuple[Entry, ...]) -> list[str]:
    """Say which declared cases have no file, and which labels have no image."""
    ids = {entry.id for entry in entries}
    warnings = []
    if absent := sorted((index.annotated or {}).keys() - ids):
        warnings.append(f"{len(absent)} cases of dataset.json have no file: {_shown(absent)}")
    declared = {case for case, names in (index.annotated or {}).items() if names}
    if unmarked := sorted(e.id for e in entries if e.id in declared and not e.is_labeled):
        warnings.append(f"{len(unmarked)} cases declared as annotated have no label file: {_shown(unmarked)}")
    alone = [entry.id for entry in entries if entry.image is None]
    if alone and len(alone) < len(entries):
        warnings.append(f"{len(alone)} label files have no image: {_shown(alone)}")
    return warnings


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def annotated_beside(references: Path) -> Mapping[str, frozenset[str]] | frozenset[str] | None:
    """Return what dataset.json beside a folder of references, or beside the folder of one file, says was annotated.

    Returns:
        Case id to targets for a folder, the targets for a file; None where nothing is said.
    """
    root = references.parent if references.is_dir() else references.parent.parent
    if not (root / "dataset.json").is_file():
        return None
    known = {entry.id: entry.annotated for entry in Dataset.load(root).entries if entry.annotated}
    return known if references.is_dir() else known.get(case_id(references))
