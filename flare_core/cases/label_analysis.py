"""Find out who is annotated where: voxels of every target in every case, and the subsets that the papers train on.

Second step of the data flow, and the one that the partially labeled setting hangs on. Label files are read once each;
images are not read.

References:
    Subsets: nvauto, Table 1. Groupings: stmt, section 2 and Figure 1; efficient_nnunet, section 2.1.
    That stmt counts a target as labeled where the file shows it [inferred]: of the release's 250 files with an aorta
    only 227 show a gallbladder, 1312 show a liver (openmedlab/Awesome-Medical-Dataset, FLARE2023), and stmt finds 219
    with all 13 organs and 1093 with some, 1312 together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.batch import SERIAL, BatchReport, Engine, Reused, map_cases
from flare_core.cases.case import DECLARED, INFERRED, UNLABELED
from flare_core.cases.dataset import TRAIN, Dataset, Entry
from flare_core.cases.label_counts import voxel_counts
from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES, TARGET_NAMES, TARGETS
from flare_core.cases.nifti import check_same_grid, read_labels, read_place
from flare_core.output_lock import only_run
from flare_core.recipe import encode
from flare_core.records import kept_result
from flare_core.rows import Rows
from flare_core.storage import STATE, file_hash

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

VERSION = 1
"""Raised by hand when counting changes, so that what earlier versions counted is counted again."""
_ORGANS = frozenset(ORGAN_NAMES)
_SUBSET_COLUMNS = ("split", "cases", "labeled_targets", "targets")
_GROUPING_COLUMNS = ("paper", "group", "cases", "cases_annotated", "definition")


@dataclass(frozen=True)
class Counts:
    """What one label file holds.

    Attributes:
        voxels: target name, or names joined by `+` where one value stands for several, to number of voxels; 0 included.
        voxel_ml: volume of a voxel, None for an unlabeled case.
        present: names of the targets that have voxels.
    """

    voxels: dict[str, int]
    voxel_ml: float | None
    present: frozenset[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "present", frozenset(self.present))  # from a record it comes as a sequence


@dataclass(frozen=True, eq=False)
class LabelAnalysis:
    """The tables of one dataset, `tables` by name; as pandas tables they are the properties of the same names.

    Attributes:
        presence: a row a case, unlabeled ones included: `case`; one column of voxels a target (empty where the label
            map cannot tell it from another; the two then have one column such as `right_kidney+left_kidney`); split,
            group, labeled, annotated_from; `voxel_ml`; `<target>_ml`; `<target>_annotated`.
        subsets: a row a set of annotated targets and split: cases, labeled_targets (how many), targets (which).
        groupings: a row a group of a paper, over the training cases: `cases` goes by the labels that the files show,
            `cases_annotated` by those that are annotated (present or not).
        failures: case or file name to why it could not be read; these have no row.
    """

    tables: Mapping[str, Rows]
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def presence(self) -> pd.DataFrame:
        """See the class."""
        return self.tables["presence"].frame

    @property
    def subsets(self) -> pd.DataFrame:
        """See the class."""
        return self.tables["subsets"].frame

    @property
    def groupings(self) -> pd.DataFrame:
        """See the class."""
        return self.tables["groupings"].frame

    def save(self, folder: str | Path) -> None:
        """Write presence.csv, subsets.csv and groupings.csv into a folder, made if missing."""
        for name, rows in self.tables.items():
            rows.save(Path(folder) / f"{name}.csv")


def analyze(dataset: Dataset, out: str | Path | None = None, *, engine: Engine = SERIAL) -> LabelAnalysis:
    """Count every label of a dataset.

    Args:
        dataset: any; cases without labels get a row of zeros, and a case whose file is bad does not stop the others.
        out: folder for the tables (`LabelAnalysis.save`), where a rerun reads again only the files that have changed;
            None writes nothing.
        engine: who reads.
    """
    if out is None:
        return _tables(dataset, _counted(dataset.entries, "label analysis", engine))
    out = Path(out)
    with only_run(out):
        analysis = _tables(dataset, _counted(dataset.entries, "label analysis", engine, out))
        analysis.save(out)
    return analysis


def _counted(entries: Iterable[Entry], title: str, engine: Engine, out: Path | None = None) -> BatchReport:
    """Count the labels of all entries, with records of it in `out`."""
    count = partial(_kept_counts, records=out / STATE / "analysis") if out is not None else count_labels
    return map_cases(count, [(entry.id, entry) for entry in entries], title=title, engine=engine, folder=out).whole()


def _kept_counts(entry: Entry, records: Path) -> Counts | Reused:
    """Count the labels of one case, or take the counts from the record of an earlier run on the same files."""
    if entry.labels is None or not entry.labels.is_file():
        return count_labels(entry)
    has_image = entry.image is not None and entry.image.is_file()
    place = read_place(entry.image).geometry if has_image else None  # of an image the header alone is read
    made_from = {
        "version": VERSION,
        "labels": file_hash(entry.labels),
        "image": place and [place.shape, place.affine.tolist()],
        "map": encode(entry.label_map),
        "annotated": sorted(entry.annotated) if entry.annotated is not None else None,
    }
    return kept_result(records / f"{entry.id}.json", made_from, (Counts,), lambda: count_labels(entry))


def _tables(dataset: Dataset, report: BatchReport) -> LabelAnalysis:
    """Make the tables of a dataset whose labels are counted."""
    counted = [(entry, report.results[entry.id]) for entry in dataset.entries if entry.id in report.results]
    tables = {
        "presence": _presence(counted),
        "subsets": _subsets(counted),
        "groupings": _groupings([pair for pair in counted if pair[0].split == TRAIN]),
    }
    return LabelAnalysis(tables, failures={**dict(dataset.rejected), **report.failures})


def with_inferred_annotation(dataset: Dataset, *, engine: Engine = SERIAL) -> Dataset:
    """Return the dataset with `annotated` filled in from the values present, where it is not recorded.

    Reads every such label file once. A target that is absent from a patient cannot be told from one that nobody looked
    for: it counts as not annotated. Entries whose file is bad keep None.
    """
    unknown = [entry for entry in dataset.entries if entry.annotated is None]
    found = _counted(unknown, "annotated targets", engine).results
    entries = tuple(
        replace(entry, annotated=_certain(entry, found[entry.id])) if entry.id in found else entry
        for entry in dataset.entries
    )
    return replace(dataset, entries=entries)


def count_labels(entry: Entry) -> Counts:
    """Count the voxels of every target in one case (nothing for an unlabeled one).

    Raises:
        BadInput: if the label file is unusable, or lies elsewhere than the image by its header.
    """
    if entry.labels is None:
        return Counts(dict.fromkeys(TARGET_NAMES, 0), None, frozenset())
    united = entry.label_map.united if entry.label_map else {}
    volume = read_labels(entry.labels, label_map=entry.label_ids)
    if entry.image is not None and entry.image.is_file():
        for line in check_same_grid(read_place(entry.image), volume):
            log.warning("%s: %s", entry.labels, line)
    counts = voxel_counts(volume.stored())
    hidden = {name for names in united.values() for name in names}
    voxels = {target.name: int(counts[target.id]) for target in TARGETS if target.name not in hidden}
    voxels |= {"+".join(names): int(counts[TARGET_NAMES.index(first) + 1]) for first, names in united.items()}
    present = frozenset(name for names, count in voxels.items() if count for name in names.split("+"))
    if absent := [name for name in ORGAN_NAMES if name in (entry.annotated or frozenset()) - present]:
        log.warning("%s: declared but empty: %s", entry.labels, ", ".join(absent))
    return Counts(voxels, volume.geometry.voxel_ml, present)


def stmt_group(names: Iterable[str], *, is_labeled: bool = True) -> str:
    """Return a case's group in stmt's Figure 1.

    Args:
        names: its labeled targets.
        is_labeled: whether it has a label file at all.
    """
    if not is_labeled:
        return "unlabeled"
    names = frozenset(names)
    organs = "fully" if names >= _ORGANS else "partially" if names & _ORGANS else "not"
    return f"{organs} organ-labeled, {'tumor-labeled' if 'tumor' in names else 'not tumor-labeled'}"


def _presence(counted: list[tuple[Entry, Counts]]) -> Rows:
    """Build the table with a row a case."""
    united = sorted({name for _, counts in counted for name in counts.voxels} - set(TARGET_NAMES))
    columns = [*TARGET_NAMES, *united]
    rows = []
    for entry, counts in counted:
        annotated = _annotated(entry, counts)
        volumes = {f"{name}_ml": _volume(counts, name) for name in columns}
        rows.append(
            {
                "case": entry.id,
                **{name: counts.voxels.get(name) for name in columns},
                "split": entry.split,
                "group": entry.group,
                "labeled": entry.is_labeled,
                "annotated_from": _source(entry),
                "voxel_ml": counts.voxel_ml,
                **volumes,
                **{f"{name}_annotated": name in annotated for name in TARGET_NAMES},
            }
        )
    header = ["case", *columns, "split", "group", "labeled", "annotated_from", "voxel_ml"]
    header += [f"{name}_ml" for name in columns] + [f"{name}_annotated" for name in TARGET_NAMES]
    return Rows(tuple(header), rows, whole=tuple(columns))


def _volume(counts: Counts, name: str) -> float | None:
    """Return a target's volume in ml; None where it was not counted on its own, 0 where nothing is labeled."""
    voxels = counts.voxels.get(name)
    return None if voxels is None else voxels * (counts.voxel_ml or 0.0)


