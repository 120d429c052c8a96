"""Check a dataset before anyone trains on it: every file, every case, and the cases beside each other.

Serves `flare verify`. Nothing is changed; each finding is one line that names the file and what to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core.batch import SERIAL, Engine, map_cases
from flare_core.cases.case_checks import ERROR, WARNING, CaseFacts, Finding, check_case, name_in
from flare_core.cases.dataset import Dataset, Entry
from flare_core.storage import write_file

SPACING_FACTOR = 4.0
"""A voxel edge this many times larger or smaller than the dataset's median is worth a look."""
LEAST_CASES_FOR_MEDIAN = 5


@dataclass(frozen=True)
class Verification:
    """What is wrong or odd in a dataset.

    Attributes:
        findings: errors first, then by file.
        cases: how many cases were looked at.
    """

    findings: tuple[Finding, ...]
    cases: int

    @property
    def errors(self) -> int:
        """Number of findings with which a case cannot be used."""
        return sum(finding.severity == ERROR for finding in self.findings)

    def table(self) -> pd.DataFrame:
        """Return a row a finding."""
        names = [field.name for field in fields(Finding)]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=names)

    def save(self, path: Path) -> None:
        """Write the table as CSV."""
        write_file(path, self.table().to_csv(index=False, lineterminator="\n"))

    def __str__(self) -> str:
        touched = {finding.case for finding in self.findings} - {""}
        return (
            f"{self.cases} cases: {self.cases - len(touched)} without a finding; "
            f"{self.errors} errors, {len(self.findings) - self.errors} warnings"
        )


def verify(dataset: Dataset, *, engine: Engine = SERIAL) -> Verification:
    """Look through a dataset.

    Args:
        dataset: as indexed; two files for one case and mistakes in dataset.json were refused by `Dataset.load`.
        engine: who reads.
    """
    entries = {entry.id: entry for entry in dataset.entries}
    check = partial(check_case, root=dataset.root)
    report = map_cases(check, entries.items(), title="verify", engine=engine)
    findings = [finding for facts in report.results.values() for finding in facts.findings]
    findings += [
        Finding(ERROR, case, _file(entries[case], dataset), "file", reason, "report this: it should have had a reason")
        for case, reason in report.failures.items()
    ]
    findings += _of_the_folder(dataset)
    findings += _spacing_outliers(dataset, report.results)
    for kind, content in (("image", lambda facts: facts.image), ("labels", lambda facts: facts.labels)):
        findings += _duplicates(dataset, report.results, kind, content)
    findings.sort(key=lambda finding: (finding.severity != ERROR, finding.file))
    return Verification(tuple(findings), len(entries))


def _file(entry: Entry, dataset: Dataset, kind: str = "image") -> str:
    """Return a case's file as findings name it."""
    first, second = (entry.image, entry.labels) if kind == "image" else (entry.labels, entry.image)
    return name_in(dataset.root, first or second)


def _of_the_folder(dataset: Dataset) -> Iterator[Finding]:
    """Say what names and dataset.json alone show."""
    for name, problem in dataset.rejected:
        found, _, advice = problem.rpartition("; ")
        yield Finding(ERROR, "", name, "name", found, advice)
    has_images = any(entry.image is not None for entry in dataset.entries)
    for entry in dataset.entries:
        if has_images and entry.image is None:
            found = "labels without an image"
            yield Finding(
                ERROR, entry.id, _file(entry, dataset), "file", found, "add the image, or move the labels away"
            )
    for line in dataset.warnings:
        if "label files have no image" not in line:  # each of them is named above
            inferred = "add `annotated` to dataset.json if it is known (docs/data.md)"
            remedy = inferred if "inferred" in line else "correct dataset.json, or add what is missing"
            yield Finding(WARNING, "", "dataset.json", "dataset", line.replace("; ", ", "), remedy)


def _spacing_outliers(dataset: Dataset, facts: Mapping[str, CaseFacts]) -> Iterator[Finding]:
    """Name images whose voxels are much larger or smaller than the dataset's usual ones."""
    spacings = {case: one.spacing_mm for case, one in facts.items() if one.spacing_mm is not None}
    if len(spacings) < LEAST_CASES_FOR_MEDIAN:
        return
    median = np.median(list(spacings.values()), axis=0)
    for entry in dataset.entries:
        ratio = np.divide(spacings.get(entry.id, median), median)
        if ratio.max() > SPACING_FACTOR or ratio.min() < 1 / SPACING_FACTOR:
            own, usual = (" x ".join(f"{edge:.3g}" for edge in edges) for edges in (spacings[entry.id], median))
            found = f"spacing {own} mm, where the dataset's median is {usual} mm"
            remedy = "see whether the header is right; leave the case out if its voxels are that coarse or fine"
            yield Finding(WARNING, entry.id, _file(entry, dataset), "geometry", found, remedy)


def _duplicates(
    dataset: Dataset, facts: Mapping[str, CaseFacts], kind: str, content: Callable[[CaseFacts], str | None]
) -> Iterator[Finding]:
    """Name files with the same voxels; the same image in training and validation is an error."""
    alike = defaultdict(list)
    for entry in dataset.entries:
        if entry.id in facts and content(facts[entry.id]) is not None:
            alike[content(facts[entry.id])].append(entry)
    for first, *others in alike.values():
        for entry in others:
            leaks = kind == "image" and entry.split != first.split
            also = " of the other split" if leaks else ""
            found = f"the same voxels as {_file(first, dataset, kind)}{also}"
            remedy = "keep one of the two" if kind == "image" else "find out which of the two images they belong to"
            severity = ERROR if leaks else WARNING
            yield Finding(severity, entry.id, _file(entry, dataset, kind), "duplicate", found, remedy)
