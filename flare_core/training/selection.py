"""Which cases teach a stage, and what an unannotated target counts as.

Serves training: a `Stage` names one selection and one label policy.

References:
    nvauto, section 2.3 and Table 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.cases.labels import ORGAN_NAMES, LabelScheme

if TYPE_CHECKING:
    from flare_core.cases.dataset import Entry


@dataclass(frozen=True)
class AnnotatedCases:
    """Cases in which at least the given targets are annotated (none given: every labeled case).

    Attributes:
        targets: names that must be among a case's annotated targets.
    """

    targets: tuple[str, ...] = ()

    def __call__(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the training entries that qualify, in their order (possibly none)."""
        needed = set(self.targets)
        return tuple(e for e in entries if e.split == "train" and e.is_labeled and needed <= _of(e))


@dataclass(frozen=True)
class PartlyLabeledCases:
    """Cases in which some of the given targets are annotated, but not all.

    Attributes:
        targets: names.
    """

    targets: tuple[str, ...]

    def __call__(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the training entries that qualify, in their order (possibly none)."""
        wanted = set(self.targets)
        return tuple(
            e for e in entries if e.split == "train" and 0 < len(wanted & (e.annotated or frozenset())) < len(wanted)
        )


@dataclass(frozen=True)
class CasesWithout:
    """Cases in which none of the given targets is annotated, unlabeled cases among them.

    Attributes:
        targets: names.
    """

    targets: tuple[str, ...]

    def __call__(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the training entries that qualify, in their order (possibly none)."""
        unwanted = set(self.targets)
        return tuple(e for e in entries if e.split == "train" and not unwanted & _of(e))


@dataclass(frozen=True)
class InEqualNumbers:
    """Several kinds of cases that take turns in every batch.

    Attributes:
        groups: selections; a case belongs to the first that picks it. A group that picks none is passed over.
    """

    groups: tuple[AnnotatedCases | PartlyLabeledCases | CasesWithout, ...]

    def __call__(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the training entries of all groups, in their order."""
        entries = tuple(entries)
        picked = {e.id for group in self.groups for e in group(entries)}
        return tuple(e for e in entries if e.id in picked)

    def group_of(self, entry: Entry) -> int:
        """Return the number of the group that an entry belongs to."""
        return next(number for number, group in enumerate(self.groups) if group((entry,)))


SELECTIONS = (AnnotatedCases, PartlyLabeledCases, CasesWithout, InEqualNumbers)
FULLY_LABELED = AnnotatedCases(ORGAN_NAMES)
LABELED = AnnotatedCases()
EVERY_CASE = CasesWithout(())
"""All training cases, unlabeled ones too."""


def _of(entry: Entry) -> frozenset[str]:
    """Return the names of an entry's annotated targets."""
    return entry.annotated or frozenset()


@dataclass(frozen=True)
class AsGiven:
    """Take the labels as they are: an unannotated target is background to the network."""


@dataclass(frozen=True)
class PseudoLabels:
    """Fill the unannotated targets from an earlier stage's ensemble; real labels win voxel by voxel.

    Attributes:
        teacher: name of the stage whose trained folds predict.
        inference: how they predict (`flare_core.inference`); the teacher is its only member.
        never: targets that are not filled (nvauto: the tumor).
    """

    teacher: str
    inference: Any
    never: tuple[str, ...] = ()


@dataclass(frozen=True)
class CautiousPseudoLabels(PseudoLabels):
    """The same, but of a case in which they are not annotated, the `ignored` targets teach nothing, not even absence.

    Attributes:
        ignored: targets whose channel is left out of the loss in such a case.
    """

    ignored: tuple[str, ...] = ()


def taught_channels(labels: AsGiven | PseudoLabels, scheme: LabelScheme, annotated: Iterable[str]) -> np.ndarray:
    """Say which channels a case's labels teach under a label policy.

    Args:
        labels: the policy.
        scheme: of the network.
        annotated: names of the targets that a person annotated in the case.
    Returns:
        bool array of shape (C,); True everywhere unless the policy ignores an unannotated target.
    """
    silent = set(getattr(labels, "ignored", ())) - set(annotated)
    return np.array([True, *(not silent & set(group) for group in scheme.groups)])