def _annotated(entry: Entry, counts: Counts) -> frozenset[str]:
    """Return the annotated targets: declared, or those present."""
    return counts.present if entry.annotated is None else entry.annotated


def _certain(entry: Entry, counts: Counts) -> frozenset[str]:
    """Return the targets present, without those that share a value (see `load_case`)."""
    united = entry.label_map.united if entry.label_map else {}
    return counts.present - {name for names in united.values() for name in names}


def _source(entry: Entry) -> str:
    if not entry.is_labeled:
        return UNLABELED
    return INFERRED if entry.annotated is None else DECLARED


def _subsets(counted: list[tuple[Entry, Counts]]) -> Rows:
    """Count cases by their set of annotated targets, the largest set first within each split."""
    keys = [(entry.split, _annotated(entry, counts)) for entry, counts in counted]
    rows = [
        {
            "split": split,
            "cases": keys.count((split, names)),
            "labeled_targets": len(names),
            "targets": ", ".join(name for name in TARGET_NAMES if name in names) or "unlabeled",
        }
        for split, names in set(keys)
    ]
    rows.sort(key=lambda row: (row["split"], -row["labeled_targets"], -row["cases"], row["targets"]))
    return Rows(_SUBSET_COLUMNS, rows)


def _groupings(counted: list[tuple[Entry, Counts]]) -> Rows:
    """Count cases by the groups of the two papers that state some."""

    def row(paper: str, group: str, definition: str, belongs: Callable[[Entry, frozenset[str]], bool]) -> dict:
        return {
            "paper": paper,
            "group": group,
            "cases": sum(belongs(entry, counts.present) for entry, counts in counted),
            "cases_annotated": sum(belongs(entry, _annotated(entry, counts)) for entry, counts in counted),
            "definition": definition,
        }

    rows = []
    for organs, meaning in (("fully", "all 13 organs"), ("partially", "some of the 13 organs"), ("not", "no organ")):
        for tumor in ("tumor-labeled", "not tumor-labeled"):
            group = f"{organs} organ-labeled, {tumor}"
            text = f"{meaning} {'and' if tumor == 'tumor-labeled' else 'without'} tumor"
            rows.append(row("stmt", group, text, lambda e, n, g=group: stmt_group(n, is_labeled=e.is_labeled) == g))
    rows.append(row("stmt", "unlabeled", "no label file", lambda e, _: not e.is_labeled))
    paper = "efficient_nnunet"
    rows.append(row(paper, "organ teacher", "all 13 organs", lambda _, n: n >= _ORGANS))
    text = "tumor and at least six organs (as printed: 'tumors and six additional organs')"
    rows.append(row(paper, "tumor, as printed", text, lambda _, n: "tumor" in n and len(n & _ORGANS) >= 6))
    text = "tumor and the five organs that most cases have (with the tumor, nvauto's 'six labeled classes')"
    rows.append(row(paper, "tumor, five organs", text, lambda _, n: "tumor" in n and n >= set(FIVE_ORGANS)))
    return Rows(_GROUPING_COLUMNS, rows)
